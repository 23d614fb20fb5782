from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.sampling import shaping
from engine.sampling.fixed_point import fixed_point_weights
from engine.sampling.row_parts import row_values
from engine.sampling.sampling_batch import SamplingBatch, SamplingRow
from engine.sampling_params import SamplingParams
from tests.engine.sampling.oracle import (
    TEXTBOOK,
    Oracle,
    kept,
    one_row,
    processed,
    random_logits,
    softmax,
)


def surviving(logits: list[float], params: SamplingParams) -> set[int]:
    return kept(processed(torch.tensor([logits]), one_row(params, len(logits))))[0]


def test_textbook_softmax() -> None:
    weights = fixed_point_weights(torch.tensor([TEXTBOOK]), 5)[0]
    chances = (weights / weights.sum()).tolist()
    digits = (3, 8, 2, 3, 3)
    rounded = [round(chance, places) for chance, places in zip(chances, digits, strict=True)]
    assert rounded == [0.084, 2.75e-6, 0.87, 0.005, 0.037]


@pytest.mark.parametrize(
    ("temperature", "printed"),
    [
        (0.01, [0, 0, 1, 0, 0]),
        (0.5, [0.01, 0, 0.99, 0, 0]),
        (1.0, [0.08, 0, 0.87, 0, 0.04]),
        (2.0, [0.19, 0, 0.63, 0.05, 0.13]),
        (5.0, [0.24, 0.03, 0.39, 0.14, 0.20]),
    ],
)
def test_textbook_temperatures(temperature: float, printed: list[float]) -> None:
    # Straight into the stage: 5 is in the book, but above what a caller may ask.
    part = row_values([temperature], torch.float32, torch.device("cpu"))
    batch = replace(one_row(SamplingParams(), 5), temperature=part)
    z = shaping.temperature(torch.tensor([TEXTBOOK]), batch)
    assert [round(chance, 2) for chance in torch.softmax(z, -1)[0].tolist()] == printed


def test_tiny_temperatures_do_not_overflow() -> None:
    batch = one_row(SamplingParams(temperature=2e-5), 5)
    z = processed(torch.tensor([TEXTBOOK]) * 1000, batch)
    assert z.isfinite().all() and z.argmax() == 2


def test_top_k_keeps_exactly_k_and_lower_ids_among_equals() -> None:
    z = [1.0, 2.0, 2.0, 0.0, 2.0, -0.0, 0.0]
    for k, expected in enumerate([{1}, {1, 2}, {1, 2, 4}, {0, 1, 2, 4}, {0, 1, 2, 3, 4}], start=1):
        assert surviving(z, SamplingParams(top_k=k)) == expected
    assert surviving(z, SamplingParams(top_k=6)) == {0, 1, 2, 3, 4, 5}


def test_top_p_keeps_the_token_that_crosses() -> None:
    z = [math.log(share) for share in (0.1, 0.4, 0.3, 0.2)]
    assert surviving(z, SamplingParams(top_p=0.39)) == {1}
    assert surviving(z, SamplingParams(top_p=0.41)) == {1, 2}
    assert surviving(z, SamplingParams(top_p=0.69)) == {1, 2}
    assert surviving(z, SamplingParams(top_p=0.71)) == {1, 2, 3}
    assert surviving(z, SamplingParams(top_p=0.95)) == {0, 1, 2, 3}


def test_top_p_of_exactly_the_mass_stops_there() -> None:
    assert surviving([0.0, 0.0, 0.0, 0.0], SamplingParams(top_p=0.5)) == {0, 1}


@pytest.mark.parametrize("size", [1, 5, 64, 5000])
def test_top_p_zero_keeps_exactly_one(size: int) -> None:
    assert surviving([0.5] * size, SamplingParams(top_p=0.0)) == {0}


def test_min_p_is_relative_to_the_best() -> None:
    z = [math.log(share) for share in (0.5, 0.26, 0.24)]
    assert surviving(z, SamplingParams(min_p=0.5)) == {0, 1}
    assert surviving(z, SamplingParams(min_p=1.0)) == {0}
    assert surviving([1.0, 1.0, 0.5], SamplingParams(min_p=1.0)) == {0, 1}


FOUR = [math.log(share) for share in (0.4, 0.3, 0.2, 0.1)]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        # After top-k the two best hold 0.57 and 0.43; before it they hold 0.4 and 0.3.
        (SamplingParams(top_k=2, top_p=0.5), {0}),
        (SamplingParams(top_k=3, top_p=0.75), {0, 1}),
        # Min-p first would leave 0.57 and 0.43, and top-p then only the best.
        (SamplingParams(top_p=0.55, min_p=0.7), {0, 1}),
        # Temperature first flattens: 0.33, 0.28, 0.23, 0.16.
        (SamplingParams(temperature=2.0, top_p=0.65), {0, 1, 2}),
        (SamplingParams(temperature=0.5, top_p=0.5), {0}),
        (SamplingParams(temperature=2.0, min_p=0.6), {0, 1, 2}),
    ],
)
def test_the_order_is_a_contract(params: SamplingParams, expected: set[int]) -> None:
    assert surviving(FOUR, params) == expected


