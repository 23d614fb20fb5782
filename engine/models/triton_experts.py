"""A mixture of experts on a GPU: `engine.models.moe` says what is computed.

Rows come sorted by expert, and one kernel multiplies those of all experts, a tile of rows of one
expert at a time. The host knows bounds only, so that a step can be captured in a graph; programs
beyond the last tile end at once. Its speed has not been measured on a card yet.

A row's sum is taken from the first column to the last, whatever rows share its tile: with tiles of
one size, as with `batch_invariant`, its bits do not tell its company.

By weights of eight bits rows are multiplied that have been rounded to eight bits themselves, each
by a scale of its own, however few they are.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.dependent_launch import chained, follow, lead
from engine.models.layer_weights import Projection
from engine.models.triton_linear import Tile, summed
from engine.models.triton_mxfp4 import BLOCK, summed_by_four_bits
from engine.models.triton_quantize import quantize_rows
from engine.models.triton_routing import Sorted

_PLAIN = Tile(64, 32, 64, 4, 4)  # of float32
_FEW_ROWS = Tile(16, 64, 128, 4, 4)
_FOUR_BITS = Tile(16, 32, 128, 2, 6)  # by its instructions, and 27 kB under way for each processor
_MANY_ROWS = Tile(64, 128, 64, 4, 4)
_EIGHT_BITS = Tile(16, 64, 128, 4, 5)
_MANY_ROWS_EIGHT_BITS = Tile(64, 128, 128, 4, 4)
_COLUMNS = 1024


def choose_tile(pairs: int, experts: int, weights: torch.dtype, *, batch_invariant: bool) -> Tile:
    """Few rows where an expert has few. The dtype is that of `Projection.weight`."""
    if weights == torch.float32:
        return _PLAIN
    many = batch_invariant or pairs > experts * _FEW_ROWS.rows * 2
    if weights == torch.float8_e4m3fn:
        return _MANY_ROWS_EIGHT_BITS if many else _EIGHT_BITS
    if many:
        return _MANY_ROWS
    return _FOUR_BITS if weights == torch.uint8 else _FEW_ROWS


def multiply(x: Tensor, projections: Projection, by: Sorted, tile: Tile, per_row: int) -> Tensor:
    """Each pair's row by its expert's weight: `[pairs, out]`, in the order of pairs.

    Args:
        x: `[pairs / per_row, in]`: one row for so many pairs, one after the other.
        projections: weight `[experts, out, in]`, bias `[experts, out]` or None. With scales, of
            four bits or of eight, `x` is of bfloat16. All contiguous.
        tile: that rows were sorted for.
    """
    weight, bias, scales = projections
    experts, columns = weight.shape[:2]
    pairs = len(by.pairs)
    out = x.new_empty(pairs, columns)
    row_scales = None
    if weight.dtype == torch.float8_e4m3fn:
        x, row_scales = quantize_rows(x, None)
    most_tiles = min(pairs, pairs // tile.rows + experts)
    _expert_product[(triton.cdiv(columns, tile.columns), most_tiles)](
        x,
        row_scales,
        weight,
        scales,
        bias,
        by.pairs,
        by.starts,
        by.tile_starts,
        out,
        columns,
        x.shape[1],
        PER_ROW=per_row,
        EXPERTS=experts,
        EXPERTS_PADDED=triton.next_power_of_2(experts),
        **tile.options,
        **chained(out),
    )
    return out


def combine(parts: Tensor, weights: Tensor, residual: Tensor | None) -> Tensor:
    """Sums of weighted rows, added to `residual` `[tokens, size]`, summed in float32, rounded once.

    parts: `[tokens * per_token, size]`; weights: float32 `[tokens, per_token]`; all contiguous.
    """
    tokens, per_token = weights.shape
    size = parts.shape[1]
    out = parts.new_empty(tokens, size)
    _expert_sum[(tokens, triton.cdiv(size, _COLUMNS))](
        parts,
        weights,
        residual,
        out,
        PER_TOKEN=per_token,
        SIZE=size,
        TILE=_COLUMNS,
        **chained(parts),
    )
    return out


@triton.jit
def _expert_product(
    x,
    row_scales,
    weight,
    scales,
    bias,
    pairs,
    starts,
    tile_starts,
    out,
    num_columns,
    depth,
    PER_ROW: tl.constexpr,
    EXPERTS: tl.constexpr,
    EXPERTS_PADDED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """Grid: (tiles of columns, tiles of rows at most)."""
    lead(CHAINED)
    follow(CHAINED)
    tile = tl.program_id(1)
    expert_ids = tl.arange(0, EXPERTS_PADDED)
    ends = tl.load(tile_starts + 1 + expert_ids, mask=expert_ids < EXPERTS, other=1 << 40)
    expert = tl.sum((ends <= tile).to(tl.int32), 0)
    if expert >= EXPERTS:
        return
    begin = tl.load(starts + expert) + (tile - tl.load(tile_starts + expert)) * ROWS
    row = begin + tl.arange(0, ROWS)
    is_row = row < tl.load(starts + expert + 1)
    pair = tl.load(pairs + row, mask=is_row, other=0)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = column < num_columns
    matrix = expert.to(tl.int64) * num_columns + column
    total = _tile_of_expert(
        x,
        row_scales,
        weight,
        scales,
        pair // PER_ROW,
        matrix,
        is_row,
        is_column,
        depth,
        ROWS,
        COLUMNS,
        DEPTH,
    )
    if bias is not None:
        total += tl.load(bias + matrix, mask=is_column, other=0.0).to(tl.float32)[None, :]
    place = pair[:, None] * num_columns + column[None, :]
    tl.store(out + place, total, mask=is_row[:, None] & is_column[None, :])


@triton.jit
def _tile_of_expert(
    x,
    row_scales,
    weight,
    scales,
    row,  # [ROWS] of x
    matrix,  # [COLUMNS] rows of the weights of all experts
    is_row,
    is_column,
    depth,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """A tile of a product in float32, by whatever the weights are stored in."""
    inner = tl.arange(0, DEPTH)
    from_x = x + row[:, None] * depth + inner[None, :]
    if scales is None:
        from_weight = weight + matrix[None, :] * depth + inner[:, None]
        total = summed(from_x, from_weight, is_row, is_column, depth, ROWS, COLUMNS, DEPTH)
    elif row_scales is None:
        byte, block = tl.arange(0, DEPTH // 2), tl.arange(0, DEPTH // BLOCK)
        from_weight = weight + matrix[None, :] * (depth // 2) + byte[:, None]
        from_scale = scales + matrix[:, None] * (depth // BLOCK) + block[None, :]
        total = summed_by_four_bits(
            from_x, from_weight, from_scale, is_row, is_column, depth, ROWS, COLUMNS, DEPTH
        )
    else:
        # Weights as the left factor, of which Hopper's `wgmma` wants 64 rows, so that few rows of
        # x take it, too: `mma.sync` would widen every number to 16 bits first.
        from_weight = weight + matrix[:, None] * depth + inner[None, :]
        turned = summed(
            from_weight, tl.trans(from_x), is_column, is_row, depth, COLUMNS, ROWS, DEPTH
        )
        of_weight = tl.load(scales + matrix, mask=is_column, other=0.0)
        of_row = tl.load(row_scales + row, mask=is_row, other=0.0)
        total = tl.trans(turned) * of_weight[None, :] * of_row[:, None]
    return total


@triton.jit
def _expert_sum(
    parts,
    weights,
    residual,
    out,
    PER_TOKEN: tl.constexpr,
    SIZE: tl.constexpr,
    TILE: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """Grid: (tokens, tiles of columns)."""
    lead(CHAINED)
    follow(CHAINED)
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * TILE + tl.arange(0, TILE)
    inside = column < SIZE
    total = tl.zeros([TILE], tl.float32)
    for place in tl.static_range(PER_TOKEN):
        pair = token * PER_TOKEN + place
        part = tl.load(parts + pair * SIZE + column, mask=inside, other=0.0).to(tl.float32)
        total += part * tl.load(weights + pair)
    if residual is not None:
        total += tl.load(residual + token * SIZE + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + token * SIZE + column, total, mask=inside)
