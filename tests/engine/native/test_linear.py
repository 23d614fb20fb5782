"""The compiled product against its formula, and the independence of its rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from engine.models.mxfp4 import expanded
from engine.native.kernels import Kernels
from engine.native.packing import PackedWeights, in_turn, rounded

SIZES = [(16, 16), (64, 48), (192, 320), (576, 41), (48, 1000)]


@pytest.fixture(autouse=True)
def threads_put_back() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_equals_the_formula(
    kernels: Kernels, sizes: tuple[int, int], biased: bool, dtype: torch.dtype
) -> None:
    into, out = sizes
    weight, bias = (random(out, into) / into**0.5).to(dtype), random(out).to(dtype)
    x = random(50, into).to(dtype)
    want = x.double() @ weight.double().T + (bias.double() if biased else 0)
    packed = PackedWeights(weight, bias if biased else None)
    got = kernels.linear(packed.linear, x)
    torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", SIZES)
def test_eight_bits_equal_the_formula(
    kernels: Kernels, sizes: tuple[int, int], dtype: torch.dtype
) -> None:
    into, out = sizes
    weight, bias = (random(out, into) / into**0.5).to(dtype), random(out).to(dtype)
    x = random(50, into).to(dtype)
    integers, scale = rounded(weight)
    weights = integers.double() * scale.double().unsqueeze(1)
    packed = PackedWeights(weight, bias, int8=True)
    got = kernels.linear(packed.linear, x)
    want = x.double() @ weights.T + bias.double()
    torch.testing.assert_close(got.double(), want, atol=1e-5, rtol=1e-5)


FOUR_BIT_SIZES = [(32, 16), (64, 48), (192, 320), (576, 41)]


def four_bits(into: int, out: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(into + out)
    blocks = torch.randint(256, (out, into // 32, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(119, 124, (out, into // 32), generator=generator, dtype=torch.uint8)
    return blocks, scales


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", FOUR_BIT_SIZES)
def test_four_bits_are_exactly_the_weights_they_stand_for(
    kernels: Kernels, sizes: tuple[int, int], dtype: torch.dtype
) -> None:
    """To the last bit, as their expansion is exact in either number format."""
    blocks, scales = four_bits(*sizes)
    weight, bias = expanded(blocks, scales, dtype), random(sizes[1]).to(dtype)
    packed, whole = PackedWeights(blocks, bias, scales), PackedWeights(weight, bias)
    assert packed.weight.nbytes < whole.weight.nbytes / 3
    for rows in (1, 2, 7, 50, 500):
        x = random(rows, sizes[0]).to(dtype)
        got, want = kernels.linear(packed.linear, x), kernels.linear(whole.linear, x)
        assert torch.equal(got, want), rows


def test_units_of_four_bits_in_turn(kernels: Kernels) -> None:
    first, second = four_bits(64, 32), four_bits(64, 32)
    both = tuple(in_turn((a, b)) for a, b in zip(first, second, strict=True))
    x = random(3, 64)
    packed = [PackedWeights(blocks, None, scales) for blocks, scales in (both, first, second)]
    got, left, right = (kernels.linear(one.linear, x) for one in packed)
    want = torch.cat((left[:, :16], right[:, :16], left[:, 16:], right[:, 16:]), dim=1)
    assert torch.equal(got, want)


def test_rounding_to_eight_bits() -> None:
    weight = torch.cat((random(20, 48), torch.zeros(1, 48)))
    integers, scale = rounded(weight)
    assert integers.dtype == torch.int8 and integers[:20].abs().amax(1).eq(127).all()
    assert (integers * scale.unsqueeze(1) - weight).abs().le(0.5001 * scale.unsqueeze(1)).all()


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_has_the_same_bits_alone_and_among_others(
    kernels: Kernels, dtype: torch.dtype, int8: bool
) -> None:
    weight = random(328, 192).to(dtype)
    x, packed = random(600, 192).to(dtype), PackedWeights(weight, None, int8=int8)
    torch.set_num_threads(1)
    whole = kernels.linear(packed.linear, x)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for rows in (1, 2, 3, 4, 5, 6, 7, 13, 32, 481, 600):
            part = kernels.linear(packed.linear, x[600 - rows :])
            assert torch.equal(part, whole[600 - rows :]), (threads, rows)


def test_units_in_turn() -> None:
    first, second = torch.arange(32), torch.arange(100, 132)
    joined = in_turn((first, second))
    assert torch.equal(joined[:16], first[:16]) and torch.equal(joined[16:32], second[:16])
    assert torch.equal(joined[32:48], first[16:]) and torch.equal(joined[48:], second[16:])
