"""The kernels of experts against the plain ones in float64. On a CPU they are interpreted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from engine.models.families.traits import Routing
from engine.models.fp8_product import in_eight_bits
from engine.models.layer_weights import ExpertWeights, GatedWeights, Projection, together
from engine.models.linear import PlainLinear
from engine.models.mlp import GatedMlp
from engine.models.moe import ExpertMlp, route
from engine.models.mxfp4 import BLOCK, expanded
from engine.models.triton_experts import choose_tile, combine, multiply
from engine.models.triton_linear import Tile
from engine.models.triton_mlp import ExpertMlp as TritonExpertMlp
from engine.models.triton_quantize import quantize_rows
from engine.models.triton_routing import sort_by_expert
from engine.models.triton_thin import Norm
from tests.engine.models.test_triton_layers import DEVICE, noise
from tests.triton_interpreter import exact_numbers

HIDDEN, WIDE = 40, 72


@pytest.fixture(autouse=True)
def as_on_a_card() -> Iterator[None]:
    with exact_numbers():
        yield


def make_weights(experts: int, *, biased: bool, dtype: torch.dtype) -> ExpertWeights:
    def projection(out: int, into: int, seed: int) -> Projection:
        weight = noise(out, into, dtype=dtype, seed=seed) * into**-0.5
        return Projection(weight, noise(out, dtype=dtype, seed=seed + 1) if biased else None)

    def expert(number: int) -> GatedWeights:
        seed = 10 * number + 100
        return GatedWeights(
            projection(WIDE, HIDDEN, seed),
            projection(WIDE, HIDDEN, seed + 2),
            projection(HIDDEN, WIDE, seed + 4),
        )

    return ExpertWeights(projection(experts, HIDDEN, 1), [expert(n) for n in range(experts)])


def exactly(weights: ExpertWeights, routing: Routing, y: Tensor) -> Tensor:
    """What the plain experts make of `y`, in float64."""

    def linear(projection: Projection) -> PlainLinear:
        bias = projection.bias
        return PlainLinear(projection.weight.double(), None if bias is None else bias.double())

    experts = [
        GatedMlp(linear(one.gate), linear(one.up), linear(one.down), "silu")
        for one in weights.experts
    ]
    return ExpertMlp(linear(weights.router), experts, routing)(y.double())


def tile_for(chosen: Tensor, weight: Tensor, *, batch_invariant: bool) -> Tile:
    return choose_tile(chosen.numel(), len(weight), weight.dtype, batch_invariant=batch_invariant)


ROUTINGS = [Routing(8, 3, True), Routing(5, 1, False), Routing(3, 3, True)]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("routing", ROUTINGS)
@pytest.mark.parametrize("tokens", [1, 2, 70])
def test_equals_the_plain_experts(tokens: int, routing: Routing, biased: bool) -> None:
    weights = make_weights(routing.experts, biased=biased, dtype=torch.float32)
    gain = torch.ones(HIDDEN, device=DEVICE)
    mlp = TritonExpertMlp(
        weights, Norm(gain, 0.0), routing, "silu", batch_invariant=False, fp8=False
    )
    y = noise(tokens, HIDDEN, dtype=torch.float32)
    y /= y.square().mean(-1, keepdim=True).sqrt()  # as the norm leaves it
    want = exactly(weights, routing, y)
    torch.testing.assert_close(mlp(y).double(), want, atol=1e-5, rtol=1e-5)
    residual = noise(tokens, HIDDEN, dtype=torch.float32, seed=7)
    torch.testing.assert_close(
        mlp(y, residual=residual).double(), want + residual, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("batch_invariant", [False, True])
@pytest.mark.parametrize("tokens", [1, 40])
def test_bfloat16_products_are_of_their_own_expert(tokens: int, batch_invariant: bool) -> None:
    experts, per_token = 6, 2
    scores = noise(tokens, experts, dtype=torch.float32)
    _, chosen = route(scores, Routing(experts, per_token, True))
    x = noise(tokens, HIDDEN, dtype=torch.bfloat16)
    weight = noise(experts, 33, HIDDEN, dtype=torch.bfloat16, seed=1)
    tile = tile_for(chosen, weight, batch_invariant=batch_invariant)
    got = multiply(
        x, Projection(weight, None), sort_by_expert(chosen, experts, tile.rows), tile, per_token
    )
    each = by_own_expert(x.double(), weight.double(), chosen)
    torch.testing.assert_close(got.double(), each, atol=0.05, rtol=2**-8)


def by_own_expert(x: Tensor, weight: Tensor, chosen: Tensor) -> Tensor:
    rows = x.repeat_interleave(chosen.shape[1], 0)
    return torch.einsum("toh,th->to", weight[chosen.flatten()], rows)


@pytest.mark.parametrize("tokens", [1, 100])  # a tile of few rows, and of many
def test_eight_bits_give_what_the_rounded_numbers_give(tokens: int) -> None:
    """By scales that differ from row to row, and that a tile's rows and columns must not mix up."""
    experts, per_token, columns, depth = 5, 2, 100, 272
    _, chosen = route(noise(tokens, experts, dtype=torch.float32), Routing(experts, 2, True))
    x = noise(tokens, depth, dtype=torch.bfloat16)
    x *= torch.logspace(-2, 2, tokens, device=DEVICE)[:, None]
    exact = noise(experts, columns, depth, dtype=torch.bfloat16, seed=1)
    exact *= torch.logspace(-2, 2, experts * columns, device=DEVICE).view(experts, columns, 1)
    bias = noise(experts, columns, dtype=torch.bfloat16, seed=2)
    rounded = [in_eight_bits(Projection(one, None)) for one in exact]
    weight, _, scales = together(rounded, torch.stack)
    tile = tile_for(chosen, weight, batch_invariant=False)
    by_expert = sort_by_expert(chosen, experts, tile.rows)
    got = multiply(x, Projection(weight, bias, scales), by_expert, tile, per_token)
    codes, of_row = quantize_rows(x, None)
    assert scales is not None
    want = by_own_expert(
        codes.double() * of_row.double(), weight.double() * scales.double()[..., None], chosen
    )
    # A card's tensor cores keep fewer bits of a sum of such products than float32 has.
    slack = want.abs().amax() * 2**-12 if x.is_cuda else 1e-6
    want += bias[chosen.flatten()].double()
    torch.testing.assert_close(got.double(), want, atol=float(slack), rtol=2**-7)


