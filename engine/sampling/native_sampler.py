"""As `engine.sampling.sampler`, with the compiled kernels for what goes over all of a vocabulary.

From the temperature on, a row is one pass of kernels over its logits where they lie; the stages
before that touch few of them and are the same as there. Knows nothing of how kernels are made.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.native.kernels import Kernels
from engine.sampling.logprobs import prompt_logprobs, sampled_logprobs
from engine.sampling.row_parts import RowValues
from engine.sampling.sampler import EDITS, SampledTokens, check_fit
from engine.sampling.sampling_batch import SamplingBatch
from engine.types import TokenLogprob

_LIKELIEST = -1.0
"""In place of a uniform: nothing is drawn."""


class NativeSampler:
    """Logits in, tokens out. Keeps room for edited logits from step to step, and nothing else."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._room = torch.empty(0)

    def sample(self, logits: Tensor, batch: SamplingBatch) -> SampledTokens:
        """See `Sampler.sample`. logits: contiguous, on the CPU."""
        check_fit(logits, batch)
        token_ids = self._kernels.draw(
            self._edited(logits, batch) if batch.edits_logits else logits,
            temperature=_dense(batch, batch.temperature, 1.0, torch.float32),
            top_k=_dense(batch, batch.top_k, batch.vocab_size, torch.int64),
            top_p=_dense(batch, batch.top_p, 1.0, torch.float64),
            log_min_p=_dense(batch, batch.min_p, -math.inf, torch.float32),
            uniform=_uniforms(batch),
        )
        scored = sampled_logprobs(logits, token_ids, batch, self._kernels.score)
        return SampledTokens(token_ids, scored)

    def prompt_logprobs(self, logits: Tensor, target_ids: Tensor, top_n: int) -> list[TokenLogprob]:
        """See `engine.sampling.logprobs.prompt_logprobs`."""
        return prompt_logprobs(logits, target_ids, top_n, self._kernels.score)

    def _edited(self, logits: Tensor, batch: SamplingBatch) -> Tensor:
        """A copy after the first stages. New memory for it would cost more than they do."""
        if self._room.numel() < logits.numel():
            self._room = torch.empty(logits.numel())
        edited = self._room[: logits.numel()].view(logits.shape).copy_(logits)
        for stage in EDITS:
            edited = stage(edited, batch)
        return edited


def _dense(
    batch: SamplingBatch, part: RowValues | None, neutral: float, dtype: torch.dtype
) -> Tensor:
    """One value for each row of the batch, neutral where a row does not use the feature."""
    values = torch.full((batch.num_rows,), neutral, dtype=dtype)
    if part is None:
        return values
    return _placed(values, part.rows, part.values)


def _uniforms(batch: SamplingBatch) -> Tensor:
    values = torch.full((batch.num_rows,), _LIKELIEST, dtype=torch.float64)
    if batch.uniforms is None:
        return values
    return _placed(values, batch.random_rows, batch.uniforms.current())


def _placed(values: Tensor, rows: Tensor | None, of_rows: Tensor) -> Tensor:
    """`values` with those of some rows in place, or of all where `rows` is None."""
    flat = of_rows.flatten()
    return flat.contiguous() if rows is None else values.index_copy_(0, rows, flat)
