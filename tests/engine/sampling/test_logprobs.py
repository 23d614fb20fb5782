from __future__ import annotations

import math

import pytest
import torch

from engine.sampling import logprobs
from engine.sampling.logprobs import prompt_logprobs
from engine.sampling.sampling_batch import SamplingBatch, SamplingRow
from engine.sampling_params import SamplingParams
from engine.types import TokenLogprob
from tests.engine.sampling.oracle import TEXTBOOK, one_row, random_logits
from tests.engine.sampling.test_sampler import AnySampler


def sample_one(sampler: AnySampler, logits: torch.Tensor, params: SamplingParams) -> TokenLogprob:
    scores = sampler.sample(logits, one_row(params, logits.shape[-1])).logprobs
    assert scores is not None and scores[0] is not None
    return scores[0]


def test_the_textbook_distribution(sampler: AnySampler) -> None:
    score = sample_one(
        sampler, torch.tensor([TEXTBOOK]), SamplingParams(temperature=0.0, logprobs=5)
    )
    assert score.token_id == 2
    assert math.exp(score.logprob) == pytest.approx(0.87, abs=0.005)
    assert [token_id for token_id, _ in score.top] == [2, 0, 4, 3, 1]
    assert sum(math.exp(value) for _, value in score.top) == pytest.approx(1, abs=1e-6)


def test_values_equal_a_float64_log_softmax(sampler: AnySampler) -> None:
    z = random_logits(7, 4099, scale=8)
    targets = torch.arange(7) * 500
    exact = torch.log_softmax(z.double(), -1)
    for row, score in enumerate(sampler.prompt_logprobs(z, targets, 3)):
        assert score.token_id == row * 500
        assert score.logprob == pytest.approx(float(exact[row, row * 500]), abs=1e-6)
        best, ids = exact[row].topk(3)
        assert [token_id for token_id, _ in score.top] == ids.tolist()
        assert [value for _, value in score.top] == pytest.approx(best.tolist(), abs=1e-6)


def test_shaping_does_not_move_them(sampler: AnySampler) -> None:
    z = random_logits(1, 100)
    plain = sample_one(sampler, z, SamplingParams(temperature=0.0, logprobs=4))
    params = SamplingParams(
        temperature=1.7,
        top_k=3,
        top_p=0.5,
        frequency_penalty=1.0,
        repetition_penalty=1.5,
        logit_bias={42: 100.0},
        logprobs=4,
    )
    shaped = sample_one(sampler, z, params)
    assert shaped.token_id == 42
    assert math.isfinite(shaped.logprob)
    assert shaped.top == plain.top
    assert shaped.logprob == sampler.prompt_logprobs(z, torch.tensor([42]), 0)[0].logprob


def test_the_chosen_value_and_its_entry_are_the_same_float(sampler: AnySampler) -> None:
    z = random_logits(200, 300, scale=1)
    rows = [SamplingRow(SamplingParams(logprobs=20, temperature=0.5), seed) for seed in range(200)]
    scores = sampler.sample(z, SamplingBatch.build(rows, 300, "cpu")).logprobs
    assert scores is not None
    found = [score for score in scores if score and score.token_id in dict(score.top)]
    assert len(found) > 50
    assert all(dict(score.top)[score.token_id] == score.logprob for score in found)


def test_only_rows_that_ask_get_an_answer(sampler: AnySampler) -> None:
    wanted = [None, 0, 3, None, 1]
    rows = [SamplingRow(SamplingParams(logprobs=top), 0) for top in wanted]
    sampled = sampler.sample(random_logits(5, 40), SamplingBatch.build(rows, 40, "cpu"))
    assert sampled.logprobs is not None
    assert [None if s is None else len(s.top) for s in sampled.logprobs] == wanted
    for token_id, score in zip(sampled.token_ids.tolist(), sampled.logprobs, strict=True):
        assert score is None or score.token_id == token_id
    silent = SamplingBatch.build([SamplingRow(SamplingParams(), 0)], 40, "cpu")
    assert sampler.sample(random_logits(1, 40), silent).logprobs is None


def test_equal_logits_are_listed_by_id(sampler: AnySampler) -> None:
    z = torch.tensor([[0.0, 1.0, -0.0, 1.0, -1.0, -1.0, 0.0]])
    score = sampler.prompt_logprobs(z, torch.tensor([0]), 20)[0]
    assert [token_id for token_id, _ in score.top] == [1, 3, 0, 2, 6, 4, 5]


def test_an_impossible_token_scores_minus_infinity(sampler: AnySampler) -> None:
    z = torch.tensor([[0.0, -math.inf]])
    assert sampler.prompt_logprobs(z, torch.tensor([1]), 2) == [
        TokenLogprob(token_id=1, logprob=-math.inf, top=((0, 0.0), (1, -math.inf)))
    ]


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    z, targets = random_logits(23, 50), torch.arange(23)
    whole = prompt_logprobs(z, targets, 2)
    monkeypatch.setattr(logprobs, "_CHUNK", 200)
    assert prompt_logprobs(z, targets, 2) == whole
    assert prompt_logprobs(z[:0], targets[:0], 2) == []
