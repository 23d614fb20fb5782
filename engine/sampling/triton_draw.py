"""Stages 7 and 8 as Triton kernels, min-p and the draw; then the row's state goes on.

The first kernel sums what is kept of each tile. The second, one program a row, finds the tile in
which the cumulative weight, in the order of ids, passes the row's uniform, and the token within.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.sampling.fixed_point import fixed_point_one
from engine.sampling.sampling_rows import Feature, SamplingRows
from engine.sampling.tiles import Tiles
from engine.sampling.triton_keys import fixed_point, from_key, row_best, to_key
from engine.sampling.triton_logits import ShapedLogits
from engine.sampling.triton_truncate import Borders
from engine.sampling.upload import num_words

_ULP = tl.constexpr(2.0**-53)


@triton.jit
def _tile_weights(
    z_ptr,
    tile,
    best,
    floor,
    border,
    vocab_size,
    ONE: tl.constexpr,
    TRUNCATE: tl.constexpr,
    TILE: tl.constexpr,
):
    """Weights [TILE] of a tile's tokens above the border, and which [TILE] lie at it."""
    ids = tile * TILE + tl.arange(0, TILE)
    z = tl.load(z_ptr + ids, mask=ids < vocab_size, other=float("-inf")).to(tl.float32)
    weights = tl.where(z >= floor, fixed_point(z, best, ONE), 0)
    at_border = weights < 0
    if TRUNCATE:
        keys = to_key(z)
        at_border = (keys == border) & (weights > 0)
        weights = tl.where(keys > border, weights, 0)
    return weights, at_border


@triton.jit
def _sum_kernel(
    z_ptr,
    z_stride,
    row_ids_ptr,
    temperature_ptr,
    log_min_p_ptr,
    state_stride,
    tile_best_ptr,
    num_tiles,
    border_ptr,
    tile_sum_ptr,
    tile_ties_ptr,
    vocab_size,
    ONE: tl.constexpr,
    TRUNCATE: tl.constexpr,
    TILES: tl.constexpr,
    TILE: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64)
    tile = tl.program_id(1)
    row = tl.load(row_ids_ptr + index).to(tl.int64)
    if row < 0:
        return
    if tl.load(temperature_ptr + row * state_stride) == 0:
        return
    best = row_best(tile_best_ptr, index, num_tiles, TILES)
    floor = best + tl.load(log_min_p_ptr + row * state_stride).to(tl.float32)
    border = 0
    if TRUNCATE:
        border = tl.load(border_ptr + index)
        if to_key(tl.load(tile_best_ptr + index * num_tiles + tile)) < border:
            tl.store(tile_sum_ptr + index * num_tiles + tile, index * 0)
            tl.store(tile_ties_ptr + index * num_tiles + tile, index * 0)
            return  # nothing of this tile is kept
    weights, at_border = _tile_weights(
        z_ptr + index * z_stride, tile, best, floor, border, vocab_size, ONE, TRUNCATE, TILE
    )
    tl.store(tile_sum_ptr + index * num_tiles + tile, tl.sum(weights, axis=0))
    if TRUNCATE:
        ties = tl.sum(at_border.to(tl.int64), axis=0)
        tl.store(tile_ties_ptr + index * num_tiles + tile, ties)


@triton.jit
def _uniform(seed, position):
    """The uniform in [0, 1) of this seed and position; see `philox.py`."""
    low = (position & 0xFFFFFFFF).to(tl.uint32)
    high = (position >> 32).to(tl.uint32)
    zero = low * 0
    words = tl.philox(seed, low, high, zero, zero)
    bits = ((words[0].to(tl.int64) >> 5) << 26) | (words[1].to(tl.int64) >> 6)
    return bits.to(tl.float64) * _ULP


@triton.jit
def _at(values, places, place):
    """The entry of a vector at one place."""
    return tl.sum(tl.where(places == place, values, 0), axis=0)


@triton.jit
def _random_token(
    z_ptr,
    best,
    floor,
    uniform,
    tile_sum_ptr,
    tile_ties_ptr,
    num_tiles,
    border,
    room,
    vocab_size,
    ONE: tl.constexpr,
    TRUNCATE: tl.constexpr,
    TILES: tl.constexpr,
    TILE: tl.constexpr,
):
    """The first id at which the cumulative weight exceeds the uniform's share of the total."""
    tiles = tl.arange(0, TILES)
    present = tiles < num_tiles
    sums = tl.load(tile_sum_ptr + tiles, mask=present, other=0)
    if TRUNCATE:
        at_border = fixed_point(from_key(border), best, ONE)
        ties = tl.load(tile_ties_ptr + tiles, mask=present, other=0)
        ties_before = tl.cumsum(ties, axis=0) - ties
        sums += tl.minimum(tl.maximum(room - ties_before, 0), ties) * at_border
    reached = tl.cumsum(sums, axis=0)
    total = tl.sum(sums, axis=0)
    # The product can round up to the total itself when the uniform is close to 1.
    point = tl.minimum((total.to(tl.float64) * uniform).to(tl.int64), total - 1)
    tile = tl.minimum(tl.sum((reached <= point).to(tl.int32), axis=0), num_tiles - 1)
    weights, tied = _tile_weights(z_ptr, tile, best, floor, border, vocab_size, ONE, TRUNCATE, TILE)
    if TRUNCATE:
        rank = _at(ties_before, tiles, tile) + tl.cumsum(tied.to(tl.int64), axis=0)
        weights += tl.where(tied & (rank <= room), at_border, 0)
    point -= _at(reached - sums, tiles, tile)
    within = tl.sum((tl.cumsum(weights, axis=0) <= point).to(tl.int32), axis=0)
    return tile * TILE + within