def test_truncation_and_temperature_leave_greedy_rows_alone() -> None:
    params = SamplingParams(temperature=0.0, top_k=1, top_p=0.1, min_p=0.9)
    batch = one_row(params, 5)
    assert not batch.changes_logits
    z = torch.tensor([TEXTBOOK])
    assert processed(z, batch).tolist() == z.tolist()


def test_neutral_rows_pass_the_very_same_tensor_on() -> None:
    z = random_logits(2, 30)
    params = SamplingParams(top_k=30, top_p=1.0, min_p=0.0, temperature=1.0)
    batch = SamplingBatch.build([SamplingRow(params, 0)] * 2, 30, "cpu")
    before = z.clone()
    for stage in (shaping.temperature, shaping.top_k, shaping.top_p, shaping.min_p):
        assert stage(z, batch) is z
    assert torch.equal(z, before)


def test_wide_distributions_are_searched_beyond_the_first_candidates() -> None:
    sizes = [1, 127, 128, 129, 130, 2047, 2048, 2049, 2999]
    z = torch.zeros(len(sizes), 3000)
    rows = []
    for row, size in enumerate(sizes):
        z[row, torch.randperm(3000, generator=torch.Generator().manual_seed(row))[:size]] = 20.0
        rows.append(SamplingRow(SamplingParams(top_p=0.9999), row))
    after = processed(z, SamplingBatch.build(rows, 3000, "cpu"))
    for row, size in enumerate(sizes):
        best = set((z[row] == 20).nonzero().flatten().tolist())
        assert kept(after)[row] == set(sorted(best)[: math.ceil(size * 0.9999)])


@st.composite
def sampling_params(draw: st.DrawFn, vocab_size: int) -> SamplingParams:
    ids = st.integers(0, vocab_size - 1)
    return SamplingParams(
        temperature=draw(st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.0, 1.25, 2.0])),
        top_k=draw(st.sampled_from([0, 0, 1, 2, 3, 5, 100])),
        top_p=draw(st.sampled_from([0.0, 0.1, 0.37, 0.6, 0.83, 0.97, 1.0, 1.0])),
        min_p=draw(st.sampled_from([0.0, 0.0, 0.02, 0.13, 0.41, 0.77, 1.0])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.0, 0.5, -1.25])),
        presence_penalty=draw(st.sampled_from([0.0, 0.0, 0.75, -0.5])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.0, 2.0, 0.5])),
        logit_bias=draw(st.dictionaries(ids, st.sampled_from([-2.0, 0.5, 3.0]), max_size=3)),
        allowed_token_ids=draw(st.none() | st.sets(ids, min_size=4).map(lambda s: tuple(s))),
        min_tokens=draw(st.integers(0, 4)),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[list[float]], list[SamplingRow]]:
    vocab_size = draw(st.integers(8, 24))
    steps = st.integers(-24, 24).map(lambda n: n / 4)  # coarse, so that ties are common
    ids = st.integers(0, vocab_size - 1)
    count = draw(st.integers(1, 4))
    logits = [draw(st.lists(steps, min_size=vocab_size, max_size=vocab_size)) for _ in range(count)]
    rows = [
        SamplingRow(
            params=draw(sampling_params(vocab_size)),
            seed=draw(st.integers(0, 2**32)),
            prompt_token_ids=draw(st.lists(ids, max_size=6)),
            output_token_ids=draw(st.lists(ids, max_size=6)),
            end_token_ids=(vocab_size - 1, vocab_size - 2),
        )
        for _ in range(count)
    ]
    return logits, rows


@settings(max_examples=120, deadline=None)
@given(cases())
def test_the_pipeline_equals_the_plain_python_oracle(
    case: tuple[list[list[float]], list[SamplingRow]],
) -> None:
    logits, rows = case
    oracles = [Oracle(row) for row in rows]
    expected = [oracle.process(z) for oracle, z in zip(oracles, logits, strict=True)]
    assume(all(oracle.margin > 1e-6 for oracle in oracles))
    after = processed(
        torch.tensor(logits), SamplingBatch.build(rows, len(logits[0]), torch.device("cpu"))
    )
    assert kept(after) == [set(row) for row in expected]
    for row, wanted in zip(after, expected, strict=True):
        values = [float(row[token_id]) for token_id in wanted]
        assert values == pytest.approx(list(wanted.values()), abs=1e-5)


def test_the_oracle_knows_its_softmax() -> None:
    assert softmax(TEXTBOOK) == pytest.approx(torch.softmax(torch.tensor(TEXTBOOK), 0).tolist())
