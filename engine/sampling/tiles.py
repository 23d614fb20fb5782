"""How a step's logits are divided among the programs of a kernel.

Knows nothing of any kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

TILE = 2048
"""Logits that one program handles: a vocabulary of 150 thousand then occupies some 75
multiprocessors when the batch is a single row. On an H200 all controls of 256 such rows took 376 us
so, and 498 with twice as many."""

_OF_A_WARP = 32 * 16
"""Logits that a warp of such a program handles: 16 a thread."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Rows of a step times tiles of the vocabulary; `tile` is a power of two."""

    num_rows: int
    vocab_size: int
    tile: int = TILE

    @property
    def per_row(self) -> int:
        """Tiles that cover the vocabulary."""
        return -(-self.vocab_size // self.tile)

    @property
    def padded(self) -> int:
        """The same, rounded up to a power of two, for vectors with a value of each tile."""
        return 1 << (self.per_row - 1).bit_length()

    @property
    def num_warps(self) -> int:
        """Of a program that handles a tile."""
        return max(self.tile // _OF_A_WARP, 1)

    @property
    def grid(self) -> tuple[int, int]:
        return (self.num_rows, self.per_row)
