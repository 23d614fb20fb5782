"""Stage 8: one token per row.

Greedy rows take the argmax, the lowest id among equals. The others invert the cumulative
distribution, in the order of ids, at the row's own uniform.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.sampling.fixed_point import fixed_point_weights
from engine.sampling.sampling_batch import SamplingBatch

_STRETCH = 256
"""Ids that are looked through for the likeliest one."""

_CACHED = 1 << 19
"""Weights that are worked on at once on a CPU, where sums over more than its caches hold are paid
several times."""


def draw(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """Choose. logits: float32 [rows, vocab]. Returns int64 [rows]."""
    if batch.uniforms is None:
        return likeliest(logits)
    uniforms = batch.uniforms.current()
    if batch.random_rows is None:
        return inverse_cdf(logits, uniforms)
    token_ids = likeliest(logits)
    return token_ids.index_copy_(
        0, batch.random_rows, inverse_cdf(logits[batch.random_rows], uniforms)
    )


def likeliest(logits: Tensor) -> Tensor:
    """The argmax, the lowest id among equals. logits: float32 [rows, vocab]. Returns int64 [rows].

    On a CPU, torch looks for a maximum nine times as fast as for where it is, so that is asked of a
    stretch of each row only: the first that has the row's maximum.
    """
    vocab_size = logits.shape[-1]
    whole = vocab_size // _STRETCH
    if logits.is_cuda or not whole:
        return logits.argmax(dim=-1)
    stretches, rest = logits.split((whole * _STRETCH, vocab_size % _STRETCH), dim=-1)
    largest = stretches.unflatten(-1, (whole, _STRETCH)).amax(-1)
    if vocab_size % _STRETCH:
        largest = torch.cat((largest, rest.amax(-1, keepdim=True)), -1)
    first = largest.argmax(-1, keepdim=True) * _STRETCH
    ids = (first + torch.arange(_STRETCH)).clamp_(max=vocab_size - 1)  # the last one more often
    return first.squeeze(-1) + logits.gather(-1, ids).argmax(-1)


def inverse_cdf(logits: Tensor, uniforms: Tensor) -> Tensor:
    """The id at which the cumulative softmax first exceeds the uniform.

    logits: float32 [rows, vocab]; uniforms: float64 [rows, 1] in [0, 1). Returns int64 [rows].
    The sums are exact integers, so a token of weight zero is never chosen, whatever the uniform.
    """
    rows = max(1, _CACHED // logits.shape[-1])
    if logits.is_cuda or len(logits) <= rows:
        return _inverse_cdf(logits, uniforms)
    parts = zip(logits.split(rows), uniforms.split(rows), strict=True)
    return torch.cat([_inverse_cdf(*part) for part in parts])


def _inverse_cdf(logits: Tensor, uniforms: Tensor) -> Tensor:
    reached = fixed_point_weights(logits, logits.shape[-1]).cumsum_(dim=-1)
    total = reached[:, -1:]
    # The product can round up to the total itself when the uniform is close to 1.
    point = (total * uniforms).to(torch.int64).minimum(total - 1)
    chosen = torch.searchsorted(reached, point, right=True).squeeze(1)
    # Only a row of NaN can come out past the end; an id outside the vocabulary would then take
    # the other rows down with it.
    return chosen.clamp_(max=logits.shape[-1] - 1)
