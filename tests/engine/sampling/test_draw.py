from __future__ import annotations

import math

import pytest
import torch

from engine.sampling.draw import inverse_cdf, likeliest
from engine.sampling.fixed_point import fixed_point_one, fixed_point_weights
from engine.sampling.sampling_batch import SamplingBatch, SamplingRow
from engine.sampling_params import SamplingParams
from tests.engine.sampling.oracle import (
    TEXTBOOK,
    Oracle,
    chi_square,
    chi_square_limit,
    one_row,
    random_logits,
    softmax,
)
from tests.engine.sampling.test_sampler import AnySampler

ALMOST_ONE = 1 - 2**-53


def at(logits: list[float], uniform: float) -> int:
    return int(inverse_cdf(torch.tensor([logits]), torch.tensor([[uniform]], dtype=torch.float64)))


def test_weights_are_proportional_to_the_softmax_and_their_sum_fits() -> None:
    z = random_logits(4, 50_257)
    weights = fixed_point_weights(z, 50_257)
    assert fixed_point_one(50_257) == 2**46
    assert weights.amax(-1).tolist() == [2**46] * 4
    shares = weights.to(torch.float64) / weights.sum(-1, keepdim=True)
    torch.testing.assert_close(shares, torch.softmax(z.double(), -1), rtol=1e-5, atol=1e-13)
    assert int(fixed_point_weights(torch.zeros(1, 2**18), 2**18).sum()) == 2**62


def test_the_cumulative_distribution_is_inverted_in_order_of_ids() -> None:
    z = [math.log(share) for share in (0.25, 0.5, 0.25)]
    assert [at(z, u) for u in (0.0, 0.24, 0.26, 0.74, 0.76, ALMOST_ONE)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("uniform", [0.0, 1e-300, 0.5, 1 - 1e-9, ALMOST_ONE])
def test_a_token_without_probability_is_never_drawn(uniform: float) -> None:
    none = -math.inf
    assert at([none, none, 0.0, none, none], uniform) == 2
    assert at([none, 3.0, none, 3.0, none], uniform) in (1, 3)
    assert at([none] * 3000 + [1.0] + [none] * 3000, uniform) == 3000


@pytest.mark.parametrize("vocab_size", [1, 255, 256, 257, 1000, 49_152, 50_257])
def test_the_likeliest_is_the_first_of_equals(vocab_size: int) -> None:
    rows = random_logits(6, vocab_size)
    rows[1] = rows[1].round()  # a few values, each many times
    rows[2] = -math.inf
    rows[3, vocab_size // 2 :] = 9.0
    rows[4, -1] = 9.0
    assert likeliest(rows).tolist() == [row.index(max(row)) for row in rows.tolist()]
    assert torch.equal(
        likeliest(rows[:, : vocab_size // 2 + 1]), rows[:, : vocab_size // 2 + 1].argmax(-1)
    )


@pytest.mark.parametrize("broken", [math.nan, -math.inf])
@pytest.mark.parametrize("vocab_size", [10, 5000])
def test_a_broken_row_stays_inside_the_vocabulary_and_harms_no_other(
    sampler: AnySampler, broken: float, vocab_size: int
) -> None:
    params = [
        SamplingParams(),
        SamplingParams(top_k=5, min_p=0.1),
        SamplingParams(top_p=0.9),
        SamplingParams(temperature=0.0, repetition_penalty=2.0, logprobs=0),
    ]
    rows = [SamplingRow(p, seed) for seed in range(2) for p in params]
    z = torch.full((8, vocab_size), broken)
    z[4:] = torch.arange(float(vocab_size))
    batch = SamplingBatch.build(rows, vocab_size, "cpu")
    healthy = SamplingBatch.build(rows[4:], vocab_size, "cpu")
    chosen = sampler.sample(z, batch).token_ids
    assert 0 <= chosen.min() and chosen.max() < vocab_size
    assert torch.equal(chosen[4:], sampler.sample(z[4:], healthy).token_ids)


def test_greedy_takes_the_lowest_id_among_equals(sampler: AnySampler) -> None:
    z = torch.zeros(3, 70_000)
    z[1, [69_999, 40_000]] = 1.0
    z[2, 5:] = 2.0
    rows = [SamplingRow(SamplingParams(temperature=0.0), seed) for seed in range(3)]
    drawn = sampler.sample(z, SamplingBatch.build(rows, 70_000, "cpu")).token_ids
    assert drawn.tolist() == [0, 40_000, 5]


@pytest.mark.parametrize("temperature", [0.0, 9e-6])
def test_greedy_ignores_seed_and_truncation(sampler: AnySampler, temperature: float) -> None:
    z = torch.tensor([TEXTBOOK])
    params = SamplingParams(temperature=temperature, top_p=0.0, top_k=4, min_p=0.5)
    for seed in range(20):
        assert sampler.sample(z, one_row(params, 5, seed)).token_ids.tolist() == [2]


def test_greedy_and_random_rows_mix(sampler: AnySampler) -> None:
    rows = [
        SamplingRow(SamplingParams(temperature=0.0 if seed % 2 else 2.0), seed)
        for seed in range(400)
    ]
    z = torch.tensor([TEXTBOOK]).repeat(400, 1)
    chosen = sampler.sample(z, SamplingBatch.build(rows, 5, "cpu")).token_ids.tolist()
    assert set(chosen[1::2]) == {2}
    assert len(set(chosen[0::2])) >= 3


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=2.0),
        SamplingParams(temperature=2.0, top_k=3),
        SamplingParams(temperature=1.5, top_p=0.9),
        SamplingParams(temperature=2.0, min_p=0.05, logit_bias={3: 1.0}),
    ],
)
@pytest.mark.parametrize("axis", ["seeds", "positions"])
def test_drawn_frequencies_match_the_processed_distribution(
    sampler: AnySampler, params: SamplingParams, axis: str
) -> None:
    n = 20_000
    if axis == "seeds":
        rows = [SamplingRow(params, seed) for seed in range(n)]
    else:
        rows = [SamplingRow(params, 5, output_token_ids=range(position)) for position in range(n)]
    wanted = Oracle(SamplingRow(params, 0)).process(TEXTBOOK)
    chances = dict(zip(wanted, softmax(list(wanted.values())), strict=True))
    z = torch.tensor([TEXTBOOK]).repeat(n, 1)
    chosen = sampler.sample(z, SamplingBatch.build(rows, 5, "cpu")).token_ids
    counts = torch.bincount(chosen, minlength=5).tolist()
    assert all(counts[token_id] == 0 for token_id in range(5) if token_id not in chances)
    usual = [token_id for token_id, chance in chances.items() if chance * n > 5]
    observed = [counts[token_id] for token_id in usual]
    expected = [chances[token_id] * n for token_id in usual]
    assert chi_square(observed, expected) < chi_square_limit(len(usual) - 1)
