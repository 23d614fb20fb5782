"""The pipeline as a whole; above all, that a row cannot feel its neighbours."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from engine.sampling.native_sampler import NativeSampler
from engine.sampling.sampler import SampledTokens, Sampler
from engine.sampling.sampling_batch import SamplingBatch, SamplingRow
from engine.sampling_params import SamplingParams
from tests.engine.sampling.oracle import processed, random_logits

ROWS = 64
AnySampler = Sampler | NativeSampler


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def mixed_rows(vocab_size: int) -> list[SamplingRow]:
    """64 rows, each with its own mixture of features, among them neutral and greedy ones."""
    dice = random.Random(0)

    def maybe(value: float, neutral: float) -> float:
        return value if dice.random() < 0.4 else neutral

    rows = []
    for seed in range(ROWS):
        ids = dice.sample(range(vocab_size), 40)
        params = SamplingParams(
            temperature=dice.choice([0.0, 0.3, 0.7, 1.0, 1.0, 1.9]),
            top_k=int(maybe(dice.choice([1, 5, 50, 400]), 0)),
            top_p=maybe(dice.choice([0.0, 0.3, 0.9, 0.999]), 1.0),
            min_p=maybe(dice.choice([0.01, 0.2]), 0.0),
            frequency_penalty=maybe(0.4, 0.0),
            presence_penalty=maybe(-0.3, 0.0),
            repetition_penalty=maybe(1.2, 1.0),
            logit_bias={ids[0]: 3.0, ids[1]: -100.0} if dice.random() < 0.3 else {},
            allowed_token_ids=tuple(ids) if dice.random() < 0.2 else None,
            min_tokens=int(maybe(2, 0)),
            logprobs=dice.choice([None, 0, 5]),
        )
        prompt = dice.choices(range(vocab_size), k=dice.randrange(1, 90))
        output = dice.choices(range(vocab_size), k=dice.randrange(0, 30))
        rows.append(SamplingRow(params, seed, prompt, output, ids[:3]))
    return rows


def run(
    sampler: AnySampler, rows: list[SamplingRow], logits: list[Tensor]
) -> list[tuple[Tensor, SampledTokens]]:
    """Some steps; every step's processed logits and samples."""
    batch = SamplingBatch.build(rows, logits[0].shape[-1], "cpu")
    steps = []
    for z in logits:
        sampled = sampler.sample(z, batch)
        steps.append((processed(z, batch), sampled))
        batch.advance(sampled.token_ids)
    return steps


@pytest.mark.parametrize("vocab_size", [1003, 4099])
def test_a_row_is_bit_identical_alone_and_in_any_company(
    sampler: AnySampler, vocab_size: int, threads: int
) -> None:
    rows = mixed_rows(vocab_size)
    logits = [random_logits(ROWS, vocab_size, seed) for seed in range(3)]
    together = run(sampler, rows, logits)
    for size in (1, 2, 3, 5, 8, 13, 32, 61):
        for start in range(0, ROWS, 2 if size == 1 else max(size, 25)):
            part = slice(start, min(start + size, ROWS))
            apart = run(sampler, rows[part], [z[part] for z in logits])
            for (full_z, full), (z, sampled) in zip(together, apart, strict=True):
                assert torch.equal(full_z[part], z)
                assert torch.equal(full.token_ids[part], sampled.token_ids)
                assert full.logprobs is not None
                alone = sampled.logprobs or [None] * len(z)
                assert full.logprobs[part] == alone


def test_a_large_vocabulary_in_few_rows(sampler: AnySampler, threads: int) -> None:
    vocab_size = 50_257
    rows = mixed_rows(vocab_size)[:8]
    logits = [random_logits(8, vocab_size, seed=9, scale=2.5)]
    full_z, full = run(sampler, rows, logits)[0]
    for index in range(8):
        z, sampled = run(sampler, rows[index : index + 1], [logits[0][index : index + 1]])[0]
        assert torch.equal(z[0], full_z[index])
        assert sampled.token_ids[0] == full.token_ids[index]


