"""What the sampler needs to know of the rows of one step, as tensors.

A batch is built once per composition (which sequences, in which order) and reused, step after
step, while the composition stays the same; `advance` moves it on by tensor operations alone.

Knows nothing of the stages' arithmetic, of scheduling, or of where logits come from.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.sampling.penalty_state import PenaltyState
from engine.sampling.philox import UniformStream
from engine.sampling.row_parts import (
    AllowedIds,
    BannedEnds,
    Entries,
    LegalBits,
    LogprobRows,
    RowValues,
    allowed_ids,
    banned_ends,
    bias_entries,
    legal_bits,
    logprob_rows,
    row_index,
    row_values,
)
from engine.sampling_params import SamplingParams

FOREVER = 1 << 62  # steps; a larger minimum would not fit its tensor


@dataclass(frozen=True, slots=True)
class SamplingRow:
    """One sequence as the sampler sees it.

    `end_token_ids` are the ids that would end the sample (end-of-sequence, unless ignored, and
    the caller's stop ids); they cannot be drawn before `params.min_tokens` tokens are out. All
    ids must lie inside the vocabulary.
    """

    params: SamplingParams
    seed: int
    prompt_token_ids: Sequence[int] = ()
    output_token_ids: Sequence[int] = ()
    end_token_ids: Collection[int] = ()


@dataclass(slots=True)
class SamplingBatch:
    """The rows of a step, one part per feature; a part is None when no row uses the feature.

    `uniforms` is None when every row is greedy; `random_rows` (int64 [n]) names the rows that
    draw, None when all or none do.
    """

    num_rows: int
    vocab_size: int
    device: torch.device
    penalties: PenaltyState | None
    logit_bias: Entries | None
    allowed: AllowedIds | None
    banned_ends: BannedEnds | None
    temperature: RowValues | None
    top_k: RowValues | None
    top_p: RowValues | None
    min_p: RowValues | None
    uniforms: UniformStream | None
    random_rows: Tensor | None
    logprobs: LogprobRows | None
    legal: LegalBits | None = None  # by grammars, in the coming step only
    steps: int = 0  # taken since the batch was built

    @classmethod
    def build(
        cls,
        rows: Sequence[SamplingRow],
        vocab_size: int,
        device: torch.device | str,
        uniforms: UniformStream | None = None,
    ) -> SamplingBatch:
        """Tensors for these rows, in this order. Asserts that ids lie inside the vocabulary.

        `uniforms`, when the caller has them, are those of the rows that are not greedy.
        """
        device = torch.device(device)
        params = [row.params for row in rows]
        draws = [index for index, p in enumerate(params) if not p.greedy]
        return cls(
            num_rows=len(rows),
            vocab_size=vocab_size,
            device=device,
            penalties=_penalties(rows, vocab_size, device),
            logit_bias=bias_entries([p.logit_bias for p in params], vocab_size, device),
            allowed=allowed_ids([p.allowed_token_ids for p in params], vocab_size, device),
            banned_ends=banned_ends(
                [bannable_ends(row) for row in rows],
                [_steps_to_minimum(row) for row in rows],
                vocab_size,
                device,
            ),
            temperature=row_values([row_temperature(p) for p in params], torch.float32, device),
            top_k=row_values([row_top_k(p, vocab_size) for p in params], torch.int64, device),
            top_p=row_values([row_top_p(p) for p in params], torch.float64, device),
            min_p=row_values([row_log_min_p(p) for p in params], torch.float32, device),
            uniforms=uniforms or _uniforms([rows[index] for index in draws], device),
            random_rows=row_index(draws, len(rows), device) if draws else None,
            logprobs=logprob_rows([p.logprobs for p in params], device),
        )

    @property
    def edits_logits(self) -> bool:
        """Whether any row has penalties, a bias, or ids that it may not draw."""
        return not (
            self.penalties is None
            and self.logit_bias is None
            and self.legal is None
            and self.allowed is None
            and self.banned_ends is None
        )

    @property
    def changes_logits(self) -> bool:
        """Whether any stage before the draw has something to do."""
        return self.edits_logits or not (
            self.temperature is None
            and self.top_k is None
            and self.top_p is None
            and self.min_p is None
        )

    def restrict(self, rows: Sequence[int], bits: NDArray[np.int32]) -> None:
        """Let these rows draw, in the coming step, only the ids whose bits are set.

        bits: int32 [len(rows), words], the bit of id i being bit i % 32 of word i // 32.
        """
        self.legal = legal_bits(rows, bits, self.num_rows, self.device)

    def skip(self, counts: Sequence[int]) -> bool:
        """Each row has `counts[row]` tokens more, which it did not draw here. False where more than
        their number would have to be known; the batch is then as it was."""
        if self.penalties is not None or self.banned_ends is not None:
            return False
        if self.uniforms is not None:
            rows = range(self.num_rows) if self.random_rows is None else self.random_rows.tolist()
            self.uniforms.skip([counts[row] for row in rows])
        return True

    def advance(self, token_ids: Tensor) -> None:
        """Every row generated one token. token_ids: int64 [rows], on the batch's device."""
        self.steps += 1
        self.legal = None
        if self.penalties is not None:
            self.penalties.advance(token_ids)
        if self.banned_ends is not None and self.steps >= self.banned_ends.last:
            self.banned_ends = None
        if self.uniforms is not None:
            self.uniforms.advance()


def _penalties(
    rows: Sequence[SamplingRow], vocab_size: int, device: torch.device
) -> PenaltyState | None:
    used = [index for index, row in enumerate(rows) if row.params.uses_penalties]
    if not used:
        return None
    chosen = [rows[index] for index in used]
    return PenaltyState(
        used,
        [row.params for row in chosen],
        [row.prompt_token_ids for row in chosen],
        [row.output_token_ids for row in chosen],
        vocab_size,
        device,
    )


def _uniforms(rows: Sequence[SamplingRow], device: torch.device) -> UniformStream | None:
    if not rows:
        return None
    return UniformStream.start(
        [row.seed for row in rows], [len(row.output_token_ids) for row in rows], device
    )


def bannable_ends(row: SamplingRow) -> Collection[int]:
    """The ids that `min_tokens` bans; none when the row may draw nothing else.

    Whether a row with a grammar may draw anything else shows in each step's mask alone, so the
    ban is in there.
    """
    if row.params.grammar is not None:
        return ()
    ends = frozenset(row.end_token_ids)
    allowed = row.params.allowed_token_ids
    return () if allowed is not None and ends.issuperset(allowed) else ends


def _steps_to_minimum(row: SamplingRow) -> int:
    return min(row.params.min_tokens, FOREVER) - len(row.output_token_ids)


def row_temperature(params: SamplingParams) -> float | None:
    """What to divide by; None, here and below, when the stage leaves the row alone."""
    return None if params.greedy or params.temperature == 1 else params.temperature


def row_top_k(params: SamplingParams, vocab_size: int) -> int | None:
    """How many tokens to keep."""
    return params.top_k if not params.greedy and 0 < params.top_k < vocab_size else None


def row_top_p(params: SamplingParams) -> float | None:
    """The mass to keep."""
    return params.top_p if not params.greedy and params.top_p < 1 else None


def row_log_min_p(params: SamplingParams) -> float | None:
    """How far below the best logit a token may lie, as a negative number."""
    return math.log(params.min_p) if not params.greedy and params.min_p > 0 else None
