"""The product of a single row, with what is fused into it, against float64 on odd sizes. On a CPU
it is interpreted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional

pytest.importorskip("triton")

from engine.models.activation import Activation
from engine.models.triton_thin import Norm, thin_gated, thin_product
from tests.engine.models.gates import through_gate
from tests.triton_interpreter import exact_numbers

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-8}  # half a last place, and sums in float32
SIZES = [(2, 1), (33, 100), (64, 1024), (7, 2500)]  # columns and depth


@pytest.fixture(autouse=True)
def as_on_a_card() -> Iterator[None]:
    with exact_numbers():
        yield


def noise(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    numbers = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return numbers.to(DEVICE, dtype)


def normed(x: Tensor, norm: Norm) -> Tensor:
    return functional.rms_norm(x.double(), (x.shape[1],), norm.gain.double(), norm.eps)


def assert_close(actual: Tensor, expected: Tensor, depth: int) -> None:
    error = TOLERANCE[actual.dtype]
    torch.testing.assert_close(actual.double(), expected, rtol=error, atol=depth**0.5 * error)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("columns", "depth"), SIZES)
def test_a_product_with_all_that_is_fused_in(columns: int, depth: int, dtype: torch.dtype) -> None:
    x, weight = noise(1, depth, dtype=dtype, seed=0), noise(columns, depth, dtype=dtype, seed=1)
    bias, residual = noise(columns, dtype=dtype, seed=2), noise(1, columns, dtype=dtype, seed=3)
    norm = Norm(noise(depth, dtype=torch.float32, seed=4), 1e-5)  # as wide as it may be
    product = x.double() @ weight.double().T
    assert_close(thin_product(x, weight, None), product, depth)
    expected = normed(x, norm) @ weight.double().T + bias.double() + residual.double()
    got = thin_product(x, weight, bias, norm=norm, residual=residual)
    assert_close(got, expected, depth)


@pytest.mark.parametrize(("columns", "depth"), [(2, 4), (3, 700), (3, 1540), *SIZES[1:]])
def test_weights_of_eight_bits_have_a_scale_for_each_output(columns: int, depth: int) -> None:
    x = noise(1, depth, dtype=torch.bfloat16, seed=0)
    weight = noise(2 * columns, depth, dtype=torch.float32, seed=1).to(torch.float8_e4m3fn)
    scale = noise(2 * columns, dtype=torch.float32, seed=2).abs()
    norm = Norm(noise(depth, dtype=torch.bfloat16, seed=4), 1e-5)
    expected = normed(x, norm) @ (weight.double() * scale.double()[:, None]).T
    assert_close(thin_product(x, weight, None, scale=scale, norm=norm), expected, depth)
    gate, up = (expected / depth**0.5).chunk(2, dim=1)
    scale /= depth**0.5
    got = thin_gated(x, weight, None, norm, "silu", scale=scale)
    assert_close(got, functional.silu(gate) * up, depth)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("columns", "depth"), SIZES)
def test_a_gated_product(columns: int, depth: int, dtype: torch.dtype) -> None:
    x, weight = noise(1, depth, dtype=dtype, seed=0), noise(2 * columns, depth, dtype=dtype, seed=1)
    weight /= depth**0.5
    bias = noise(2 * columns, dtype=dtype, seed=2)
    norm = Norm(noise(depth, dtype=dtype, seed=4), 1e-5)
    gate, up = (normed(x, norm) @ weight.double().T + bias.double()).chunk(2, dim=1)
    for activation in get_args(Activation):
        got = thin_gated(x, weight, bias, norm, activation)
        assert_close(got, through_gate(gate, up, activation), depth)
    gate, up = (x.double() @ weight.double().T).chunk(2, dim=1)
    assert_close(thin_gated(x, weight, None, None, "silu"), functional.silu(gate) * up, depth)
