"""The window of stages 5 and 6: how far from the best one the border of top-k or top-p can lie.

The survey counts the logits of each row by their distance from the best one, in bins; the counts
bound what lies beyond each bin. Sums are of integers, so no order of work shows. Knows nothing of
what is then done in the window (`engine.sampling.triton_truncate`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.sampling.fixed_point import fixed_point_one
from engine.sampling.sampling_rows import SamplingRows
from engine.sampling.tiles import Tiles
from engine.sampling.triton_keys import fixed_point, row_best
from engine.sampling.triton_logits import ShapedLogits

NUM_BINS = 64
_BINS = tl.constexpr(NUM_BINS)
# 16 nats in all, down to a ten-millionth of the best token's weight.
_BINS_PER_NAT = tl.constexpr(4.0)
_NATS_PER_BIN = tl.constexpr(0.25)
_SLACK = tl.constexpr(1.001)  # keeps a bin's bounds clear of how the exponential rounds
_SAMPLE = 8
"""The share of a tile that is counted where there is a top-k: one in so many. If as many as k of
some tokens reach a bin, so do as many of all tokens; the window is then a little too wide."""


@triton.jit
def bin_of(z, best):
    """The bin of a logit, by its distance from the best; the last holds all that lie beyond."""
    return tl.minimum((best - z) * _BINS_PER_NAT, _BINS - 1.0).to(tl.int32)


@triton.jit
def _survey_kernel(
    z_ptr,
    z_stride,
    row_ids_ptr,
    top_k_ptr,
    top_p_ptr,
    state_stride,
    tile_best_ptr,
    num_tiles,
    tile_total_ptr,
    counts_ptr,
    vocab_size,
    ONE: tl.constexpr,
    TILES: tl.constexpr,
    TILE: tl.constexpr,
    SAMPLE: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    row = tl.load(row_ids_ptr + index).to(tl.int64)
    if row < 0:
        return
    top_k = tl.load(top_k_ptr + row * state_stride)
    top_p = tl.load(top_p_ptr + row * state_stride)
    if (top_k == 0) & (top_p >= 1):
        return
    best = row_best(tile_best_ptr, index, num_tiles, TILES)
    row_ptr = z_ptr + index * z_stride
    counts_ptr += index * _BINS
    if top_k > 0:
        _count(row_ptr, tile * TILE, best, vocab_size, counts_ptr, SAMPLE)
    else:
        z = _count(row_ptr, tile * TILE, best, vocab_size, counts_ptr, TILE)
        total = tl.sum(fixed_point(z, best, ONE), axis=0)
        tl.store(tile_total_ptr + index * num_tiles + tile, total)


@triton.jit
def _count(row_ptr, first, best, vocab_size, counts_ptr, SIZE: tl.constexpr):
    """Count the logits of `SIZE` ids from `first` on into the row's bins. Returns the logits."""
    ids = first + tl.arange(0, SIZE)
    z = tl.load(row_ptr + ids, mask=ids < vocab_size, other=float("-inf")).to(tl.float32)
    counts = tl.histogram(bin_of(z, best), _BINS, mask=z > float("-inf"))
    tl.atomic_add(counts_ptr + tl.arange(0, _BINS), counts, sem="relaxed")
    return z


@triton.jit
def nucleus_target(total, top_p):
    """The weight that the kept tokens must reach."""
    target = tl.ceil(total.to(tl.float64) * top_p).to(tl.int64)
    return tl.minimum(tl.maximum(target, 1), total)


@triton.jit
def row_sum(tile_sum_ptr, index, num_tiles, TILES: tl.constexpr):
    tiles = tl.arange(0, TILES)
    sums = tl.load(tile_sum_ptr + index * num_tiles + tiles, mask=tiles < num_tiles, other=0)
    return tl.sum(sums, axis=0)


@triton.jit
def _after(numbers, weights):
    """What the tokens after each bin weigh, if each token has its bin's weight."""
    bounds = numbers * weights
    return tl.sum(bounds, axis=0) - tl.cumsum(bounds, axis=0)


