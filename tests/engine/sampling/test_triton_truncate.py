"""Borders found without a sort, against sorting: what is kept, token by token."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from engine.sampling.sampling_batch import SamplingBatch, SamplingRow
from engine.sampling.sampling_rows import SamplingRows
from engine.sampling.tiles import Tiles
from engine.sampling.triton_logits import shape_logits
from engine.sampling.triton_truncate import find_borders
from engine.sampling_params import SamplingParams
from tests.engine.sampling.oracle import kept, processed, random_logits
from tests.engine.sampling.twins import DEVICE, row_ids

VOCAB = 500
TILE = 512

SETTINGS = [
    SamplingParams(),
    SamplingParams(top_k=7),
    SamplingParams(top_k=VOCAB - 1),
    SamplingParams(top_p=0.0),
    SamplingParams(top_p=0.5),
    SamplingParams(top_p=0.97),
    SamplingParams(top_p=1 - 1e-12),
    SamplingParams(top_k=100, top_p=0.4),
    SamplingParams(temperature=1.9, top_k=20, top_p=0.9),
]


def keys(z: Tensor) -> Tensor:
    """A float32's place among all, as int32."""
    bits = (z + 0.0).view(torch.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def kept_by_borders(logits: Tensor, settings: list[SamplingParams]) -> list[set[int]]:
    rows = SamplingRows(len(settings), VOCAB, DEVICE)
    for row, params in enumerate(settings):
        rows.set(row, SamplingRow(params, row))
    rows.flush()
    numbers = list(range(len(settings)))
    features = rows.features(np.array(numbers))
    tiles = Tiles(len(settings), VOCAB, TILE)
    ids = row_ids(numbers)
    shaped = shape_logits(logits.to(DEVICE), ids, rows, features, None, tiles)
    borders = find_borders(shaped, ids, rows, tiles)
    ordered, border = keys(shaped.values), borders.border.unsqueeze(1)
    tied = ordered == border
    chosen = (ordered > border) | (tied & (tied.cumsum(1) <= borders.room.unsqueeze(1)))
    return [set(row.nonzero().flatten().tolist()) for row in chosen & shaped.values.isfinite()]


def distribution(name: str) -> Tensor:
    """One row of logits."""
    z = random_logits(1, VOCAB, seed=8)[0]
    shapes = {
        "plain": z,
        "narrow": z * 12,
        "flat": z / 1000 - 3,
        "far": z + 3000,
        "ties": (z / 3).round(),
        "equal": torch.full((VOCAB,), -2.5),
        "zeros": torch.where(z > 0, 0.0, -0.0),
        "two": torch.where(torch.arange(VOCAB) % 300 == 7, z, -math.inf),
        "holes": torch.where(torch.arange(VOCAB) % 3 == 0, -math.inf, z),
        "edges": -(torch.arange(VOCAB) % 120) / 4.0,  # all at the ends of bins
        "tail": torch.where(torch.arange(VOCAB) == 5, 30.0, z / 100),
    }
    return shapes[name]


NAMES = "plain narrow flat far ties equal zeros two holes edges tail".split()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_is_what_sorting_keeps(name: str) -> None:
    logits = distribution(name).repeat(len(SETTINGS), 1)
    batch = SamplingBatch.build([SamplingRow(p, 0) for p in SETTINGS], VOCAB, "cpu")
    assert kept_by_borders(logits, SETTINGS) == kept(processed(logits, batch))


def test_neither_order_nor_tiles_show() -> None:
    """The candidates' order is the programs'; with one tile and with three nothing else changes."""
    settings = [SamplingParams(top_p=p, top_k=k) for p in (0.3, 0.9, 1.0) for k in (0, 30)]
    logits = random_logits(len(settings), VOCAB, seed=2)
    rows = SamplingRows(len(settings), VOCAB, DEVICE)
    for row, params in enumerate(settings):
        rows.set(row, SamplingRow(params, row))
    rows.flush()
    features = rows.features(np.arange(len(settings)))
    ids = row_ids(range(len(settings)))
    outcomes = []
    for tile in (256, 1024):
        tiles = Tiles(len(settings), VOCAB, tile)
        shaped = shape_logits(logits.to(DEVICE), ids, rows, features, None, tiles)
        borders = find_borders(shaped, ids, rows, tiles)
        outcomes.append((borders.border.tolist(), borders.room.tolist()))
    assert outcomes[0] == outcomes[1]
