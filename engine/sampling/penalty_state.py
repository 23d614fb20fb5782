"""Which tokens the penalized rows have seen, kept on the device and updated by tensor operations.

Only rows that use a penalty are held here. Knows nothing of the formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.nn import functional

from engine.sampling_params import SamplingParams

_SPARE = 64  # columns of history to grow by; growing copies it


class PenaltyState:
    """Counts and history of the rows that use penalties.

    rows         int64 [n]: their place in the batch
    frequency, presence, repetition
                 float32 [n, 1]
    counts       int32 [n, vocab]: how often each token was generated
    seen         bool [n, vocab], in prompt or output; None when no row has a repetition penalty
    history      int64 [n, length]: every id a penalty can touch. Padded with id 0, and ids may
                 repeat: the penalized value of an id depends on counts and seen alone, so it is
                 harmless to work it out twice. It keeps the work proportional to the text
                 instead of the vocabulary.
    """

    def __init__(
        self,
        rows: Sequence[int],
        params: Sequence[SamplingParams],
        prompts: Sequence[Sequence[int]],
        outputs: Sequence[Sequence[int]],
        vocab_size: int,
        device: torch.device,
    ) -> None:
        self.rows = torch.tensor(rows, dtype=torch.int64, device=device)
        self.frequency = _column([p.frequency_penalty for p in params], device)
        self.presence = _column([p.presence_penalty for p in params], device)
        self.repetition = _column([p.repetition_penalty for p in params], device)
        shape = (len(rows), vocab_size)
        self.counts = _count(outputs, shape, device)
        self.seen: Tensor | None = None
        if any(p.repetition_penalty != 1 for p in params):
            self.seen = (self.counts + _count(prompts, shape, device)) > 0
        touched = [
            list(dict.fromkeys(chain(prompt, output) if p.repetition_penalty != 1 else output))
            for p, prompt, output in zip(params, prompts, outputs, strict=True)
        ]
        self._length = max(map(len, touched))
        width = self._length + _SPARE
        padded = [ids + [0] * (width - len(ids)) for ids in touched]
        self._history = torch.tensor(padded, dtype=torch.int64, device=device)

    @property
    def history(self) -> Tensor:
        return self._history[:, : self._length]

    def advance(self, token_ids: Tensor) -> None:
        """Count the tokens that this step generated. token_ids: int64 [batch rows]."""
        new = token_ids.index_select(0, self.rows).unsqueeze(1)
        self.counts.scatter_add_(1, new, torch.ones_like(new, dtype=torch.int32))
        if self.seen is not None:
            self.seen.scatter_(1, new, True)
        if self._length == self._history.shape[1]:
            self._history = functional.pad(self._history, (0, max(_SPARE, self._length // 2)))
        self._history[:, self._length : self._length + 1] = new
        self._length += 1


def _column(values: list[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).unsqueeze(1)


def _count(
    sequences: Sequence[Sequence[int]], shape: tuple[int, int], device: torch.device
) -> Tensor:
    lengths = torch.tensor([len(ids) for ids in sequences])
    ids = torch.tensor(list(chain.from_iterable(sequences)), dtype=torch.int64)
    assert not len(ids) or 0 <= int(ids.min()) <= int(ids.max()) < shape[1], "id not in vocabulary"
    row = torch.arange(len(sequences)).repeat_interleave(lengths)
    flat = (row * shape[1] + ids).to(device)
    counts = torch.zeros(shape[0] * shape[1], dtype=torch.int32, device=device)
    counts.scatter_add_(0, flat, torch.ones_like(flat, dtype=torch.int32))
    return counts.view(shape)