@triton.jit
def _window(counts, top_k, top_p, total, ONE: tl.constexpr):
    """The first and the last bin that the search must see.

    With a top-k, all from the best one to the k-th, or further, as `counts` are then of a sample.
    Otherwise the border is that of top-p, and what may be dropped is less than the tokens after
    the first bin weigh at least, but not than those after the last one weigh at most.
    """
    numbers = counts.to(tl.int64)
    bins = tl.arange(0, _BINS).to(tl.float32)
    heaviest = (tl.exp(-bins * _NATS_PER_BIN) * (_SLACK * ONE)).to(tl.int64) + 1
    lightest = (tl.exp(-(bins + 1) * _NATS_PER_BIN) * (ONE / _SLACK)).to(tl.int64) - 1
    lightest = tl.where(bins < _BINS - 1, tl.maximum(lightest, 0), 0)
    dropped = total - nucleus_target(total, top_p)
    before_k = tl.cumsum(numbers, axis=0) < top_k
    before_last = tl.where(top_k > 0, before_k, _after(numbers, heaviest) > dropped)
    before_first = (_after(numbers, lightest) > dropped) & (top_k == 0)
    first = tl.sum(before_first.to(tl.int32), axis=0)
    last = tl.sum(before_last.to(tl.int32), axis=0)
    return first, tl.minimum(last, _BINS - 1)


@triton.jit
def _window_kernel(
    row_ids_ptr,
    top_k_ptr,
    top_p_ptr,
    state_stride,
    num_tiles,
    tile_total_ptr,
    counts_ptr,
    total_ptr,
    window_ptr,
    ONE: tl.constexpr,
    TILES: tl.constexpr,
):
    """Once for each row what all its tiles need. Grid: (rows,)."""
    index = tl.program_id(0).to(tl.int64)
    row = tl.load(row_ids_ptr + index).to(tl.int64)
    if row < 0:
        return
    top_k = tl.load(top_k_ptr + row * state_stride)
    top_p = tl.load(top_p_ptr + row * state_stride)
    if (top_k == 0) & (top_p >= 1):
        return
    total = top_k * 0
    if top_k == 0:  # with a top-k, what counts is the weight of what that leaves
        total = row_sum(tile_total_ptr, index, num_tiles, TILES)
    counts = tl.load(counts_ptr + index * _BINS + tl.arange(0, _BINS))
    first, last = _window(counts, top_k, top_p, total, ONE)
    tl.store(total_ptr + index, total)
    tl.store(window_ptr + index * 2, first)
    tl.store(window_ptr + index * 2 + 1, last)


@dataclass(frozen=True, slots=True)
class Windows:
    """Where the search of each row begins and ends. bounds: int32 [rows, 2], the first and the last
    bin; total: int64 [rows], what all tokens weigh, 0 with a top-k. Rows without top-k and top-p
    are not written."""

    bounds: Tensor
    total: Tensor


def find_windows(
    shaped: ShapedLogits, row_ids: Tensor, rows: SamplingRows, counts: Tensor, tiles: Tiles
) -> Windows:
    """counts: int32 [rows * NUM_BINS], zeros; filled."""
    device, z, num_rows = row_ids.device, shaped.values, tiles.num_rows
    one = float(fixed_point_one(tiles.vocab_size))
    row_state = (row_ids, rows.top_k, rows.top_p, rows.stride)
    tile_totals = torch.empty(tiles.grid, dtype=torch.int64, device=device)
    total = torch.empty(num_rows, dtype=torch.int64, device=device)
    bounds = torch.empty((num_rows, 2), dtype=torch.int32, device=device)
    _survey_kernel[tiles.grid](
        z,
        z.stride(0),
        *row_state,
        shaped.best,
        tiles.per_row,
        tile_totals,
        counts,
        tiles.vocab_size,
        ONE=one,
        TILES=tiles.padded,
        TILE=tiles.tile,
        SAMPLE=max(tiles.tile // _SAMPLE, 1),
        num_warps=tiles.num_warps,
    )
    _window_kernel[(num_rows,)](
        *row_state,
        tiles.per_row,
        tile_totals,
        counts,
        total,
        bounds,
        ONE=one,
        TILES=tiles.padded,
        num_warps=1,
    )
    return Windows(bounds, total)
