from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.sampling import logit_bias, masks, penalties
from engine.sampling.sampling_batch import SamplingBatch, SamplingRow
from engine.sampling_params import Grammar, SamplingParams
from tests.engine.sampling.oracle import kept, processed, random_logits


def build(*rows: SamplingRow, vocab_size: int = 8) -> SamplingBatch:
    return SamplingBatch.build(rows, vocab_size, "cpu")


def test_frequency_and_presence_count_generated_tokens_only() -> None:
    params = SamplingParams(frequency_penalty=0.5, presence_penalty=0.25)
    row = SamplingRow(params, 0, prompt_token_ids=[1, 1, 2], output_token_ids=[3, 3, 3, 4])
    z = penalties.apply(torch.zeros(1, 8), build(row))
    assert z.tolist() == [[0, 0, 0, -1.75, -0.75, 0, 0, 0]]


def test_repetition_covers_prompt_and_output_and_depends_on_the_sign() -> None:
    row = SamplingRow(SamplingParams(repetition_penalty=2.0), 0, [0, 1], [2, 3, 3])
    z = torch.tensor([[4.0, -4.0, 0.5, -0.5, 4.0, -4.0, 0.0, 1.0]])
    expected = [[2.0, -8.0, 0.25, -1.0, 4.0, -4.0, 0.0, 1.0]]
    assert penalties.apply(z, build(row)).tolist() == expected


def test_repetition_sees_the_logit_after_the_other_penalties() -> None:
    params = SamplingParams(frequency_penalty=2.0, repetition_penalty=2.0)
    z = penalties.apply(torch.ones(1, 8), build(SamplingRow(params, 0, [], [5])))
    assert z[0, 5] == -2.0  # 1 - 2 is negative, so it is multiplied


def test_negative_penalties_reward() -> None:
    params = SamplingParams(frequency_penalty=-1.0, presence_penalty=-0.5, repetition_penalty=0.5)
    z = penalties.apply(torch.ones(1, 8), build(SamplingRow(params, 0, [], [5, 5])))
    assert z[0, 5] == 7.0


def test_advancing_equals_building_anew() -> None:
    params = [
        SamplingParams(frequency_penalty=0.3, presence_penalty=0.2),
        SamplingParams(),
        SamplingParams(repetition_penalty=1.3),
        SamplingParams(min_tokens=40, frequency_penalty=-0.1, repetition_penalty=0.9),
    ]
    generator = torch.Generator().manual_seed(0)
    steps = torch.randint(0, 50, (150, 4), generator=generator)

    def rows(count: int) -> list[SamplingRow]:
        return [
            SamplingRow(p, index, [index, 7], steps[:count, index].tolist(), (49,))
            for index, p in enumerate(params)
        ]

    moving = SamplingBatch.build(rows(3), 50, "cpu")
    logits = random_logits(4, 50)
    for count in range(3, 150):
        fresh = SamplingBatch.build(rows(count), 50, "cpu")
        assert torch.equal(processed(logits, moving), processed(logits, fresh)), count
        moving.advance(steps[count])


def test_bias_moves_a_logit_by_exactly_its_value() -> None:
    biases = [{3: 1.5, 0: -100.0}, {}, {7: 100.0}]
    batch = build(*(SamplingRow(SamplingParams(logit_bias=bias), 0) for bias in biases))
    before = random_logits(3, 8)
    expected = before.clone()
    for row, bias in enumerate(biases):
        for token_id, value in bias.items():
            expected[row, token_id] += value
    assert torch.equal(logit_bias.apply(before.clone(), batch), expected)


def test_bias_is_not_penalized() -> None:
    params = SamplingParams(logit_bias={2: 4.0}, repetition_penalty=2.0)
    batch = build(SamplingRow(params, 0, [2]))
    assert processed(torch.ones(1, 8), batch)[0, 2] == 4.5


def test_only_allowed_ids_are_left() -> None:
    ids = [(1, 5), None, (7,), (0, 1, 2, 3)]
    batch = build(*(SamplingRow(SamplingParams(allowed_token_ids=i), 0) for i in ids))
    before = random_logits(4, 8)
    after = masks.apply(before.clone(), batch)
    assert kept(after) == [{1, 5}, set(range(8)), {7}, {0, 1, 2, 3}]
    assert torch.equal(after[after.isfinite()], before[after.isfinite()])


def test_a_bias_cannot_lift_a_forbidden_token() -> None:
    params = SamplingParams(allowed_token_ids=(1, 2), logit_bias={5: 100.0})
    assert kept(processed(torch.zeros(1, 8), build(SamplingRow(params, 0)))) == [{1, 2}]