def test_the_number_of_threads_does_not_show(sampler: AnySampler) -> None:
    rows, logits = mixed_rows(4099), [random_logits(ROWS, 4099, seed) for seed in range(3)]
    before = torch.get_num_threads()
    outcomes = []
    for count in (1, 2):
        torch.set_num_threads(count)
        outcomes.append(run(sampler, rows, logits))
    torch.set_num_threads(before)
    for (z1, sampled1), (z2, sampled2) in zip(*outcomes, strict=True):
        assert torch.equal(z1, z2)
        assert torch.equal(sampled1.token_ids, sampled2.token_ids)
        assert sampled1.logprobs == sampled2.logprobs


def test_the_order_of_rows_and_regrouping_do_not_show(sampler: AnySampler) -> None:
    rows = mixed_rows(500)
    z = random_logits(ROWS, 500)
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))
    straight = run(sampler, rows, [z])[0][1].token_ids
    shuffled = run(sampler, [rows[index] for index in order.tolist()], [z[order]])[0][1].token_ids
    assert torch.equal(shuffled, straight[order])


def test_an_element_wise_exponential_ignores_its_place() -> None:
    """What the independence of rows rests on, apart from integer sums."""
    values = -torch.rand(70_001, generator=torch.Generator().manual_seed(0)) * 40
    whole = values.exp()
    for start in range(40):
        for length in (1, 7, 8, 9, 33, 1000, 60_001):
            part = slice(start, start + length)
            assert torch.equal(values[part].clone().exp(), whole[part])


def test_the_logits_are_left_as_they_were(sampler: AnySampler) -> None:
    z = random_logits(ROWS, 500)
    before = z.clone()
    run(sampler, mixed_rows(500), [z])
    assert torch.equal(z, before)


def test_neutral_rows_do_not_touch_the_logits() -> None:
    rows = [SamplingRow(SamplingParams(), seed) for seed in range(3)]
    batch = SamplingBatch.build(rows, 500, "cpu")
    assert not batch.changes_logits
    assert batch.penalties is None  # nothing of vocabulary size is kept


def test_a_resumed_sequence_draws_what_it_would_have_drawn(sampler: AnySampler) -> None:
    params = SamplingParams(temperature=1.2, top_p=0.9, frequency_penalty=0.5)
    logits = [random_logits(1, 300, seed) for seed in range(40)]
    tokens = [int(s.token_ids) for _, s in run(sampler, [SamplingRow(params, 99, [1, 2])], logits)]
    for cut in (1, 16, 25):
        row = SamplingRow(params, 99, [1, 2], tokens[:cut])
        assert [int(s.token_ids) for _, s in run(sampler, [row], logits[cut:])] == tokens[cut:]


def test_different_seeds_differ_and_equal_seeds_agree(sampler: AnySampler) -> None:
    z = torch.zeros(1, 10_000).repeat(4, 1)
    seeds = [1, 2, 1, -1]
    rows = [SamplingRow(SamplingParams(), seed) for seed in seeds]
    first, second, third, fourth = run(sampler, rows, [z])[0][1].token_ids.tolist()
    assert first == third
    assert len({first, second, fourth}) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_rows_are_bit_identical_alone_and_together() -> None:
    for vocab_size in (1003, 50_257):
        rows = mixed_rows(vocab_size)
        z = random_logits(ROWS, vocab_size).cuda()
        full = SamplingBatch.build(rows, vocab_size, "cuda")
        together, tokens = processed(z, full), Sampler().sample(z, full).token_ids
        for index in range(ROWS):
            alone = SamplingBatch.build(rows[index : index + 1], vocab_size, "cuda")
            one = z[index : index + 1]
            assert torch.equal(processed(one, alone)[0], together[index])
            assert Sampler().sample(one, alone).token_ids[0] == tokens[index]


def test_logits_must_fit_the_batch(sampler: AnySampler) -> None:
    batch = SamplingBatch.build([SamplingRow(SamplingParams(), 0)], 5, "cpu")
    with pytest.raises(AssertionError, match="fit"):
        sampler.sample(torch.zeros(2, 5), batch)
    with pytest.raises(AssertionError, match="float32"):
        sampler.sample(torch.zeros(1, 5, dtype=torch.float16), batch)
