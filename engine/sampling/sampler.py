"""The pipeline: which stages there are, and in which order. Nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.sampling import logit_bias, masks, penalties, shaping
from engine.sampling.draw import draw
from engine.sampling.logprobs import prompt_logprobs, sampled_logprobs
from engine.sampling.sampling_batch import SamplingBatch
from engine.types import TokenLogprob

Stage = Callable[[Tensor, SamplingBatch], Tensor]

EDITS: tuple[Stage, ...] = (penalties.apply, logit_bias.apply, masks.apply)
SHAPING: tuple[Stage, ...] = (shaping.temperature, shaping.top_k, shaping.top_p, shaping.min_p)
PIPELINE = EDITS + SHAPING
"""Each stage may change the logits in place, leaves them alone when no row uses it, and treats a
row the same whatever the other rows are. The order is part of the public contract."""


@dataclass(frozen=True, slots=True)
class SampledTokens:
    """token_ids: int64 [rows], on the logits' device. logprobs: one entry per row (None for rows
    that did not ask), or None when no row asked."""

    token_ids: Tensor
    logprobs: list[TokenLogprob | None] | None


class Sampler:
    """Logits in, tokens out. Stateless: what changes from step to step lives in the batch."""

    def sample(self, logits: Tensor, batch: SamplingBatch) -> SampledTokens:
        """One token per row. The caller then tells the batch: `batch.advance(token_ids)`.

        logits: float32 [rows, vocab]; left as they are.
        """
        check_fit(logits, batch)
        processed = logits
        if batch.changes_logits:
            processed = logits.clone(memory_format=torch.contiguous_format)
            for stage in PIPELINE:
                processed = stage(processed, batch)
        token_ids = draw(processed, batch)
        return SampledTokens(token_ids, sampled_logprobs(logits, token_ids, batch))

    def prompt_logprobs(self, logits: Tensor, target_ids: Tensor, top_n: int) -> list[TokenLogprob]:
        """See `engine.sampling.logprobs.prompt_logprobs`."""
        return prompt_logprobs(logits, target_ids, top_n)


def check_fit(logits: Tensor, batch: SamplingBatch) -> None:
    """Assert that these are logits of the batch's rows."""
    assert logits.shape == (batch.num_rows, batch.vocab_size), "logits do not fit the batch"
    assert logits.dtype == torch.float32, "logits must be float32"
