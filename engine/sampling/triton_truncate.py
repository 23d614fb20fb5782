"""Stages 5 and 6, top-k and top-p, as Triton kernels that sort nothing.

Four launches. The survey counts the logits of each row by their distance from the best one. The
counts show how far down the kept tokens can reach at most, the window; everything from there up is
collected, in any order. Among these candidates, few as a rule, the search finds the border: eight
passes, each of which settles four bits of it. What is kept are the tokens above the border, and of
those equal to it the first `room` in the order of ids. All sums are of integers, so no order of
work shows.
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
from engine.sampling.triton_keys import fixed_point, from_key, row_best, to_key
from engine.sampling.triton_logits import ShapedLogits

_BINS = tl.constexpr(64)
# 16 nats in all, down to a ten-millionth of the best token's weight.
_BINS_PER_NAT = tl.constexpr(4.0)
_NATS_PER_BIN = tl.constexpr(0.25)
_SLACK = tl.constexpr(1.001)  # keeps a bin's bounds clear of how the exponential rounds
_DIGIT_BITS = tl.constexpr(4)
_DIGIT_VALUES = tl.constexpr(16)
_DIGITS = tl.constexpr(8)
_KEY_OFFSET = tl.constexpr(2**31)  # makes keys count from 0
_SAMPLE = 8
"""The share of a tile that is counted where there is a top-k: one in so many. If as many as k of
some tokens reach a bin, so do as many of all tokens; the window is then a little too wide."""

_CHUNK = 512
"""Candidates compared with 16 thresholds at once: 32 64-bit values in each thread of 8 warps."""


@triton.jit
def _bin(z, best):
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
    counts = tl.histogram(_bin(z, best), _BINS, mask=z > float("-inf"))
    tl.atomic_add(counts_ptr + tl.arange(0, _BINS), counts, sem="relaxed")
    return z


@triton.jit
def _nucleus_target(total, top_p):
    """The weight that the kept tokens must reach."""
    target = tl.ceil(total.to(tl.float64) * top_p).to(tl.int64)
    return tl.minimum(tl.maximum(target, 1), total)


@triton.jit
def _row_sum(tile_sum_ptr, index, num_tiles, TILES: tl.constexpr):
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
    dropped = total - _nucleus_target(total, top_p)
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
        total = _row_sum(tile_total_ptr, index, num_tiles, TILES)
    counts = tl.load(counts_ptr + index * _BINS + tl.arange(0, _BINS))
    first, last = _window(counts, top_k, top_p, total, ONE)
    tl.store(total_ptr + index, total)
    tl.store(window_ptr + index * 2, first)
    tl.store(window_ptr + index * 2 + 1, last)


@triton.jit
def _collect_kernel(
    z_ptr,
    z_stride,
    row_ids_ptr,
    top_k_ptr,
    top_p_ptr,
    state_stride,
    tile_best_ptr,
    num_tiles,
    window_ptr,
    tile_above_ptr,
    candidates_ptr,
    num_candidates_ptr,
    vocab_size,
    ONE: tl.constexpr,
    TILES: tl.constexpr,
    TILE: tl.constexpr,
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
    first = tl.load(window_ptr + index * 2)
    last = tl.load(window_ptr + index * 2 + 1)
    above_ptr = tile_above_ptr + index * num_tiles + tile
    tl.store(above_ptr, top_k * 0)
    if _bin(tl.load(tile_best_ptr + index * num_tiles + tile), best) > last:
        return  # no logit of this tile reaches the window
    ids = tile * TILE + tl.arange(0, TILE)
    z = tl.load(z_ptr + index * z_stride + ids, mask=ids < vocab_size, other=float("-inf"))
    z = z.to(tl.float32)
    bins = _bin(z, best)
    if first > 0:
        above = tl.sum(tl.where(bins < first, fixed_point(z, best, ONE), 0), axis=0)
        tl.store(above_ptr, above)
    wanted = (z > float("-inf")) & (bins >= first) & (bins <= last)
    number = tl.sum(wanted.to(tl.int32), axis=0)
    if number > 0:
        ranks = tl.cumsum(wanted.to(tl.int32), axis=0)
        start = tl.atomic_add(num_candidates_ptr + index, number, sem="relaxed")
        places = candidates_ptr + index * vocab_size + start + ranks - 1
        tl.store(places, to_key(z), mask=wanted)


@triton.jit
def _measure(
    keys_ptr,
    number,
    thresholds,
    above,
    best,
    ONE: tl.constexpr,
    WEIGH: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Of the candidates above `above`, how many reach each threshold, or what these weigh."""
    measures = thresholds * 0
    for start in range(0, number, CHUNK):
        places = start + tl.arange(0, CHUNK)
        inside = places < number
        raw = tl.load(keys_ptr + places, mask=inside, other=0)
        keys = raw.to(tl.int64) + _KEY_OFFSET
        amounts = (inside & (keys > above)).to(tl.int64)
        if WEIGH:
            amounts *= fixed_point(from_key(raw), best, ONE)
        reached = keys[:, None] >= thresholds[None, :]
        measures += tl.sum(tl.where(reached, amounts[:, None], 0), axis=0)
    return measures


