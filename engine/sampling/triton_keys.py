"""Numbers that several of the sampler's kernels must compute alike."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def fixed_point(z, best, ONE: tl.constexpr):
    """`exp(z - best)` as int64 in units of 1 / ONE, rounded down; see `fixed_point.py`.

    0 where z is -inf or NaN.
    """
    distance = z - best
    return tl.where(distance <= 0, tl.exp(distance) * ONE, 0.0).to(tl.int64)


@triton.jit
def to_key(z):
    """A float32's bits arranged to sort as int32; 0 and -0 are equal."""
    bits = tl.where(z == 0, 0.0, z).to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def from_key(key):
    """The float32 that has this key."""
    return (key ^ ((key >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def is_set(words_ptr, ids, mask):
    """Whether the bit of each id is set: bit i % 32 of word i // 32."""
    words = tl.load(words_ptr + ids // 32, mask=mask, other=0)
    return ((words >> (ids % 32)) & 1) != 0


@triton.jit
def row_best(tile_best_ptr, index, num_tiles, TILES: tl.constexpr):
    """The largest logit of a row, from those of its tiles."""
    tiles = tl.arange(0, TILES)
    best = tl.load(
        tile_best_ptr + index * num_tiles + tiles, mask=tiles < num_tiles, other=float("-inf")
    )
    return tl.max(best, axis=0)
