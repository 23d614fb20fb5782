"""Products by weights of eight bits, alone and in a whole model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

pytest.importorskip("triton")

from engine.errors import ModelLoadError
from engine.models.fp8_product import Fp8Product, quantized
from engine.models.layer_weights import Projection
from engine.models.triton_quantize import quantize_rows
from engine.models.triton_thin import Norm
from tests.triton_interpreter import exact_numbers

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HALF_A_STEP = 2**-4
"""Of a number with three bits of mantissa, in relation to it."""


@pytest.fixture(autouse=True)
def as_on_a_card() -> Iterator[None]:
    with exact_numbers():
        yield


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    numbers = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return numbers.to(DEVICE, dtype)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual.double() - expected).norm() / expected.norm())


def test_a_weight_is_off_by_half_a_step_at_most() -> None:
    weight = noise(32, 48) * torch.logspace(-3, 3, 32, device=DEVICE)[:, None]
    weight[5] = 0
    codes, scale = quantized(weight)
    error = (codes.float() * scale[:, None] - weight.float()).abs()
    least = scale[:, None] * 2**-9  # steps do not shrink further below the least normal number
    assert (error <= weight.float().abs() * HALF_A_STEP + least).all()
    assert not codes[5].float().any()


@pytest.mark.parametrize("size", [16, 100, 576])
def test_rows_are_normed_and_quantized(size: int) -> None:
    x, norm = noise(3, size), Norm(noise(size, seed=1), 1e-5)
    x[1] *= 1000
    expected = functional.rms_norm(x.double(), (size,), norm.gain.double(), norm.eps)
    for norm_or_none, wanted in ((norm, expected), (None, x.double())):
        codes, scales = quantize_rows(x, norm_or_none)
        assert codes.dtype == torch.float8_e4m3fn and scales.shape == (3, 1)
        error = (codes.double() * scales.double() - wanted).abs()
        assert (error <= wanted.abs() * HALF_A_STEP * 1.01 + scales.double() * 2**-9).all()
        assert (codes.float().abs().amax(1) == 448).all()


@pytest.mark.parametrize("rows", [1, 5])
def test_a_product_is_near_that_of_the_weights(rows: int) -> None:
    x, weight, bias = noise(rows, 96), noise(64, 96, seed=1), noise(64, seed=2)
    norm, residual = Norm(noise(96, seed=3), 1e-5), noise(rows, 64, seed=4)
    product = Fp8Product(Projection(weight, bias))
    normed = functional.rms_norm(x.double(), (96,), norm.gain.double(), norm.eps)
    plain = normed @ weight.double().T + bias.double()
    assert relative_error(product(x, norm), plain) < 0.05
    expected = plain + residual.double()
    assert relative_error(product(x, norm, residual.clone()), expected) < 0.05
    gate, up = (x.double() @ weight.double().T + bias.double()).chunk(2, dim=1)
    assert relative_error(product.gated(x, None, "silu"), functional.silu(gate) * up) < 0.1


def test_sizes_that_the_library_does_not_take_are_refused() -> None:
    with pytest.raises(ModelLoadError, match="multiples of 16"):
        Fp8Product(Projection(noise(64, 40), None))