@triton.jit
def _draw_kernel(
    z_ptr,
    z_stride,
    row_ids_ptr,
    seed_ptr,
    num_generated_ptr,
    temperature_ptr,
    log_min_p_ptr,
    state_stride,
    tile_best_ptr,
    tile_token_ptr,
    num_tiles,
    border_ptr,
    room_ptr,
    tile_sum_ptr,
    tile_ties_ptr,
    counts_ptr,
    seen_ptr,
    num_words,
    out_ptr,
    vocab_size,
    ONE: tl.constexpr,
    DRAW: tl.constexpr,
    TRUNCATE: tl.constexpr,
    COUNT: tl.constexpr,
    TILES: tl.constexpr,
    TILE: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64)
    row = tl.load(row_ids_ptr + index).to(tl.int64)
    if row < 0:
        tl.store(out_ptr + index, row * 0)
        return
    num_generated = tl.load(num_generated_ptr + row * state_stride)
    best = row_best(tile_best_ptr, index, num_tiles, TILES)
    tiles = index * num_tiles + tl.arange(0, TILES)
    present = tl.arange(0, TILES) < num_tiles
    tile_best = tl.load(tile_best_ptr + tiles, mask=present, other=float("-inf"))
    tile_token = tl.load(tile_token_ptr + tiles, mask=present, other=vocab_size)
    token = tl.min(tl.where(tile_best == best, tile_token, vocab_size), axis=0)
    if DRAW:
        if tl.load(temperature_ptr + row * state_stride) > 0:
            floor = best + tl.load(log_min_p_ptr + row * state_stride).to(tl.float32)
            border = 0
            room = num_generated * 0
            if TRUNCATE:
                border = tl.load(border_ptr + index)
                room = tl.load(room_ptr + index)
            token = _random_token(
                z_ptr + index * z_stride,
                best,
                floor,
                _uniform(tl.load(seed_ptr + row * state_stride), num_generated),
                tile_sum_ptr + index * num_tiles,
                tile_ties_ptr + index * num_tiles,
                num_tiles,
                border,
                room,
                vocab_size,
                ONE,
                TRUNCATE,
                TILES,
                TILE,
            )
    # Only a row of NaN can come out past the end.
    token = tl.minimum(token, vocab_size - 1).to(tl.int64)
    tl.store(out_ptr + index, token)
    tl.store(num_generated_ptr + row * state_stride, num_generated + 1)
    if COUNT:
        count_ptr = counts_ptr + row * vocab_size + token
        tl.store(count_ptr, tl.load(count_ptr) + 1)
        word_ptr = seen_ptr + row * num_words + token // 32
        tl.store(word_ptr, tl.load(word_ptr) | (1 << (token % 32)).to(tl.int32))


def draw_tokens(
    shaped: ShapedLogits,
    borders: Borders | None,
    row_ids: Tensor,
    rows: SamplingRows,
    features: Feature,
    tiles: Tiles,
) -> Tensor:
    """One token per row, which the rows' state then counts; 0 for padding. Returns int64 [rows]."""
    device, z = row_ids.device, shaped.values
    one = float(fixed_point_one(tiles.vocab_size))
    sums = torch.empty(tiles.grid, dtype=torch.int64, device=device)
    ties = torch.empty_like(sums)
    tokens = torch.empty(tiles.num_rows, dtype=torch.int64, device=device)
    border, room = (None, None) if borders is None else (borders.border, borders.room)
    draws, counts = bool(features & Feature.DRAW), bool(features & Feature.PENALTIES)
    if draws:
        _sum_kernel[tiles.grid](
            z,
            z.stride(0),
            row_ids,
            rows.temperature,
            rows.log_min_p,
            rows.stride,
            shaped.best,
            tiles.per_row,
            border,
            sums,
            ties,
            tiles.vocab_size,
            ONE=one,
            TRUNCATE=borders is not None,
            TILES=tiles.padded,
            TILE=tiles.tile,
            num_warps=tiles.num_warps,
        )
    _draw_kernel[(tiles.num_rows,)](
        z,
        z.stride(0),
        row_ids,
        rows.seed,
        rows.num_generated,
        rows.temperature,
        rows.log_min_p,
        rows.stride,
        shaped.best,
        shaped.token,
        tiles.per_row,
        border,
        room,
        sums,
        ties,
        rows.penalties.counts if counts else None,
        rows.penalties.seen_bits if counts else None,
        num_words(tiles.vocab_size),
        tokens,
        tiles.vocab_size,
        ONE=one,
        DRAW=draws,
        TRUNCATE=borders is not None,
        COUNT=counts,
        TILES=tiles.padded,
        TILE=tiles.tile,
        num_warps=8,
    )
    return tokens
