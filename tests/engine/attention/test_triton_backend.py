"""The kernels for GPUs, interpreted, against the plain reference; and a token's bits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("triton")

from engine.attention.backend import AttentionShape
from engine.attention.triton_backend import TritonAttention
from tests.engine.attention.device_batches import (
    Chunk,
    Step,
    make_cache,
    make_heads,
    make_step,
    reference,
    spread,
)
from tests.triton_interpreter import exact_numbers

WINDOW = 21
SHAPES = [(2, 2, 16), (3, 1, 64), (7, 1, 80), (16, 2, 128)]
STEPS: list[list[Chunk]] = [
    [(1, 1)],
    [(15, 1), (16, 1), (17, 1), (64, 1), (65, 1)],
    [(5, 5), (16, 16), (33, 17)],
    [(40, 1), (70, 1), (50, 20), (31, 31)],
]


@pytest.fixture(autouse=True)
def as_on_a_card() -> Iterator[None]:
    with exact_numbers():
        yield


def make_shape(heads: int, kv_heads: int, head_dim: int) -> AttentionShape:
    return AttentionShape(heads, kv_heads, head_dim, head_dim**-0.5, windows=(None, WINDOW))


def run(
    shape: AttentionShape,
    step: Step,
    heads: torch.Tensor,
    layer: int,
    *,
    invariant: bool = False,
    cache_dtype: torch.dtype | None = None,
    names: list[int] | None = None,
    longest_context: int | None = None,
) -> torch.Tensor:
    """The kernels' result, padding included."""
    cache = make_cache(shape, step, cache_dtype or heads.dtype, names)
    backend = TritonAttention(shape, cache, batch_invariant=invariant)
    q, k, v = spread(step, heads).split(
        (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads), 1
    )
    return backend.begin(step.device(longest_context)).attend(layer, q, k, v)


@pytest.mark.parametrize("chunks", STEPS)
@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("layer", [0, 1])
def test_equals_the_reference(sizes: tuple[int, int, int], chunks: list[Chunk], layer: int) -> None:
    shape, step = make_shape(*sizes), make_step(chunks, 16)
    heads = make_heads(shape, step)
    got = run(shape, step, heads, layer)
    torch.testing.assert_close(got, reference(shape, step, heads, layer), atol=3e-6, rtol=1e-5)
