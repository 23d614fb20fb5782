"""The routing kernels against torch. On a CPU they are interpreted."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from engine.models.families.traits import Routing
from engine.models.moe import route
from engine.models.triton_routing import route_rows, sort_by_expert
from tests.engine.models.test_triton_layers import DEVICE, noise

ROUTINGS = [Routing(8, 3, True), Routing(5, 1, False), Routing(3, 3, True), Routing(128, 8, False)]


@pytest.mark.parametrize("routing", ROUTINGS)
def test_routes_as_torch_does(routing: Routing) -> None:
    scores = noise(9, routing.experts, dtype=torch.float32) * 3
    weights, experts = route_rows(scores, routing)
    want, chosen = route(scores, routing)
    assert torch.equal(experts, chosen)
    torch.testing.assert_close(weights, want)


def test_of_equal_scores_the_first_ones_are_taken() -> None:
    scores = torch.tensor([[1.0, 2.0, 2.0, 1.0, 2.0], [0.0] * 5], device=DEVICE).bfloat16()
    weights, experts = route_rows(scores, Routing(5, 4, True))
    assert experts.tolist() == [[1, 2, 4, 0], [0, 1, 2, 3]]
    assert weights[1].tolist() == [0.25] * 4


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), float("inf")])
def test_rows_without_sense_choose_experts_that_exist(bad: float) -> None:
    scores = torch.full((2, 3), bad, device=DEVICE)
    scores[1, 1] = 0.0
    weights, experts = route_rows(scores, Routing(3, 2, True))
    assert ((experts >= 0) & (experts < 3)).all()
    assert weights[0].isnan().all()


@pytest.mark.parametrize(
    ("tokens", "per_token", "experts"), [(1, 1, 1), (1, 4, 32), (31, 1, 8), (11, 3, 4), (700, 2, 7)]
)
def test_pairs_are_sorted_and_tiles_counted(tokens: int, per_token: int, experts: int) -> None:
    chosen = noise(tokens, experts, dtype=torch.float32).topk(per_token).indices
    pairs, starts, tile_starts = sort_by_expert(chosen, experts, tile_rows=16)
    by_expert, order = chosen.flatten().sort(stable=True)
    assert torch.equal(pairs, order)
    bounds = torch.arange(experts + 1, device=DEVICE)
    assert torch.equal(starts, torch.searchsorted(by_expert, bounds))
    tiles = (starts.diff() + 15) // 16
    assert tile_starts.tolist() == [0, *tiles.cumsum(0).tolist()]
