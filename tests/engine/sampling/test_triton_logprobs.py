from __future__ import annotations

import math

import pytest
import torch

pytest.importorskip("triton")

from engine.sampling.logprob_table import DeviceLogprobs, read_table, score_table
from engine.sampling.triton_logprobs import score_rows
from tests.engine.sampling.oracle import random_logits
from tests.engine.sampling.twins import DEVICE

VOCAB = 300


@pytest.mark.parametrize("width", [0, 1, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_table_is_that_of_the_stages_in_torch(width: int, dtype: torch.dtype) -> None:
    logits = random_logits(5, VOCAB, seed=6).to(dtype)
    logits[1] = (logits[1] / 2).round()  # many equal ones
    logits[2, 7:280] = -math.inf  # whole tiles with less than the width
    places, token_ids = torch.tensor([4, 2, 1]), torch.tensor([299, 5, 0])
    device_logits = logits.to(DEVICE)
    table = score_rows(device_logits, places.to(DEVICE), token_ids.to(DEVICE), width, tile=64)
    expected = score_table(logits[places].float(), token_ids, width)
    table = table.cpu()
    assert table.shape == expected.shape
    exact = [column for column in range(table.shape[1]) if column != 1]
    assert torch.equal(table[:, exact], expected[:, exact])
    # The sum of weights knows how the exponential rounds.
    assert table[:, 1].tolist() == pytest.approx(expected[:, 1].tolist(), rel=1e-6)


def test_more_alternatives_than_tokens() -> None:
    logits = torch.tensor([[0.5, -1.0, 0.5]])
    row, token_ids = torch.tensor([0]).to(DEVICE), torch.tensor([1]).to(DEVICE)
    table = score_rows(logits.to(DEVICE), row, token_ids, 20, tile=16)
    (entry,) = read_table(table.cpu(), [20], 3)
    assert [token_id for token_id, _ in entry.top] == [0, 2, 1]
    assert entry.logprob == entry.top[2][1]
    assert sum(math.exp(value) for _, value in entry.top) == pytest.approx(1)


def test_entries_stand_where_their_rows_do() -> None:
    logits = random_logits(4, VOCAB)
    table = score_table(logits[[1, 3]], torch.tensor([8, 9]), 5)
    scores = DeviceLogprobs(table, [1, 3], [0, 5], num_rows=4, vocab_size=VOCAB).entries(table)
    assert [score and score.token_id for score in scores] == [None, 8, None, 9]
    assert [score and len(score.top) for score in scores] == [None, 0, None, 5]