def test_experts_of_eight_bits_are_near_the_exact_ones() -> None:
    """Four bits stay what they are."""
    routing = Routing(6, 2, True)
    weights = make_weights(6, biased=True, dtype=torch.bfloat16)
    norm = Norm(torch.ones(HIDDEN, dtype=torch.bfloat16, device=DEVICE), 0.0)
    mlp = TritonExpertMlp(weights, norm, routing, "silu", batch_invariant=False, fp8=True)
    y = noise(40, HIDDEN, dtype=torch.float32)
    y = (y / y.square().mean(-1, keepdim=True).sqrt()).to(torch.bfloat16)
    want = exactly(weights, routing, y)
    assert 0.001 < (mlp(y).double() - want).norm() / want.norm() < 0.06
    blocks = torch.zeros(8, 1, BLOCK // 2, dtype=torch.uint8)
    four_bits = Projection(blocks, None, blocks[..., 0])
    assert in_eight_bits(four_bits) is four_bits


@pytest.mark.parametrize("batch_invariant", [False, True])
@pytest.mark.parametrize("tokens", [1, 40])
@pytest.mark.parametrize("depth", [32, 96, 256])
def test_four_bits_give_what_their_expansion_gives(
    depth: int, tokens: int, batch_invariant: bool
) -> None:
    """Though a tile reads beyond the last weight of a row; interpreted, bit for bit."""
    experts, per_token, columns = 5, 2, 33
    _, chosen = route(noise(tokens, experts, dtype=torch.float32), Routing(experts, 2, True))
    x = noise(tokens, depth, dtype=torch.bfloat16)
    generator = torch.Generator(DEVICE).manual_seed(0)
    shape = (experts, columns, depth // BLOCK)
    blocks = torch.empty(*shape, BLOCK // 2, dtype=torch.uint8, device=DEVICE)
    scales = torch.empty(shape, dtype=torch.uint8, device=DEVICE)
    blocks.random_(256, generator=generator)
    scales.random_(110, 140, generator=generator)
    bias = noise(experts, columns, dtype=torch.bfloat16, seed=1)
    tile = tile_for(chosen, blocks, batch_invariant=batch_invariant)
    by_expert = sort_by_expert(chosen, experts, tile.rows)
    wide = expanded(blocks, scales, torch.bfloat16)
    want = multiply(x, Projection(wide, bias), by_expert, tile, per_token)
    got = multiply(x, Projection(blocks, bias, scales), by_expert, tile, per_token)
    assert want.isfinite().all()
    # A card may take other instructions for the two, which add in other orders.
    atol, rtol = (0.05, 2**-7) if x.is_cuda else (0, 0)
    torch.testing.assert_close(got, want, atol=atol, rtol=rtol)


def test_all_may_go_to_one_expert_and_rows_of_nan_stay_among_themselves() -> None:
    routing = Routing(8, 2, True)
    weights = make_weights(8, biased=False, dtype=torch.float32)
    norm = Norm(torch.ones(HIDDEN, device=DEVICE), 1e-6)
    mlp = TritonExpertMlp(weights, norm, routing, "silu", batch_invariant=True, fp8=False)
    row = noise(1, HIDDEN, dtype=torch.float32)
    company = torch.cat((torch.full_like(row, float("nan")), row.expand(70, -1)))
    with exact_numbers(one_order=True):
        alone, together = mlp(row), mlp(company)
    assert together[0].isnan().all()
    assert torch.equal(together[1:], alone.expand(70, -1))


def test_a_combination_weighs_each_part() -> None:
    parts, weights = noise(6, 1500, dtype=torch.float32), noise(2, 3, dtype=torch.float32, seed=1)
    want = (parts.view(2, 3, -1) * weights[..., None]).sum(1)
    torch.testing.assert_close(combine(parts, weights, None), want)
