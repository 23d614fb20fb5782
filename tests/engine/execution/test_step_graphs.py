"""Which steps are captured and replayed, told by a card that records nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.execution.step_graphs import StepGraphs
from engine.execution.step_size import StepSize

SMALL, LARGE = StepSize(1), StepSize(64)


class Card:
    """Counts what is asked of it."""

    def __init__(self) -> None:
        self.forwards = self.replays = self.captures = 0
        self.pools: list[int] = []
        self.is_full = False

    def forward(self) -> Tensor:
        self.forwards += 1
        return torch.tensor([self.forwards])

    def replay(self) -> None:
        self.replays += 1

    @contextmanager
    def graph(self, graph: Any, pool: Any) -> Iterator[None]:
        self.captures += 1
        self.pools.append(pool)
        if self.is_full:
            raise torch.OutOfMemoryError
        yield


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    card = Card()
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", count().__next__)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: card)
    monkeypatch.setattr(torch.cuda, "graph", card.graph)
    return card


def test_a_size_is_captured_when_it_comes_back_and_then_replayed(card: Card) -> None:
    graphs = StepGraphs(capture=True)
    results = [int(graphs.run(SMALL, card.forward)) for _ in range(4)]
    assert results == [1, 2, 2, 2], "what was captured is written by each replay"
    assert (card.captures, card.replays) == (1, 3)
    graphs.run(LARGE, card.forward)
    assert card.captures == 1


def test_memory_is_shared_but_no_results_of_equal_sizes(card: Card) -> None:
    one = StepGraphs(capture=True)
    other = StepGraphs(capture=True, beside=one)
    results = [int(graphs.run(SMALL, card.forward)) for graphs in (one, other) for _ in range(3)]
    assert results == [1, 2, 2, 3, 4, 4]
    assert card.pools == [0, 0]


def test_nothing_is_captured_unless_asked(card: Card) -> None:
    graphs = StepGraphs(capture=False)
    assert [int(graphs.run(SMALL, card.forward)) for _ in range(3)] == [1, 2, 3]
    assert (card.captures, card.replays) == (0, 0)


def test_without_memory_steps_run_as_they_are_and_old_graphs_stay(
    card: Card, caplog: pytest.LogCaptureFixture
) -> None:
    graphs = StepGraphs(capture=True)
    for _ in range(2):
        graphs.run(SMALL, card.forward)
    card.is_full = True
    results = [int(graphs.run(LARGE, card.forward)) for _ in range(3)]
    assert results == [3, 4, 5]
    assert card.captures == 2, "nobody tries again"
    assert "No memory is left" in caplog.text
    card.is_full = False
    assert int(graphs.run(SMALL, card.forward)) == 2 and card.replays == 2
    assert [int(graphs.run(StepSize(8), card.forward)) for _ in range(2)] == [6, 7]
