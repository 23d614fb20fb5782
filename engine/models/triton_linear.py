"""A matrix product whose rows do not feel each other, for GPUs.

A library picks its kernel by the number of rows, and with it the order in which a row's sum is
taken. Here the sum is taken from the first column to the last and never split, by the same
instruction, whatever the tile: each of Hopper's `wgmma` adds 16 products to each sum of a tile of
64 rows or more. So tiles may be chosen by the number of rows, and bits do not tell.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

_PROCESSORS = 132


class Tile(NamedTuple):
    """Of the result, and how many columns of the inputs are multiplied at a time."""

    rows: int
    columns: int
    depth: int
    num_warps: int
    num_stages: int

    @property
    def options(self) -> dict[str, int]:
        """What kernels are launched with."""
        sizes = {"ROWS": self.rows, "COLUMNS": self.columns, "DEPTH": self.depth}
        return {**sizes, "num_warps": self.num_warps, "num_stages": self.num_stages}


_PLAIN = Tile(64, 32, 64, 4, 4)  # of float32, which no tensor core multiplies as it is
_NARROW = Tile(64, 32, 128, 4, 5)
_FEW_ROWS = Tile(64, 64, 128, 4, 4)
_MANY_ROWS = Tile(128, 64, 64, 4, 4)
_SQUARE = Tile(128, 128, 64, 8, 4)


def _tile(rows: int, columns: int, dtype: torch.dtype) -> Tile:
    """What was quickest on an H200: the largest that still makes work for half of its processors,
    and narrow ones where a matrix has few columns, for then what counts is to read them at once."""
    if dtype == torch.float32:
        return _PLAIN
    if rows <= _FEW_ROWS.rows:
        return _FEW_ROWS if columns >= _FEW_ROWS.columns * _PROCESSORS // 2 else _NARROW
    for tile in (_SQUARE, _MANY_ROWS):
        if _programs(rows, columns, tile) >= _PROCESSORS // 2:
            return tile
    return _NARROW


def _programs(rows: int, columns: int, tile: Tile) -> int:
    return triton.cdiv(rows, tile.rows) * triton.cdiv(columns, tile.columns)


@triton.jit
def summed(
    from_x,  # [ROWS, DEPTH] pointers to the first columns of rows
    from_weight,  # [DEPTH, COLUMNS] the same of weights
    is_row,
    is_column,
    depth,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """A tile of a product in float32, from the first column of the inputs to the last."""
    inner = tl.arange(0, DEPTH)
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for at in range(0, depth, DEPTH):
        here = inner < depth - at
        a = tl.load(from_x + at, mask=is_row[:, None] & here[None, :], other=0.0)
        b = tl.load(from_weight + at, mask=is_column[None, :] & here[:, None], other=0.0)
        total = tl.dot(a, b, total, input_precision="ieee")
    return total


@triton.jit
def _linear(
    x,
    weight,
    bias,
    added,
    out,
    num_rows,
    num_columns,
    depth,
    HAS_BIAS: tl.constexpr,
    ADDS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    inner = tl.arange(0, DEPTH)
    is_row, is_column = row < num_rows, column < num_columns
    from_x = x + row.to(tl.int64)[:, None] * depth + inner[None, :]
    from_weight = weight + column.to(tl.int64)[None, :] * depth + inner[:, None]
    total = summed(from_x, from_weight, is_row, is_column, depth, ROWS, COLUMNS, DEPTH)
    if HAS_BIAS:
        total += tl.load(bias + column, mask=is_column, other=0.0).to(tl.float32)[None, :]
    place = row.to(tl.int64)[:, None] * num_columns + column[None, :]
    inside = is_row[:, None] & is_column[None, :]
    if ADDS:
        total += tl.load(added + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place, total, mask=inside)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None = None) -> Tensor:
    """`x W^T + bias + added`, summed in float32 and rounded once.

    x: `[rows, in]`; weight: `[out, in]`; bias: `[out]`; added: `[rows, out]`; all contiguous and
    of one dtype. Returns `[rows, out]`.
    """
    rows, depth = x.shape
    columns = weight.shape[0]
    out = x.new_empty(rows, columns)
    tile = _tile(rows, columns, x.dtype)
    # Row tiles vary slowest: those of one weight tile are then far apart, but a step of many rows
    # is bound by arithmetic and one of few has few row tiles.
    _linear[(triton.cdiv(columns, tile.columns), triton.cdiv(rows, tile.rows))](
        x,
        weight,
        x if bias is None else bias,
        x if added is None else added,
        out,
        rows,
        columns,
        depth,
        HAS_BIAS=bias is not None,
        ADDS=added is not None,
        **tile.options,
    )
    return out