@triton.jit
def _border(
    keys_ptr,
    number,
    target,
    above,
    at_above,
    best,
    ONE: tl.constexpr,
    WEIGH: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """The largest key such that the candidates from it up reach the target; 0 if all do not.

    `at_above` is what the tokens at key `above` itself count for.
    """
    border = above * 0
    digits = tl.arange(0, _DIGIT_VALUES).to(tl.int64)
    for turn in range(_DIGITS):
        shift = (_DIGITS - 1 - turn) * _DIGIT_BITS
        thresholds = border + (digits << shift)
        measures = _measure(keys_ptr, number, thresholds, above, best, ONE, WEIGH, CHUNK)
        measures += tl.where(thresholds <= above, at_above, 0)
        digit = tl.maximum(tl.sum((measures >= target).to(tl.int64), axis=0) - 1, 0)
        border += digit << shift
    return border


@triton.jit
def _beyond(
    keys_ptr,
    number,
    border,
    above,
    best,
    ONE: tl.constexpr,
    WEIGH: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """What the candidates above the border count for."""
    thresholds = border + 1 + tl.arange(0, _DIGIT_VALUES).to(tl.int64)
    return tl.max(_measure(keys_ptr, number, thresholds, above, best, ONE, WEIGH, CHUNK), axis=0)


@triton.jit
def _weight_at(border, best, ONE: tl.constexpr):
    return fixed_point(from_key((border - _KEY_OFFSET).to(tl.int32)), best, ONE)


@triton.jit
def _search_kernel(
    row_ids_ptr,
    top_k_ptr,
    top_p_ptr,
    state_stride,
    tile_best_ptr,
    num_tiles,
    total_ptr,
    tile_above_ptr,
    candidates_ptr,
    num_candidates_ptr,
    border_ptr,
    room_ptr,
    vocab_size,
    ONE: tl.constexpr,
    TILES: tl.constexpr,
    CHUNK: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64)
    row = tl.load(row_ids_ptr + index).to(tl.int64)
    if row < 0:
        return
    top_k = tl.load(top_k_ptr + row * state_stride)
    top_p = tl.load(top_p_ptr + row * state_stride)
    best = row_best(tile_best_ptr, index, num_tiles, TILES)
    total = tl.load(total_ptr + index)
    number = tl.load(num_candidates_ptr + index)
    keys_ptr = candidates_ptr + index * vocab_size
    border = top_k * 0
    room = border
    at_border = border
    if top_k > 0:
        border = _border(keys_ptr, number, top_k, border, border, best, ONE, False, CHUNK)
        room = top_k - _beyond(keys_ptr, number, border, border * 0, best, ONE, False, CHUNK)
        at_border = room * _weight_at(border, best, ONE)
        total = at_border + _beyond(keys_ptr, number, border, border, best, ONE, True, CHUNK)
    if top_p < 1:
        target = _nucleus_target(total, top_p)
        target -= _row_sum(tile_above_ptr, index, num_tiles, TILES)
        above = border
        border = _border(keys_ptr, number, target, above, at_border, best, ONE, True, CHUNK)
        missing = target - _beyond(keys_ptr, number, border, above, best, ONE, True, CHUNK)
        weight = tl.maximum(_weight_at(border, best, ONE), 1)
        room = (missing + weight - 1) // weight
    tl.store(border_ptr + index, (border - _KEY_OFFSET).to(tl.int32))
    tl.store(room_ptr + index, room)


@dataclass(frozen=True, slots=True)
class Borders:
    """Where each row of a step is cut. border: int32 [rows], the key of the last logit kept; room:
    int64 [rows], how many of those equal to it are kept."""

    border: Tensor
    room: Tensor


def find_borders(
    shaped: ShapedLogits, row_ids: Tensor, rows: SamplingRows, tiles: Tiles
) -> Borders:
    """Find what top-k and top-p keep; rows without either keep everything."""
    device, z = row_ids.device, shaped.values
    one, num_rows, bins = float(fixed_point_one(tiles.vocab_size)), tiles.num_rows, _BINS.value
    row_state = (row_ids, rows.top_k, rows.top_p, rows.stride)
    totals, above = (torch.empty(tiles.grid, dtype=torch.int64, device=device) for _ in range(2))
    total, room = (torch.empty(num_rows, dtype=torch.int64, device=device) for _ in range(2))
    window = torch.empty((num_rows, 2), dtype=torch.int32, device=device)
    candidates = torch.empty(z.shape, dtype=torch.int32, device=device)
    border = torch.empty(num_rows, dtype=torch.int32, device=device)
    # One array, and so one launch, for all that must begin at zero. The second part is aligned
    # like the first whatever the number of rows: else there would be two variants to compile.
    zeros = torch.zeros((bins + 1) * num_rows, dtype=torch.int32, device=device)
    counts, num_candidates = zeros[: bins * num_rows], zeros[bins * num_rows :]
    _survey_kernel[tiles.grid](
        z,
        z.stride(0),
        *row_state,
        shaped.best,
        tiles.per_row,
        totals,
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
        totals,
        counts,
        total,
        window,
        ONE=one,
        TILES=tiles.padded,
        num_warps=1,
    )
    _collect_kernel[tiles.grid](
        z,
        z.stride(0),
        *row_state,
        shaped.best,
        tiles.per_row,
        window,
        above,
        candidates,
        num_candidates,
        tiles.vocab_size,
        ONE=one,
        TILES=tiles.padded,
        TILE=tiles.tile,
        num_warps=tiles.num_warps,
    )
    _search_kernel[(num_rows,)](
        *row_state,
        shaped.best,
        tiles.per_row,
        total,
        above,
        candidates,
        num_candidates,
        border,
        room,
        tiles.vocab_size,
        ONE=one,
        TILES=tiles.padded,
        CHUNK=_CHUNK,
        num_warps=8,
    )
    return Borders(border, room)
