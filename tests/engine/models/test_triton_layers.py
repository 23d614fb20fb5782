"""The small kernels and the invariant product on odd sizes, against float64. On a CPU they are
interpreted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional

pytest.importorskip("triton")

from engine.models.activation import Activation
from engine.models.triton_layers import gated, rms_norm, soft_cap_
from engine.models.triton_linear import linear
from tests.engine.models.gates import through_gate
from tests.triton_interpreter import exact_numbers

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-8}  # half a last place, and sums in float32


@pytest.fixture(autouse=True)
def as_on_a_card() -> Iterator[None]:
    with exact_numbers():
        yield


def noise(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    numbers = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return numbers.to(DEVICE, dtype)


def assert_close(actual: Tensor, expected: Tensor, scale: float = 1) -> None:
    error = TOLERANCE[actual.dtype]
    torch.testing.assert_close(actual.double(), expected, rtol=error, atol=scale * error)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [1, 16, 100, 576])
def test_rms_norm(size: int, dtype: torch.dtype) -> None:
    x, gain = noise(3, size, dtype=dtype), noise(size, dtype=dtype, seed=1)
    expected = functional.rms_norm(x.double(), (size,), gain.double(), 1e-5)
    assert_close(rms_norm(x, gain, 1e-5), expected)
    residual = noise(3, size, dtype=dtype, seed=2)
    assert_close(rms_norm(x, gain, 1e-5, residual), expected + residual.double())
    exact = gain.double() + 1
    expected = functional.rms_norm(x.double(), (size,), exact, 1e-5)
    assert_close(rms_norm(x, exact.float(), 1e-5), expected)  # a gain wider than what it multiplies


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("activation", get_args(Activation))
@pytest.mark.parametrize("wide", [1, 33, 1500])
def test_gated(wide: int, activation: Activation, dtype: torch.dtype) -> None:
    both = 5 * noise(3, 2 * wide, dtype=dtype)
    gate, up = both.double().chunk(2, dim=1)
    assert_close(gated(both, activation), through_gate(gate, up, activation))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [1, 33, 1500])
def test_a_soft_cap(size: int, dtype: torch.dtype) -> None:
    x = torch.cat((noise(3, size, dtype=dtype), 1000 * noise(2, size, dtype=dtype, seed=1)))
    before = x.clone()
    assert soft_cap_(x, None) is x and torch.equal(x, before)
    assert soft_cap_(x, 3.0) is x
    assert_close(x, 3 * torch.tanh(before.double() / 3))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("rows", "columns", "depth"), [(1, 1, 1), (65, 33, 100), (3, 100, 257)])
def test_linear(rows: int, columns: int, depth: int, dtype: torch.dtype) -> None:
    x, weight = noise(rows, depth, dtype=dtype), noise(columns, depth, dtype=dtype, seed=1)
    bias, added = noise(columns, dtype=dtype, seed=2), noise(rows, columns, dtype=dtype, seed=3)
    product = x.double() @ weight.double().T
    scale = depth**0.5
    assert_close(linear(x, weight, None), product, scale)
    assert_close(linear(x, weight, bias), product + bias.double(), scale)
    assert_close(linear(x, weight, bias, added), product + bias.double() + added.double(), scale)


def test_a_row_of_a_product_does_not_feel_the_others() -> None:
    x, weight = noise(130, 200, dtype=torch.float32), noise(70, 200, dtype=torch.float32, seed=1)
    with exact_numbers(one_order=True):
        together = linear(x, weight, None)
        for row in (0, 63, 64, 129):
            assert torch.equal(linear(x[row : row + 1], weight, None)[0], together[row])
        assert torch.equal(linear(x[5:42], weight, None), together[5:42])


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE == "cpu", reason="needs CUDA")
@pytest.mark.parametrize(("columns", "depth"), [(1024, 3072), (6144, 1000), (9000, 4096)])
def test_on_a_card_bits_do_not_tell_which_tile_a_row_was_in(columns: int, depth: int) -> None:
    """Tiles are chosen by the number of rows; what a card makes of that only a card can tell."""
    x, weight = (noise(n, depth, dtype=torch.bfloat16, seed=n) for n in (1000, columns))
    together = linear(x, weight, None)
    for rows in (1, 64, 65, 256):
        assert torch.equal(linear(x[:rows], weight, None), together[:rows]), rows
