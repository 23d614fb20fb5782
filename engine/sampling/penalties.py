"""Stage 1: frequency, presence and repetition penalties.

Frequency and presence count generated tokens only (the OpenAI definition); repetition, an
extension, covers prompt and output (as in CTRL, https://arxiv.org/abs/1909.05858, section 4.1,
with negative logits multiplied, as everyone has done since).
"""

from __future__ import annotations

import torch
from torch import Tensor

from engine.sampling.sampling_batch import SamplingBatch


def apply(logits: Tensor, batch: SamplingBatch) -> Tensor:
    """`z -= count * frequency + (count > 0) * presence`, then `z / r` if `z > 0`, else `z * r`.

    logits: float32 [rows, vocab], contiguous; changed in place.
    """
    state = batch.penalties
    if state is None:
        return logits
    history = state.history
    places = history + state.rows.unsqueeze(1) * batch.vocab_size
    flat = logits.view(-1)
    counts = state.counts.gather(1, history)
    z = flat.take(places) - (counts * state.frequency + (counts > 0) * state.presence)
    if state.seen is not None:
        repeated = torch.where(z > 0, z / state.repetition, z * state.repetition)
        z = torch.where(state.seen.gather(1, history), repeated, z)
    flat.scatter_(0, places.view(-1), z.view(-1))
    return logits
