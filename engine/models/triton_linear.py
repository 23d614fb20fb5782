"""A matrix product whose rows do not feel each other, for GPUs.

A library picks its kernel by the number of rows, and with it the order in which a row's sum is
taken. This one has one tile size for every number of rows, takes each sum from the first column to
the last, and never splits it. Has been run by Triton's interpreter only, never on a card yet; what
it costs there has not been measured.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

_ROWS = 64  # the least that Hopper's `wgmma` takes: one program reads the weights for as many
_DEPTH = 64
_NARROW, _WIDE = 32, 128
_MANY_COLUMNS = 128 * 132
"""From here on wide tiles fill a card of 132 processors; below, narrow ones spread the reading."""


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
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for at in range(0, depth, DEPTH):
        here = inner < depth - at
        a = tl.load(from_x + at, mask=is_row[:, None] & here[None, :], other=0.0)
        b = tl.load(from_weight + at, mask=is_column[None, :] & here[:, None], other=0.0)
        total = tl.dot(a, b, total, input_precision="ieee")
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
    tile = _WIDE if columns >= _MANY_COLUMNS else _NARROW
    # Row tiles vary slowest: those of one weight tile are then far apart, but a step of many rows
    # is bound by arithmetic and one of few has a single row tile.
    _linear[(triton.cdiv(columns, tile), triton.cdiv(rows, _ROWS))](
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
        ROWS=_ROWS,
        COLUMNS=tile,
        DEPTH=_DEPTH,
        num_warps=4,
        num_stages=4,
    )
    return out
