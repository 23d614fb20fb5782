"""Counter-based random numbers: a uniform that is a pure function of (seed, position).

Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3"
(SC 2011), in int64 tensor arithmetic, so that CPU and CUDA agree bit for bit. Nothing is
remembered between draws: a sequence that moves to another batch, row or replica goes on with the
same numbers.

Knows nothing of logits or tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_MASK32 = 0xFFFFFFFF
_BLOCK = 16  # positions computed at once; ten rounds cost the same for one position as for many


def round_keys(seeds: Sequence[int], device: torch.device) -> Tensor:
    """The keys of all rounds: int64 [10, rows, 1, 2], from 64-bit seeds (signed or not)."""
    words = np.array([[seed & _MASK32, (seed >> 32) & _MASK32] for seed in seeds], dtype=np.int64)
    turns = np.arange(_ROUNDS)[:, None, None] * np.array(_KEY_STEPS)
    keys = (words + turns) & _MASK32
    return torch.from_numpy(keys).to(device).unsqueeze(2)


def philox4x32(counters: Tensor, keys: Tensor) -> Tensor:
    """Encrypt counters.

    counters: int64 [rows, n, 4], each word below 2**32; keys: as `round_keys` makes them.
    Returns int64 [rows, n, 4], each word below 2**32.
    """
    multipliers = torch.tensor(_MULTIPLIERS, dtype=torch.int64, device=counters.device)
    even, odd = counters[..., 0::2], counters[..., 1::2]
    for key in keys:
        # The product's 64 bits are right even when the sign bit is among them: int64 wraps.
        product = (even * multipliers).flip(-1)
        even = ((product >> 32) & _MASK32) ^ odd ^ key
        odd = product & _MASK32
    return torch.stack((even, odd), dim=-1).flatten(-2)


def uniforms(keys: Tensor, positions: Tensor) -> Tensor:
    """Uniforms in [0, 1) with 53 random bits.

    keys: as `round_keys` makes them; positions: int64 [rows, n], not negative.
    Returns float64 [rows, n].
    """
    zero = torch.zeros_like(positions)
    counters = torch.stack((positions & _MASK32, positions >> 32, zero, zero), dim=-1)
    words = philox4x32(counters, keys)
    bits = ((words[..., 0] >> 5) << 26) | (words[..., 1] >> 6)
    return bits.to(torch.float64) * 2.0**-53


class UniformStream:
    """One uniform per row and step, computed a block of steps ahead.

    keys: as `round_keys` makes them; positions: int64 [rows, n], the block's, from the coming step
    on; block: float64 [rows, n], the uniforms there.
    """

    def __init__(self, keys: Tensor, positions: Tensor, block: Tensor) -> None:
        self._keys = keys
        self._positions = positions
        self._block = block
        self._column = 0

    @classmethod
    def start(
        cls, seeds: Sequence[int], positions: Sequence[int], device: torch.device
    ) -> UniformStream:
        """Of rows with these seeds that have generated `positions` tokens so far."""
        keys = round_keys(seeds, device)
        first = torch.tensor(positions, dtype=torch.int64, device=device)
        columns = first.unsqueeze(1) + torch.arange(_BLOCK, device=device)
        return cls(keys, columns, uniforms(keys, columns))

    def current(self) -> Tensor:
        """This step's uniforms: float64 [rows, 1]."""
        return self._block[:, self._column : self._column + 1]

    def advance(self) -> None:
        """Go to the next position in every row."""
        self._column += 1
        if self._column == self._block.shape[1]:
            self._go_on()

    def skip(self, counts: Sequence[int]) -> None:
        """Go `counts[row]` positions further in each row."""
        further = torch.tensor(counts, device=self._block.device).unsqueeze(1)
        width = self._block.shape[1] - self._column - max(counts)  # what all rows have left
        if width < 1:
            self._positions = self._positions + further
            self._go_on()
            return
        columns = further + self._column + torch.arange(width, device=further.device)
        self._positions = self._positions.gather(1, columns)
        self._block = self._block.gather(1, columns)
        self._column = 0

    def ahead(self, counts: Sequence[int]) -> UniformStream:
        """Another stream, with each row `counts[row]` times: as it is, and at the positions after.

        What this one has computed already is not computed again. At most a block's steps ahead.
        """
        most = max(counts)
        assert most <= _BLOCK, "a block is all that is computed ahead"
        if self._column + most > self._block.shape[1]:
            self._go_on()
        rows = [row for row, count in enumerate(counts) for _ in range(count)]
        columns = [self._column + n for count in counts for n in range(count)]
        positions = self._positions[rows, columns].unsqueeze(1)
        return UniformStream(
            self._keys[:, rows], positions, self._block[rows, columns].unsqueeze(1)
        )

    def _go_on(self) -> None:
        """Begin a new block at the coming step."""
        first = self._positions[:, :1] + self._column
        self._positions = first + torch.arange(_BLOCK, device=first.device)
        self._block = uniforms(self._keys, self._positions)
        self._column = 0
