from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.sampling.sampling_batch import SamplingRow
from engine.sampling.sampling_rows import Feature, SamplingRows
from engine.sampling.upload import num_words, pack_bits
from engine.sampling_params import SamplingParams

VOCAB = 70


def rows_with(occupants: dict[int, SamplingRow], num_rows: int = 4) -> SamplingRows:
    rows = SamplingRows(num_rows, VOCAB, "cpu")
    for row, occupant in occupants.items():
        rows.set(row, occupant)
    rows.flush()
    return rows


def features(rows: SamplingRows, *numbers: int) -> Feature:
    return rows.features(np.array(numbers, dtype=np.int64))


def unpacked(words: torch.Tensor) -> set[int]:
    bits = words.numpy().astype("<i4").view(np.uint8)
    return set(np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist())


def test_columns_hold_what_the_row_asks() -> None:
    params = SamplingParams(
        temperature=0.7,
        top_k=9,
        top_p=0.85,
        min_p=0.02,
        frequency_penalty=0.5,
        presence_penalty=-0.25,
        repetition_penalty=1.25,
        min_tokens=5,
    )
    rows = rows_with({2: SamplingRow(params, 11, [1], [3, 4, 3], end_token_ids=[69, 0])})
    assert rows.seed[2] == 11 and rows.num_generated[2] == 3 and rows.top_k[2] == 9
    assert rows.min_tokens[2] == 5 and rows.num_bans[2] == 2 and rows.restricted[2] == 0
    assert rows.bans.ids[2, :2].tolist() == [0, 69]
    assert float(rows.temperature[2]) == 0.7 and float(rows.top_p[2]) == 0.85
    assert float(rows.log_min_p[2]) == math.log(0.02)
    penalties = [rows.frequency[2], rows.presence[2], rows.repetition[2]]
    assert [float(value) for value in penalties] == [0.5, -0.25, 1.25]
    assert not rows.seed[[0, 1, 3]].any()  # the other rows are left alone


def test_what_is_off_is_neutral() -> None:
    params = SamplingParams(temperature=0.0, top_k=5, top_p=0.5, min_p=0.5)
    rows = rows_with({0: SamplingRow(params, 0), 1: SamplingRow(SamplingParams(), 0)})
    assert rows.temperature.tolist()[:2] == [0.0, 1.0]
    assert rows.top_k.tolist()[:2] == [0, 0]
    assert rows.top_p.tolist()[:2] == [1.0, 1.0]
    assert rows.log_min_p.tolist()[:2] == [-math.inf, -math.inf]
    assert features(rows, 0) == Feature(0)
    assert features(rows, 1) == Feature.DRAW
    assert rows.penalties.counts is None and rows.allowed_bits is None  # nothing is kept for them


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1, -(2**63), 2**64 - 1])
def test_seeds_keep_their_bits(seed: int) -> None:
    rows = rows_with({0: SamplingRow(SamplingParams(), seed)})
    assert int(rows.seed[0]) % 2**64 == seed % 2**64


def test_features_are_those_of_the_rows_asked_about() -> None:
    wanted = {
        0: SamplingParams(temperature=0.0, presence_penalty=0.1),
        1: SamplingParams(temperature=0.5, top_k=3),
        2: SamplingParams(logit_bias={4: 1.0}, logprobs=0),
        3: SamplingParams(temperature=0.0, allowed_token_ids=(5,)),
    }
    rows = rows_with({row: SamplingRow(params, 0) for row, params in wanted.items()})
    assert features(rows, 0) == Feature.PENALTIES
    assert features(rows, 1) == Feature.TEMPERATURE | Feature.TRUNCATION | Feature.DRAW
    assert features(rows, 2) == Feature.LOGIT_BIAS | Feature.LOGPROBS | Feature.DRAW
    assert features(rows, 0, 3, -1) == Feature.PENALTIES | Feature.ALLOWED_IDS
    assert features(rows) == features(rows, -1) == Feature(0)
    assert rows.top_n(np.array([0, 2, -1])).tolist() == [-1, 0, -1]


def test_a_ban_is_a_feature_until_the_minimum_is_reached() -> None:
    occupant = SamplingRow(SamplingParams(min_tokens=3), 0, (), [7], end_token_ids=[1])
    rows = rows_with({1: occupant})
    numbers = np.array([1, -1, -1])
    for _ in range(2):
        assert Feature.BANNED_ENDS in features(rows, 1)
        rows.advance(numbers)
    assert Feature.BANNED_ENDS not in features(rows, 1)


