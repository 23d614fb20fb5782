"""The compiled attention against the plain reference, and its independence of batch-mates."""

from __future__ import annotations

import pytest
import torch

from engine.attention.backend import AttentionShape, ReferenceAttention
from engine.attention.kv_cache import KVCache
from engine.attention.native import NativeAttention, can_attend
from engine.models.layers import RMSNorm, RotaryEmbedding, rotate_
from engine.models.rope import RopeSpec
from engine.native.kernels import Kernels
from engine.scheduling.sequence import Sequence
from tests.engine.attention.test_cpu import (
    CAP,
    CHUNKS,
    MAX_LEN,
    SHAPES,
    inputs,
    make_batch,
    make_cache,
    make_sequence,
    make_shape,
    make_sinks,
)

SIZES = [*SHAPES, (8, 1, 128), (5, 5, 80)]


DTYPES = [torch.float32, torch.bfloat16]
BLOCKS = [
    (torch.float32, 128),
    (torch.float32, 16),
    (torch.float32, 64),
    (torch.bfloat16, 16),
    (torch.bfloat16, 64),
]
TOLERANCE = {torch.float32: (3e-6, 1e-5), torch.bfloat16: (1e-2, 1e-2)}
"""Absolute and relative; in bfloat16 it is for the rounding of the result, and of weights."""


