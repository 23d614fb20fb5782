"""Norm, rotation and cache write in one kernel, against the layers of the model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("triton")

from engine.attention.backend import AttentionShape
from engine.attention.kv_cache import KVCache
from engine.attention.triton_store import store_heads
from engine.models.layers import RMSNorm, RotaryEmbedding, rotate_
from engine.models.rope import RopeSpec
from tests.engine.attention.device_batches import DEVICE
from tests.triton_interpreter import exact_numbers

BLOCK = 16
SLOTS = [35, -1, 16, 79, -1, 0]
POSITIONS = [3, 0, 700, 15, 0, 16]
EPS = 1e-5
SHAPES = [(2, 2, 16), (3, 1, 64), (7, 1, 80), (16, 8, 128)]


@pytest.fixture(autouse=True)
def as_on_a_card() -> Iterator[None]:
    with exact_numbers():
        yield


def make_cache(shape: AttentionShape, dtype: torch.dtype, device: torch.device) -> KVCache:
    """Of two layers and five blocks, all NaN."""
    cache = KVCache(
        num_layers=2,
        num_blocks=5,
        block_size=BLOCK,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        dtype=dtype,
        device=device,
    )
    for stored in (*cache.keys, *cache.values):
        stored.copy_(torch.full(stored.shape, float("nan")).to(dtype))
    return cache


def run(
    sizes: tuple[int, int, int], dtype: torch.dtype, cache_dtype: torch.dtype, *, norm: bool
) -> tuple[torch.Tensor, torch.Tensor, KVCache, KVCache]:
    """Queries as the kernel and as float32 layers give them, and both caches."""
    shape = AttentionShape(*sizes, 1.0, (None, None))
    turned, total = shape.num_heads + shape.num_kv_heads, shape.num_heads + 2 * shape.num_kv_heads
    random = torch.Generator().manual_seed(1)
    heads = torch.randn(len(SLOTS), total, shape.head_dim, generator=random).to(dtype)
    gain = torch.rand(turned, shape.head_dim, generator=random).to(dtype)
    rotary = RotaryEmbedding(RopeSpec(), shape.head_dim, 1024, dtype, torch.device("cpu"))
    angles = rotary.prepare(torch.tensor(POSITIONS))  # rows of both are apart

    kept = torch.tensor(SLOTS) >= 0
    wide = heads.float()
    rotated = RMSNorm(gain.float(), EPS)(wide[:, :turned].contiguous()) if norm else wide
    rotated = rotated[:, :turned].contiguous()
    rotate_(rotated, type(angles)(angles.cos.float(), angles.sin.float()))
    want_cache = make_cache(shape, cache_dtype, torch.device("cpu"))
    rows = want_cache.rows(torch.tensor(SLOTS)[kept])
    keys, values = rotated[kept, shape.num_heads :], wide[kept, turned:]
    if cache_dtype != torch.float8_e4m3fn:
        keys, values = keys.to(cache_dtype), values.to(cache_dtype)
    want_cache.store(1, keys, values, rows)

    cache = make_cache(shape, cache_dtype, DEVICE)
    queries = store_heads(
        shape,
        cache,
        1,
        heads.to(DEVICE),
        torch.tensor(SLOTS, device=DEVICE),
        (angles.cos.to(DEVICE), angles.sin.to(DEVICE)),
        gain.to(DEVICE) if norm else None,
        EPS,
    )
    return queries.cpu(), rotated[:, : shape.num_heads], cache, want_cache


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("sizes", SHAPES)
def test_normalizes_rotates_and_stores_as_the_layers_do(
    sizes: tuple[int, int, int], norm: bool
) -> None:
    queries, want, cache, want_cache = run(sizes, torch.float32, torch.float32, norm=norm)
    torch.testing.assert_close(queries, want, atol=2e-6, rtol=1e-5)
    for layer in range(2):
        for got, wanted in zip(cache.keys, want_cache.keys, strict=True):
            torch.testing.assert_close(got.cpu(), wanted, atol=2e-6, rtol=1e-5, equal_nan=True)
        assert torch.equal(
            cache.values[layer].cpu().nan_to_num(7), want_cache.values[layer].nan_to_num(7)
        )


@pytest.mark.parametrize("cache_dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_rounds_once(cache_dtype: torch.dtype) -> None:
    queries, want, cache, want_cache = run((3, 1, 64), torch.bfloat16, cache_dtype, norm=True)
    assert queries.dtype == torch.bfloat16
    torch.testing.assert_close(queries, want.bfloat16(), atol=1e-6, rtol=2**-8)
    step = 2**-8 if cache_dtype == torch.bfloat16 else 2**-3  # sums may differ at a tie
    for got, wanted in ((cache.keys, want_cache.keys), (cache.values, want_cache.values)):
        a, b = got[1].float().cpu(), wanted[1].float()
        torch.testing.assert_close(a, b, atol=2**-9, rtol=step, equal_nan=True)
        kept = ~b.isnan()
        assert (a[kept] == b[kept]).float().mean() > 0.99


def test_what_is_too_large_for_float8_is_stored_as_the_largest() -> None:
    shape = AttentionShape(1, 1, 16, 1.0, (None, None))
    cache = make_cache(shape, torch.float8_e4m3fn, DEVICE)
    heads = torch.tensor([1.0, 470.0, -9000.0], device=DEVICE)[None, :, None].repeat(1, 1, 16)
    store_heads(shape, cache, 0, heads, torch.tensor([17], device=DEVICE), None, None, 0.0)
    assert cache.keys[0][1, 0, 1].float().tolist() == [448.0] * 16
    assert cache.values[0][1, 0, 1].float().tolist() == [-448.0] * 16
