"""Normalizes and rotates queries and keys, and writes keys and values to the cache: one kernel.

Reads the product of a layer once and writes each number to where it is next read. All in float32,
rounded once. Knows nothing of sequences: a token has a slot, or is padding.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from engine.attention.backend import AttentionShape
from engine.attention.kv_cache import LARGEST, KVCache
from engine.attention.triton_tiles import padded
from engine.dependent_launch import chained, follow, lead

_HEADS = 8
"""Heads of one program. A token of 32 heads makes four: enough programs at small batches, and
1024 numbers in each, eight for a thread, at head size 128."""


def store_heads(
    shape: AttentionShape,
    cache: KVCache,
    layer: int,
    heads: Tensor,
    slots: Tensor,
    angles: tuple[Tensor, Tensor] | None,
    gain: Tensor | None,
    eps: float,
) -> Tensor:
    """Write keys and values of `layer` to the cache and return the queries.

    Args:
        heads: `[tokens, num_heads + 2 * num_kv_heads, head_dim]`: queries, keys, values;
            contiguous.
        slots: `[tokens]` int64; nothing is stored for a slot of -1.
        angles: cosines and sines `[tokens, 1, head_dim]`, the sine of the first half negated;
            rows may be apart. None: queries and keys are rotated already.
        gain: `[num_heads + num_kv_heads, head_dim]` of an RMS norm before the rotation, or None.

    Returns:
        `[tokens, num_heads, head_dim]` in the dtype of `heads`.
    """
    assert heads.is_contiguous()
    tokens, total, head_dim = heads.shape
    queries = heads.new_empty(tokens, shape.num_heads, head_dim)
    cos, sin = angles or (heads, heads)  # not read
    assert cos.stride(0) == sin.stride(0) and cos.stride(-1) == sin.stride(-1) == 1
    keys = cache.keys[layer]
    _store_kernel[(tokens, triton.cdiv(total, _HEADS))](
        heads,
        cos,
        sin,
        heads if gain is None else gain,
        slots,
        queries,
        keys,
        cache.values[layer],
        cos.stride(0),
        eps,
        NUM_HEADS=shape.num_heads,
        KV_HEADS=shape.num_kv_heads,
        HEAD_DIM=head_dim,
        BLOCK_SIZE=cache.block_size,
        TILE_HEADS=_HEADS,
        TILE_HALF=padded(head_dim // 2),
        NORMALIZES=gain is not None,
        ROTATES=angles is not None,
        LIMIT=LARGEST.get(keys.dtype, 0.0),
        **chained(heads),
    )
    return queries


@triton.jit(do_not_specialize_on_alignment=["slots"])
def _store_kernel(
    heads,
    cos,
    sin,
    gain,
    slots,
    queries,
    keys,
    values,
    angle_stride,
    eps,
    NUM_HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    TILE_HEADS: tl.constexpr,
    TILE_HALF: tl.constexpr,
    NORMALIZES: tl.constexpr,
    ROTATES: tl.constexpr,
    LIMIT: tl.constexpr,
    CHAINED: tl.constexpr,
):
    """One token and `TILE_HEADS` heads, as first and second halves, which a rotation mixes."""
    lead(CHAINED)
    follow(CHAINED)
    HALF: tl.constexpr = HEAD_DIM // 2
    TURNED: tl.constexpr = NUM_HEADS + KV_HEADS
    TOTAL: tl.constexpr = TURNED + KV_HEADS
    token = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * TILE_HEADS + tl.arange(0, TILE_HEADS)
    column = tl.arange(0, TILE_HALF)[None, :]
    inside = (head < TOTAL)[:, None] & (column < HALF)
    source = (token * TOTAL + head)[:, None] * HEAD_DIM + column
    x = tl.load(heads + source, inside, other=0.0).to(tl.float32)
    y = tl.load(heads + source + HALF, inside, other=0.0).to(tl.float32)
    turns = inside & (head < TURNED)[:, None]
    a = x
    b = y
    if NORMALIZES:
        scale = tl.rsqrt(tl.sum(x * x + y * y, 1) / HEAD_DIM + eps)[:, None]
        at = gain + head[:, None] * HEAD_DIM + column
        a = x * scale * tl.load(at, turns, other=0.0).to(tl.float32)
        b = y * scale * tl.load(at + HALF, turns, other=0.0).to(tl.float32)
    if ROTATES:
        at = token * angle_stride + column
        within = column < HALF
        cos_a = tl.load(cos + at, within, other=0.0).to(tl.float32)
        cos_b = tl.load(cos + at + HALF, within, other=0.0).to(tl.float32)
        sin_a = tl.load(sin + at, within, other=0.0).to(tl.float32)
        sin_b = tl.load(sin + at + HALF, within, other=0.0).to(tl.float32)
        rotated = a * cos_a + b * sin_a
        b = b * cos_b + a * sin_b
        a = rotated
    x = tl.where(turns, a, x)
    y = tl.where(turns, b, y)

    target = queries + (token * NUM_HEADS + head)[:, None] * HEAD_DIM + column
    is_query = inside & (head < NUM_HEADS)[:, None]
    tl.store(target, x, is_query)
    tl.store(target + HALF, y, is_query)

    if LIMIT > 0:
        x = tl.clamp(x, -LIMIT, LIMIT)
        y = tl.clamp(y, -LIMIT, LIMIT)
    slot = tl.load(slots + token)
    block = slot // BLOCK_SIZE
    kv_head = (head - NUM_HEADS) % KV_HEADS  # of a key, of a value, or of nothing
    place = ((block * KV_HEADS + kv_head) * BLOCK_SIZE + slot % BLOCK_SIZE)[:, None] * HEAD_DIM
    place += column
    is_stored = inside & (slot >= 0)
    is_key = is_stored & ((head >= NUM_HEADS) & (head < TURNED))[:, None]
    tl.store(keys + place, x, is_key)
    tl.store(keys + place + HALF, y, is_key)
    is_value = is_stored & (head >= TURNED)[:, None]
    tl.store(values + place, x, is_value)
    tl.store(values + place + HALF, y, is_value)