def in_units(keys: torch.Tensor) -> torch.Tensor:
    """Keys of sixteen tokens dimension by dimension, in bfloat16 two dimensions at a time."""
    step = 4 // keys.itemsize
    units = keys.reshape(*keys.shape[:2], -1, 16, keys.shape[-1] // step, step)
    return units.transpose(-2, -3).reshape(keys.shape).clone()


def in_steps(values: torch.Tensor) -> torch.Tensor:
    """Values of two tokens dimension by dimension in bfloat16, as they come in float32."""
    step = 4 // values.itemsize
    steps = values.reshape(*values.shape[:2], -1, step, values.shape[-1])
    return steps.transpose(-1, -2).reshape(values.shape).clone()


def make_native_cache(shape: AttentionShape, block: int, dtype: torch.dtype) -> KVCache:
    cache = make_cache(shape, block, dtype)
    for keys, values in zip(cache.keys, cache.values, strict=True):
        keys.copy_(in_units(keys))
        values.copy_(in_steps(values))
    return cache


@pytest.mark.parametrize(("dtype", "block"), BLOCKS)
@pytest.mark.parametrize("heads", SIZES)
@pytest.mark.parametrize("chunks", CHUNKS)
def test_equals_the_reference(
    kernels: Kernels,
    heads: tuple[int, int, int],
    chunks: list[tuple[int, int, int]],
    block: int,
    dtype: torch.dtype,
) -> None:
    assert_equals_the_reference(kernels, make_shape(*heads), chunks, block, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", SIZES)
def test_scores_may_be_capped(
    kernels: Kernels, heads: tuple[int, int, int], dtype: torch.dtype
) -> None:
    assert_equals_the_reference(kernels, make_shape(*heads, CAP), CHUNKS[-1], 64, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", SIZES)
@pytest.mark.parametrize("chunks", CHUNKS)
def test_sinks_take_their_share(
    kernels: Kernels,
    heads: tuple[int, int, int],
    chunks: list[tuple[int, int, int]],
    dtype: torch.dtype,
) -> None:
    shape = make_shape(*heads)
    assert_equals_the_reference(kernels, shape, chunks, 64, dtype, make_sinks(shape))


def assert_equals_the_reference(
    kernels: Kernels,
    shape: AttentionShape,
    chunks: list[tuple[int, int, int]],
    block: int,
    dtype: torch.dtype,
    sinks: torch.Tensor | None = None,
) -> None:
    batch = make_batch([(make_sequence(row, s + n, block), s, n) for row, s, n in chunks], block)
    q, k, v = (tensor.to(dtype) for tensor in inputs(shape, batch))
    for layer in range(2):
        want_cache, cache = make_cache(shape, block), make_native_cache(shape, block, dtype)
        for exact in (*want_cache.keys, *want_cache.values):
            exact.copy_(exact.to(dtype))
        reference = ReferenceAttention(shape, want_cache).begin(batch)
        want = reference.attend(layer, q.float(), k.float(), v.float(), sinks)
        got = NativeAttention(kernels, shape, cache).begin(batch).attend(layer, q, k, v, sinks)
        atol, rtol = TOLERANCE[dtype]
        torch.testing.assert_close(got.float(), want, atol=atol, rtol=rtol)
        assert torch.equal(cache.keys[layer], in_units(want_cache.keys[layer].to(dtype)))
        assert torch.equal(cache.values[layer], in_steps(want_cache.values[layer].to(dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", SIZES)
def test_what_is_not_written_is_never_seen(
    kernels: Kernels, heads: tuple[int, int, int], dtype: torch.dtype
) -> None:
    shape, block = make_shape(*heads), 16
    cache = make_cache(shape, block, dtype)
    for stored in (*cache.keys, *cache.values):
        stored.fill_(float("nan"))
    sequences = [make_sequence(0, 18, block), make_sequence(1, 301, block)]
    for chunks in ([(0, 17), (0, 300)], [(17, 1), (300, 1)]):
        batch = make_batch([(s, *chunk) for s, chunk in zip(sequences, chunks, strict=True)], block)
        q, k, v = (tensor.to(dtype) for tensor in inputs(shape, batch))
        step = NativeAttention(kernels, shape, cache).begin(batch)
        for layer in range(2):
            assert step.attend(layer, q, k, v).isfinite().all()


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("heads", SIZES)
def test_rotates_and_normalizes_as_the_layers_do(
    kernels: Kernels, heads: tuple[int, int, int], norm: bool
) -> None:
    shape = make_shape(*heads)
    batch = make_batch([(make_sequence(0, 301, 64), 300, 1), (make_sequence(1, 40, 64), 5, 35)], 64)
    q, k, v = inputs(shape, batch)
    joined = torch.cat((q, k, v), 1)
    rotary = RotaryEmbedding(
        RopeSpec(), shape.head_dim, MAX_LEN, torch.float32, torch.device("cpu")
    )
    angles = rotary.prepare(batch.positions)
    both = shape.num_heads + shape.num_kv_heads
    gain = torch.rand(both, shape.head_dim, generator=torch.Generator().manual_seed(2))
    heads_in = joined[:, :both].contiguous()
    rotated = rotate_(RMSNorm(gain, 1e-5)(heads_in) if norm else heads_in, angles)
    reference = ReferenceAttention(shape, make_cache(shape, 64)).begin(batch)
    want = reference.attend(0, rotated[:, : shape.num_heads], rotated[:, shape.num_heads :], v)
    step = NativeAttention(kernels, shape, make_native_cache(shape, 64, torch.float32)).begin(batch)
    got = step.attend_rotating(0, joined, angles.cos, angles.sin, gain if norm else None, 1e-5)
    torch.testing.assert_close(got, want, atol=3e-6, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "block"), BLOCKS[1:])
@pytest.mark.parametrize("heads", SIZES)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_row_is_the_same_bits_alone_in_a_batch_and_in_any_chunking(
    kernels: Kernels, heads: tuple[int, int, int], threads: int, block: int, dtype: torch.dtype
) -> None:
    shape = make_shape(*heads)
    cache = make_cache(shape, block, dtype)
    subject = make_sequence(0, 600, block)  # two splits of keys
    others = [make_sequence(row, 640, block) for row in (1, 2, 3)]

    def rows(chunks: list[tuple[Sequence, int, int]], layer: int) -> dict[int, torch.Tensor]:
        batch = make_batch(chunks, block)
        step = NativeAttention(kernels, shape, cache).begin(batch)
        out = step.attend(layer, *(tensor.to(dtype) for tensor in inputs(shape, batch)))
        mine = [n for n, (s, _, _) in enumerate(chunks) if s is subject][0]
        first = int(batch.query_starts[mine])
        return {chunks[mine][1] + n: out[first + n] for n in range(chunks[mine][2])}

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for layer in range(2):
            whole = rows([(subject, 0, 600)], layer)
            for chunks in (
                [(subject, 599, 1)],
                [(subject, 511, 1), (others[0], 600, 1)],
                [(subject, 130, 1), (others[0], 600, 1), (others[1], 5, 1)],
                [(others[0], 639, 1), (subject, 420, 150), (others[2], 0, 333)],
                [(subject, 64, 31)],
                [(subject, 505, 19)],
            ):
                for position, row in rows(chunks, layer).items():
                    assert torch.equal(row, whole[position]), (layer, chunks[0][1:], position)
    finally:
        torch.set_num_threads(before)


def test_what_the_kernels_do_not_know() -> None:
    shape = AttentionShape(2, 2, 64, 0.125, (None,))
    assert can_attend(shape, 16, torch.float32) and can_attend(shape, 64, torch.bfloat16)
    assert not can_attend(shape, 24, torch.float32)
    assert not can_attend(shape, 16, torch.float16)
    assert not can_attend(AttentionShape(2, 2, 72, 0.125, (None,)), 16, torch.float32)
