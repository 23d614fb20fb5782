"""Stage 2: the caller's bias on single tokens.

After the penalties, so that a bias moves its logit by exactly its value.
"""

from __future__ import annotations

from torch import Tensor

from engine.sampling.sampling_batch import SamplingBatch


def apply(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """`z[id] += bias`. logits: float32 [rows, vocab], contiguous; changed in place."""
    entries = batch.logit_bias
    if entries is not None:
        logits.view(-1).scatter_add_(0, entries.places, entries.values)
    return logits