def test_a_row_that_could_draw_only_ends_is_not_banned_from_them() -> None:
    params = SamplingParams(min_tokens=3, allowed_token_ids=(1, 2))
    rows = rows_with({0: SamplingRow(params, 0, end_token_ids=[1, 2, 3])})
    assert Feature.BANNED_ENDS not in features(rows, 0)


def test_a_new_occupant_finds_nothing_of_the_old_one() -> None:
    first = SamplingParams(repetition_penalty=2.0, logit_bias={1: 1.0}, allowed_token_ids=(1, 2))
    second = SamplingParams(frequency_penalty=1.0, allowed_token_ids=(69,))
    rows = rows_with({1: SamplingRow(first, 5, [8, 9], [3, 3])})
    assert rows.penalties.counts is not None and rows.penalties.seen_bits is not None
    assert rows.penalties.counts[1, 3] == 2 and rows.penalties.counts.sum() == 2
    assert unpacked(rows.penalties.seen_bits[1]) == {3, 8, 9}
    rows.set(1, SamplingRow(second, 6, [8, 9], [4]))
    rows.flush()
    assert rows.penalties.counts.nonzero().tolist() == [[1, 4]]
    assert unpacked(rows.penalties.seen_bits[1]) == {4}  # the prompt is not penalized
    assert rows.allowed_bits is not None and unpacked(rows.allowed_bits[1]) == {69}
    assert rows.num_biases[1] == 0 and rows.seed[1] == 6
    rows.set(1, SamplingRow(SamplingParams(), 7))
    rows.flush()
    assert features(rows, 1) == Feature.DRAW
    assert rows.restricted[1] == 0 and rows.frequency[1] == 0


def test_of_two_occupants_staged_for_a_row_the_last_one_stays() -> None:
    rows = SamplingRows(2, VOCAB, "cpu")
    rows.set(0, SamplingRow(SamplingParams(presence_penalty=1.0), 1, (), [5, 6]))
    rows.set(0, SamplingRow(SamplingParams(presence_penalty=0.5), 2, (), [7]))
    rows.flush()
    assert rows.penalties.counts is not None
    assert rows.penalties.counts.nonzero().tolist() == [[0, 7]]
    assert rows.seed[0] == 2


def test_lists_grow_and_keep_what_they_hold() -> None:
    short, long = {3: -1.5}, {token_id: token_id / 4 for token_id in range(40)}
    rows = rows_with({0: SamplingRow(SamplingParams(logit_bias=short), 0)})
    rows.set(3, SamplingRow(SamplingParams(logit_bias=long), 0))
    rows.flush()
    assert rows.num_biases.tolist() == [1, 0, 0, 40]
    assert rows.biases.ids[0, 0] == 3 and rows.biases.values[0, 0] == -1.5
    assert rows.biases.ids[3, :40].tolist() == list(long)
    assert rows.biases.values[3, :40].tolist() == list(long.values())


@pytest.mark.parametrize(
    "occupant",
    [
        SamplingRow(SamplingParams(logit_bias={VOCAB: 1.0}), 0),
        SamplingRow(SamplingParams(allowed_token_ids=(-1,)), 0),
        SamplingRow(SamplingParams(presence_penalty=1.0), 0, (), [VOCAB]),
        SamplingRow(SamplingParams(repetition_penalty=2.0), 0, [VOCAB]),
        SamplingRow(SamplingParams(min_tokens=1), 0, end_token_ids=[VOCAB]),
    ],
)
def test_ids_must_lie_inside_the_vocabulary(occupant: SamplingRow) -> None:
    with pytest.raises(AssertionError, match="vocabulary"):
        rows_with({0: occupant})


@given(st.data())
def test_packed_bits_are_the_ids(data: st.DataObject) -> None:
    vocab_size = data.draw(st.integers(1, 200))
    ids = data.draw(st.sets(st.integers(0, vocab_size - 1)))
    words = pack_bits(sorted(ids), vocab_size)
    assert words.shape == (num_words(vocab_size),) and words.dtype == np.int32
    assert unpacked(torch.from_numpy(words)) == ids
