"""Probabilities as integers, so that sums over the vocabulary are exact.

A float sum depends on how the work is split: over threads, over vector lanes, over the rows that
happen to share the call. An integer sum does not. Each logit is exponentiated by itself, turned
into a fixed-point integer, and every sum after that is exact, on any device and in any batch.

Knows nothing of sampling parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SUM_BITS = 62  # every sum stays below 2**62, far from the sign bit


def fixed_point_one(vocab_size: int) -> int:
    """The integer that stands for the weight of the most likely token; a power of two."""
    return 1 << (_SUM_BITS - (vocab_size - 1).bit_length())


def fixed_point_weights(logits: Tensor, vocab_size: int) -> Tensor:
    """`exp(logit - max)` per row as int64, rounded down; proportional to the softmax.

    logits: float32 [rows, n], with at least one finite value in each row: those of the whole
    vocabulary, or of candidates that include the best. Weights below 1 / `fixed_point_one`
    (about 1e-14 for a vocabulary of 50 thousand) become 0.
    """
    weights = logits - logits.amax(dim=-1, keepdim=True)
    return weights.exp_().mul_(float(fixed_point_one(vocab_size))).to(torch.int64)
