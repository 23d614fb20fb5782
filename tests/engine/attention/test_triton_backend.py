"""The kernels for GPUs against the plain reference; on a CPU they are interpreted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("triton")

from engine.attention.backend import AttentionShape, RotatingStepAttention
from engine.attention.triton_backend import TritonAttention
from tests.engine.attention.device_batches import (
    DEVICE,
    Chunk,
    Step,
    make_cache,
    make_heads,
    make_step,
    reference,
    spread,
)
from tests.engine.attention.test_cpu import make_sinks
from tests.triton_interpreter import exact_numbers

SHAPES = [(2, 2, 16), (3, 1, 64), (7, 1, 80), (8, 1, 128)]
STEPS: list[tuple[int, list[Chunk]]] = [  # block size and chunks
    (16, [(1, 1)]),
    (16, [(15, 1), (16, 1), (17, 1), (65, 1)]),
    (32, [(5, 5), (13, 13), (33, 17)]),
    (64, [(64, 1), (70, 1), (66, 11), (15, 15)]),
]
LONG = 600
"""A bound on contexts that makes four splits of decodes; two in the invariant mode."""


@pytest.fixture(autouse=True)
def as_on_a_card() -> Iterator[None]:
    with exact_numbers():
        yield


def make_shape(
    heads: int, kv_heads: int, head_dim: int, cap: float | None = None
) -> AttentionShape:
    return AttentionShape(heads, kv_heads, head_dim, head_dim**-0.5, (None, 21), cap)


def run(
    shape: AttentionShape,
    step: Step,
    heads: torch.Tensor,
    layer: int,
    *,
    invariant: bool = False,
    cache_dtype: torch.dtype | None = None,
    longest_context: int | None = None,
    sinks: torch.Tensor | None = None,
) -> torch.Tensor:
    """The kernels' result for the live tokens, after a look at the padding."""
    cache = make_cache(shape, step, cache_dtype or heads.dtype, device=DEVICE)
    backend = TritonAttention(shape, cache, batch_invariant=invariant)
    q, k, v = spread(step, heads).split(
        (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads), 1
    )
    sinks = None if sinks is None else sinks.to(DEVICE)
    out = backend.begin(step.device(longest_context)).attend(layer, q, k, v, sinks).cpu()
    assert not out[~step.live].any()
    return out[step.live]


@pytest.mark.parametrize("block, chunks", STEPS)
@pytest.mark.parametrize("sizes", SHAPES)
def test_equals_the_reference(sizes: tuple[int, int, int], chunks: list[Chunk], block: int) -> None:
    shape, step = make_shape(*sizes), make_step(chunks, block)
    heads = make_heads(shape, step)
    for layer in range(2):
        want = reference(shape, step, heads, layer)
        torch.testing.assert_close(run(shape, step, heads, layer), want, atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize("invariant", [False, True])
@pytest.mark.parametrize("cap", [None, 0.7])
@pytest.mark.parametrize("sizes", SHAPES)
def test_splits_merge_to_the_whole_and_padding_is_zero(
    sizes: tuple[int, int, int], cap: float | None, invariant: bool
) -> None:
    shape = make_shape(*sizes, cap)
    step = make_step([(1, 1), (300, 1), (30, 7)], 32, padding=1)
    heads = make_heads(shape, step)
    for layer in range(2):
        got = run(shape, step, heads, layer, invariant=invariant, longest_context=LONG)
        want = reference(shape, step, heads, layer)
        torch.testing.assert_close(got, want, atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize("longest_context", [None, LONG])
@pytest.mark.parametrize("invariant", [False, True])
@pytest.mark.parametrize("sizes", SHAPES)
def test_sinks_take_their_share(
    sizes: tuple[int, int, int], invariant: bool, longest_context: int | None
) -> None:
    shape = make_shape(*sizes)
    step = make_step([(1, 1), (300, 1), (30, 7)], 32, padding=1)
    heads, sinks = make_heads(shape, step), make_sinks(shape)
    for layer in range(2):
        want = reference(shape, step, heads, layer, sinks=sinks)
        got = run(
            shape, step, heads, layer, sinks=sinks,
            invariant=invariant, longest_context=longest_context,
        )  # fmt: skip
        torch.testing.assert_close(got, want, atol=5e-6, rtol=1e-5)


@pytest.mark.parametrize("sizes", SHAPES)
def test_bfloat16_is_near_float32(sizes: tuple[int, int, int]) -> None:
    shape, step = make_shape(*sizes), make_step([(40, 1), (150, 1), (90, 20)], 16)
    heads = make_heads(shape, step)
    got = run(shape, step, heads.bfloat16(), 0, longest_context=LONG)
    assert got.dtype == torch.bfloat16
    # Weights and the result are rounded to 8 bits; the sum of a row's weights is 1.
    want = reference(shape, step, heads, 0)
    torch.testing.assert_close(got.float(), want, atol=6e-3, rtol=6e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cache_in_float8_reads_as_it_was_rounded(dtype: torch.dtype) -> None:
    shape, step = make_shape(4, 2, 32), make_step([(70, 1), (50, 9)], 16)
    heads = make_heads(shape, step)
    heads[:, :, ::7] *= 100  # some keys and values are past the largest number
    heads[:, : shape.num_heads] *= 1e-3
    fp8 = torch.float8_e4m3fn
    got = run(shape, step, heads.to(dtype), 0, cache_dtype=fp8)
    want = reference(shape, step, heads.to(dtype), 0, cache_dtype=fp8)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(got.float(), want, atol=tolerance * 100, rtol=tolerance)


def test_queries_past_float16_give_numbers_with_a_cache_in_float8() -> None:
    shape, step = make_shape(4, 2, 32), make_step([(70, 1), (50, 9)], 16)
    heads = make_heads(shape, step)
    heads[:, : shape.num_heads] *= 1e6
    got = run(shape, step, heads.bfloat16(), 0, cache_dtype=torch.float8_e4m3fn)
    assert got.isfinite().all()


def test_a_step_takes_heads_as_the_product_leaves_them() -> None:
    shape, step = make_shape(4, 2, 16), make_step([(9, 1)], 16)
    cache = make_cache(shape, step, device=DEVICE)
    attention = TritonAttention(shape, cache, batch_invariant=False).begin(step.device())
    assert isinstance(attention, RotatingStepAttention)


def test_blocks_must_be_a_power_of_two() -> None:
    shape, step = make_shape(4, 2, 16), make_step([(9, 1)], 48)
    with pytest.raises(ValueError, match="block_size 48"):
        TritonAttention(shape, make_cache(shape, step), batch_invariant=False)
