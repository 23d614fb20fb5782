"""Stage 3: what may not be drawn at all.

After the bias, which could otherwise lift a banned token, and before truncation, which could
otherwise keep nothing but banned ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from engine.sampling.sampling_batch import SamplingBatch


def apply(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """Forbidden tokens become -inf. logits: float32 [rows, vocab], contiguous; changed in place."""
    _keep_legal(logits, batch)
    _keep_allowed(logits, batch)
    _ban_ends(logits, batch)
    return logits


def _keep_legal(logits: Tensor, batch: SamplingBatch) -> None:
    part = batch.legal
    if part is None:
        return
    ones = 1 << torch.arange(8, dtype=torch.uint8, device=logits.device)
    illegal = part.bits.unsqueeze(-1).bitwise_and(ones).eq_(0).view(torch.bool).flatten(1)
    illegal = illegal[:, : logits.shape[1]]
    if part.rows is None:
        logits.masked_fill_(illegal, -math.inf)
    else:
        chosen = logits.index_select(0, part.rows).masked_fill_(illegal, -math.inf)
        logits.index_copy_(0, part.rows, chosen)


def _keep_allowed(logits: Tensor, batch: SamplingBatch) -> None:
    part = batch.allowed
    if part is None:
        return
    flat = logits.view(-1)
    kept = flat.take(part.places)
    logits.index_fill_(0, part.rows, -math.inf)
    flat.scatter_(0, part.places.view(-1), kept.view(-1))


def _ban_ends(logits: Tensor, batch: SamplingBatch) -> None:
    part = batch.banned_ends
    if part is None:
        return
    flat = logits.view(-1)
    current = flat.take(part.places)
    flat.scatter_(0, part.places, current.masked_fill_(part.until > batch.steps, -math.inf))
