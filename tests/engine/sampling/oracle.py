"""The pipeline once more, slow and in plain Python: what the tests compare against.

Also the little helpers that several test files share.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.sampling.sampler import PIPELINE
from engine.sampling.sampling_batch import SamplingBatch, SamplingRow
from engine.sampling_params import SamplingParams

TEXTBOOK = (3.23, -7.1, 5.57, 0.39, 2.4)


def one_row(params: SamplingParams, vocab_size: int, seed: int = 0) -> SamplingBatch:
    """A batch of a single row with nothing generated yet."""
    return SamplingBatch.build([SamplingRow(params, seed)], vocab_size, "cpu")


def processed(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """The logits that the draw would see."""
    logits = logits.clone()
    for stage in PIPELINE:
        logits = stage(logits, batch)
    return logits


def kept(logits: Tensor) -> list[set[int]]:
    """The ids that are still possible, per row."""
    return [set(row.isfinite().nonzero().flatten().tolist()) for row in logits]


def chi_square(observed: Iterable[float], expected: Iterable[float]) -> float:
    """Pearson's statistic."""
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))


def chi_square_limit(degrees: int) -> float:
    """Exceeded by chance about once in 10,000 times (Wilson and Hilferty's approximation)."""
    spread = 2 / (9 * degrees)
    return degrees * (1 - spread + 3.72 * math.sqrt(spread)) ** 3


def softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    weights = [math.exp(z - top) for z in logits]
    return [weight / sum(weights) for weight in weights]


@dataclass
class Oracle:
    """Every stage of the contract for one row, in float64. `margin` is how close any comparison
    of probabilities came to a tie: below about 1e-6 the float32 pipeline may rightly differ."""

    row: SamplingRow
    margin: float = field(default=math.inf, init=False)

    def process(self, logits: Sequence[float]) -> dict[int, float]:
        """The ids that may be drawn, with their processed logits."""
        params = self.row.params
        z = [self._penalized(token_id, value) for token_id, value in enumerate(logits)]
        z = [value + params.logit_bias.get(token_id, 0.0) for token_id, value in enumerate(z)]
        legal = {token_id: z[token_id] for token_id in range(len(z)) if self._legal(token_id)}
        if params.greedy:
            return legal
        tempered = {token_id: value / params.temperature for token_id, value in legal.items()}
        ranked = sorted(tempered, key=lambda token_id: (-tempered[token_id], token_id))
        if params.top_k:
            ranked = ranked[: params.top_k]
        ranked = self._top_p(ranked, tempered)
        ranked = self._min_p(ranked, tempered)
        return {token_id: tempered[token_id] for token_id in ranked}

    def _penalized(self, token_id: int, z: float) -> float:
        params, row = self.row.params, self.row
        count = list(row.output_token_ids).count(token_id)
        z -= count * params.frequency_penalty + (count > 0) * params.presence_penalty
        if token_id in row.output_token_ids or token_id in row.prompt_token_ids:
            ratio = params.repetition_penalty
            z = z / ratio if z > 0 else z * ratio
        return z

    def _legal(self, token_id: int) -> bool:
        params, row = self.row.params, self.row
        if params.allowed_token_ids is not None and token_id not in params.allowed_token_ids:
            return False
        early = len(row.output_token_ids) < params.min_tokens
        return not (early and token_id in row.end_token_ids)

    def _top_p(self, ranked: list[int], z: dict[int, float]) -> list[int]:
        limit = self.row.params.top_p
        if limit >= 1:
            return ranked
        mass = 0.0
        chances = softmax([z[token_id] for token_id in ranked])
        for rank, chance in enumerate(chances, start=1):
            mass += chance
            self.margin = min(self.margin, abs(mass - limit))
            if mass >= limit:
                return ranked[:rank]
        return ranked

    def _min_p(self, ranked: list[int], z: dict[int, float]) -> list[int]:
        limit = self.row.params.min_p
        ratios = {token_id: math.exp(z[token_id] - z[ranked[0]]) for token_id in ranked}
        if limit == 0:
            return ranked
        others = [abs(ratio - limit) for ratio in ratios.values() if ratio != 1]
        self.margin = min(self.margin, *others, math.inf)
        return [token_id for token_id in ranked if ratios[token_id] >= limit]


def random_logits(rows: int, vocab_size: int, seed: int = 0, scale: float = 4.0) -> Tensor:
    """Reproducible normal logits: float32 [rows, vocab]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, vocab_size, generator=generator) * scale
