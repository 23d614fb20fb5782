"""Stages 5 and 6, top-k and top-p, as Triton kernels that sort nothing.

All tokens in a window (`engine.sampling.triton_window`) are collected, in any order. Among these
candidates, few as a rule, the search finds the border: eight passes, each of which settles four
bits of it. What is kept are the tokens above the border, and of those equal to it the first `room`
in the order of ids. All sums are of integers, so no order of work shows.
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
from engine.sampling.triton_window import NUM_BINS, bin_of, find_windows, nucleus_target, row_sum

_DIGIT_BITS = tl.constexpr(4)
_DIGIT_VALUES = tl.constexpr(16)
_DIGITS = tl.constexpr(8)
_KEY_OFFSET = tl.constexpr(2**31)  # makes keys count from 0
_CHUNK = 512
"""Candidates compared with 16 thresholds at once: 32 64-bit values in each thread of 8 warps."""


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
    if bin_of(tl.load(tile_best_ptr + index * num_tiles + tile), best) > last:
        return  # no logit of this tile reaches the window
    ids = tile * TILE + tl.arange(0, TILE)
    z = tl.load(z_ptr + index * z_stride + ids, mask=ids < vocab_size, other=float("-inf"))
    z = z.to(tl.float32)
    bins = bin_of(z, best)
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
        target = nucleus_target(total, top_p)
        target -= row_sum(tile_above_ptr, index, num_tiles, TILES)
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
    device, z, num_rows = row_ids.device, shaped.values, tiles.num_rows
    one = float(fixed_point_one(tiles.vocab_size))
    row_state = (row_ids, rows.top_k, rows.top_p, rows.stride)
    # One array, and so one launch, for all that must begin at zero. The second part is aligned
    # like the first whatever the number of rows: else there would be two variants to compile.
    zeros = torch.zeros((NUM_BINS + 1) * num_rows, dtype=torch.int32, device=device)
    counts, num_candidates = zeros[: NUM_BINS * num_rows], zeros[NUM_BINS * num_rows :]
    windows = find_windows(shaped, row_ids, rows, counts, tiles)
    above = torch.empty(tiles.grid, dtype=torch.int64, device=device)
    candidates = torch.empty(z.shape, dtype=torch.int32, device=device)
    border = torch.empty(num_rows, dtype=torch.int32, device=device)
    room = torch.empty(num_rows, dtype=torch.int64, device=device)
    _collect_kernel[tiles.grid](
        z,
        z.stride(0),
        *row_state,
        shaped.best,
        tiles.per_row,
        windows.bounds,
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
        windows.total,
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