def test_masks_come_before_truncation() -> None:
    z = torch.tensor([[9.0, 8.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    params = SamplingParams(allowed_token_ids=(2, 3), top_k=1)
    assert kept(processed(z, build(SamplingRow(params, 0)))) == [{2}]


def test_end_ids_are_banned_until_enough_tokens_are_out() -> None:
    long = SamplingParams(min_tokens=3)
    batch = build(
        SamplingRow(long, 0, [], [1], (6, 7)),
        SamplingRow(SamplingParams(min_tokens=1), 0, [], [], (7, 7)),
        SamplingRow(SamplingParams(), 0, [], [], (7,)),
    )
    everything, token = set(range(8)), torch.zeros(3, dtype=torch.int64)
    seen = []
    for _ in range(4):
        seen.append(kept(masks.apply(torch.zeros(3, 8), batch)))
        batch.advance(token)
    no_end = everything - {6, 7}
    assert seen[0] == [no_end, everything - {7}, everything]
    assert seen[1] == [no_end, everything, everything]
    assert seen[2] == seen[3] == [everything] * 3
    assert not batch.changes_logits  # the ban is over, and so is its cost


def test_the_minimum_yields_when_only_end_ids_are_allowed() -> None:
    params = SamplingParams(min_tokens=5, allowed_token_ids=(7,))
    z = masks.apply(torch.zeros(1, 8), build(SamplingRow(params, 0, [], [], (6, 7))))
    assert kept(z) == [{7}]


def test_a_minimum_beyond_all_bounds_is_just_a_ban() -> None:
    row = SamplingRow(SamplingParams(min_tokens=10**30), 0, end_token_ids=(0,))
    assert kept(masks.apply(torch.zeros(1, 8), build(row))) == [set(range(1, 8))]


@pytest.mark.parametrize(
    "row",
    [
        SamplingRow(SamplingParams(logit_bias={8: 1.0}), 0),
        SamplingRow(SamplingParams(allowed_token_ids=(1, 8)), 0),
        SamplingRow(SamplingParams(min_tokens=1), 0, end_token_ids=(-1,)),
        SamplingRow(SamplingParams(frequency_penalty=1.0), 0, output_token_ids=(8,)),
    ],
)
def test_ids_outside_the_vocabulary_are_a_bug_of_the_caller(row: SamplingRow) -> None:
    with pytest.raises(AssertionError, match="vocabulary"):
        build(row)


def test_impossible_tokens_stay_impossible() -> None:
    params = SamplingParams(logit_bias={1: 100.0}, repetition_penalty=1.5, frequency_penalty=-2.0)
    z = torch.full((1, 8), -math.inf)
    z[0, 0] = 1.0
    assert kept(processed(z, build(SamplingRow(params, 0, [1], [1])))) == [{0}]


def packed(legal: set[int], words: int) -> np.ndarray:
    """The ids as bits, one by one."""
    values = [sum(1 << i % 32 for i in legal if i // 32 == word) for word in range(words)]
    return np.array(values, dtype=np.uint32).view(np.int32)


@given(st.data())
def test_only_what_the_bits_say_is_left(data: st.DataObject) -> None:
    vocab_size = data.draw(st.integers(1, 100))
    num_rows = data.draw(st.integers(1, 5))
    words = (vocab_size + 31) // 32 + data.draw(st.integers(0, 1))
    sets = st.sets(st.integers(0, vocab_size - 1), min_size=1)
    legal = {row: data.draw(sets) for row in range(num_rows) if data.draw(st.booleans())}
    batch = build(*[SamplingRow(SamplingParams(), 0)] * num_rows, vocab_size=vocab_size)
    before = random_logits(num_rows, vocab_size)
    if legal:
        batch.restrict(list(legal), np.stack([packed(ids, words) for ids in legal.values()]))
        assert batch.changes_logits
    after = masks.apply(before.clone(), batch)
    assert kept(after) == [legal.get(row, set(range(vocab_size))) for row in range(num_rows)]
    assert torch.equal(after[after.isfinite()], before[after.isfinite()])


def test_bits_hold_for_one_step() -> None:
    batch = build(SamplingRow(SamplingParams(), 0))
    batch.restrict([0], packed({3}, 1)[None])
    assert kept(masks.apply(torch.zeros(1, 8), batch)) == [{3}]
    batch.advance(torch.tensor([3]))
    assert not batch.changes_logits
    assert kept(masks.apply(torch.zeros(1, 8), batch)) == [set(range(8))]


def test_bits_come_after_the_bias_and_before_truncation() -> None:
    params = SamplingParams(logit_bias={5: 100.0}, top_k=1)
    batch = build(SamplingRow(params, 0))
    batch.restrict([0], packed({1, 2}, 1)[None])
    z = torch.tensor([[9.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    assert kept(processed(z, batch)) == [{2}]


def test_where_there_is_a_grammar_its_mask_holds_off_the_end() -> None:
    params = SamplingParams(min_tokens=5, grammar=Grammar("json_object"))
    batch = build(SamplingRow(params, 0, [], [], (6, 7)))
    batch.restrict([0], packed({7}, 1)[None])
    assert kept(masks.apply(torch.zeros(1, 8), batch)) == [{7}]
