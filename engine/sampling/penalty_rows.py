"""Which tokens the penalized rows have seen, in tables on the device with a fixed row for each.

The counterpart of `PenaltyState` where the host does not know the newest tokens: kernels count
them. Knows nothing of the formulas.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.sampling.upload import num_words, pack_bits, upload


class PenaltyRows:
    """Counts of generated tokens, and marks of all that a penalty can touch, of rows that use one.

    counts     int32 [rows, vocab]: how often each token was generated
    seen_bits  int32 [rows, words]: the generated tokens, and those of the prompt where repetition
               is penalized; bit i % 32 of word i // 32 for id i. A text has few of a vocabulary's
               tokens, so that few counts need be read.

    Both are None until a row uses a penalty: they take 4 bytes and a bit per row and token.
    """

    def __init__(self, num_rows: int, vocab_size: int, device: torch.device) -> None:
        self._num_rows = num_rows
        self._vocab_size = vocab_size
        self._device = device
        self._outputs: dict[int, Sequence[int]] = {}
        self._seen: dict[int, NDArray[np.int32]] = {}
        self.counts: Tensor | None = None
        self.seen_bits: Tensor | None = None

    def stage(self, row: int, prompt: Sequence[int] | None, output: Sequence[int]) -> None:
        """Remember a new occupant; `prompt` is None where repetition is not penalized."""
        self._outputs[row] = output
        self._seen[row] = pack_bits([*(prompt or ()), *output], self._vocab_size)

    def flush(self) -> None:
        """Bring what is staged to the device; old counts are zeroed there."""
        if not self._outputs:
            return
        if self.counts is None:
            self._allocate()
        assert self.counts is not None and self.seen_bits is not None, "allocated"
        rows = upload(np.fromiter(self._outputs, dtype=np.int64), self._device)
        self.counts.index_fill_(0, rows, 0)
        entries = upload(self._staged_counts(), self._device)
        if entries.shape[1]:
            self.counts.view(-1).index_copy_(0, entries[0], entries[1].to(torch.int32))
        bits = upload(np.stack(list(self._seen.values())), self._device)
        self.seen_bits.index_copy_(0, rows, bits)
        self._outputs.clear()
        self._seen.clear()

    def _allocate(self) -> None:
        shape = (self._num_rows, self._vocab_size)
        self.counts = torch.zeros(shape, dtype=torch.int32, device=self._device)
        words = num_words(self._vocab_size)
        shape = (self._num_rows, words)
        self.seen_bits = torch.zeros(shape, dtype=torch.int32, device=self._device)

    def _staged_counts(self) -> NDArray[np.int64]:
        """Places in the flattened counts, and what belongs there: int64 [2, n]."""
        parts = [np.zeros((2, 0), dtype=np.int64)]
        for row, output in self._outputs.items():
            ids, counts = np.unique(np.asarray(output, dtype=np.int64), return_counts=True)
            parts.append(np.stack((row * self._vocab_size + ids, counts.astype(np.int64))))
        return np.concatenate(parts, axis=1)
