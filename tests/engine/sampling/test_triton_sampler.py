"""The sampler in Triton kernels, interpreted where there is no GPU, against the one in torch.

The oracle's tokens stand only where numpy's exponential, which the interpreter uses, and torch's
round alike, as they do with the seeds used here. Rows and tiles are few: the interpreter takes
some 10 ms for a tile of a row.
"""

from __future__ import annotations

import math
import random

import pytest
import torch

pytest.importorskip("triton")

from engine.sampling.sampler import SampledTokens
from engine.sampling.sampling_batch import SamplingRow
from engine.sampling.tiles import Tiles
from engine.sampling.triton_logits import shape_logits
from engine.sampling.triton_sampler import DeviceTokens
from engine.sampling.triton_warm_up import compile_common
from engine.sampling_params import SamplingParams
from engine.types import TokenLogprob
from tests.engine.sampling.oracle import random_logits
from tests.engine.sampling.test_sampler import mixed_rows
from tests.engine.sampling.twins import DEVICE, Twins, legal_bits, row_ids

VOCAB = 450  # a whole tile of 256 and part of a second


def rounded(entries: list[TokenLogprob | None]) -> list[object]:
    """Entries without the digits in which the sum of weights shows the exponential's rounding."""
    return [
        entry
        and (entry.token_id, round(entry.logprob, 5), [(i, round(v, 5)) for i, v in entry.top])
        for entry in entries
    ]


def scores(drawn: DeviceTokens) -> list[object] | None:
    found = drawn.logprobs
    return None if found is None else rounded(found.entries(found.table.cpu()))


def expected_scores(sampled: SampledTokens) -> list[object] | None:
    return None if sampled.logprobs is None else rounded(sampled.logprobs)


def test_the_same_tokens_with_everything_mixed_as_rows_come_and_go() -> None:
    dice = random.Random(1)
    waiting = mixed_rows(VOCAB)
    twins = Twins(VOCAB, num_rows=9)
    running: list[int] = []
    for step in range(9):
        if step % 3 == 0:
            running = dice.sample(running, max(0, len(running) - 2))
        free = [row for row in range(9) if row not in running]
        for row in dice.sample(free, min(len(free), 5 - len(running))):
            twins.join(row, waiting.pop(dice.randrange(len(waiting))))
            running.append(row)
        dice.shuffle(running)
        logits = random_logits(len(running), VOCAB, seed=step)
        if step % 2:
            logits = (logits * 2).round() / 2  # many equal ones
        drawn, expected = twins.sample(logits, running)
        assert drawn.token_ids.tolist() == expected.token_ids.tolist()
        assert scores(drawn) == expected_scores(expected)


def test_penalties_count_what_the_kernels_drew() -> None:
    twins = Twins(40, num_rows=4)
    twins.join(3, SamplingRow(SamplingParams(temperature=0.0, frequency_penalty=0.9), 0, [5], [7]))
    twins.join(1, SamplingRow(SamplingParams(presence_penalty=2.0), 1, [5], [7, 7]))
    twins.join(0, SamplingRow(SamplingParams(temperature=0.0, repetition_penalty=1.4), 2, [5, 6]))
    logits = random_logits(3, 40, seed=4, scale=1.0)
    seen = []
    for _ in range(10):
        drawn, expected = twins.sample(logits, [3, 1, 0])
        assert drawn.token_ids.tolist() == expected.token_ids.tolist()
        seen.append(drawn.token_ids.tolist())
    assert len({tokens[0] for tokens in seen}) > 3  # the penalty drives greedy rows on
    counts = twins.rows.penalties.counts
    assert counts is not None
    assert counts[3].sum() == 11 and counts[1].sum() == 12 and counts[0].sum() == 10
    assert twins.rows.num_generated.tolist() == [10, 12, 0, 11]


def test_a_step_of_greedy_rows_reads_the_logits_once() -> None:
    twins = Twins(VOCAB, num_rows=3)
    for row in range(3):
        twins.join(row, SamplingRow(SamplingParams(temperature=0.0), row))
    logits = random_logits(3, VOCAB)
    logits[1, 200:400] = logits[1].max() + 1  # the lowest id of equals
    logits[2] = -math.inf
    drawn, expected = twins.sample(logits, [2, 0, 1])
    assert drawn.token_ids.tolist() == expected.token_ids.tolist()
    assert drawn.logprobs is None
    features, device_logits = twins.rows.features(torch.arange(3).numpy()), logits.to(DEVICE)
    tiles = Tiles(3, VOCAB, 256)
    shaped = shape_logits(device_logits, row_ids([2, 0, 1]), twins.rows, features, None, tiles)
    assert shaped.values is device_logits  # nothing was written


@pytest.mark.parametrize("seed", [0, -1, 2**40 + 17])
def test_uniforms_are_those_of_seed_and_position(seed: int) -> None:
    """Equal logits turn the uniform into the token: ten bits of it at a time."""
    positions = (0, 1, 15, 16, 1000, 2**17)
    twins = Twins(1024, num_rows=len(positions), tile=1024)
    for row, position in enumerate(positions):
        outputs = range(1024) if position == 1000 else [0] * position
        twins.join(row, SamplingRow(SamplingParams(), seed + row, (), outputs))
    drawn, expected = twins.sample(torch.zeros(len(positions), 1024), range(len(positions)))
    assert drawn.token_ids.tolist() == expected.token_ids.tolist()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_it_is(dtype: torch.dtype) -> None:
    settings = [
        SamplingParams(),
        SamplingParams(temperature=0.0),
        SamplingParams(temperature=0.8, top_k=40, logprobs=2),
        SamplingParams(presence_penalty=0.5),
    ]
    for company in (settings[:1], settings[:2], settings):  # other kernels run for each
        twins = Twins(VOCAB, num_rows=4)
        for row, params in enumerate(company):
            twins.join(row, SamplingRow(params, row, [1], [2]))
        logits = random_logits(len(company), VOCAB, seed=3).to(dtype)
        before = logits.clone()
        drawn, expected = twins.sample(logits, range(len(company)))
        assert drawn.token_ids.tolist() == expected.token_ids.tolist()
        assert torch.equal(logits, before)


def test_padding_draws_token_0_and_touches_nothing() -> None:
    twins = Twins(VOCAB, num_rows=3)
    params = SamplingParams(temperature=0.9, top_p=0.8, top_k=50, frequency_penalty=1.0)
    twins.join(0, SamplingRow(params, 5, [1], [2]))
    twins.join(2, SamplingRow(params, 6, [1], [2]))
    logits = random_logits(3, VOCAB)
    poisoned = torch.full((5, VOCAB), math.nan)
    poisoned[[0, 3]] = logits[:2]
    numbers = [0, -1, -1, 2, -1]
    drawn = twins.triton.sample(poisoned.to(DEVICE), row_ids(numbers), numbers)
    expected = twins.expected(logits[:2], [0, 2]).token_ids.tolist()
    assert drawn.token_ids.tolist() == [expected[0], 0, 0, expected[1], 0]
    assert twins.rows.num_generated.tolist() == [2, 0, 2]
    assert twins.rows.penalties.counts is not None
    assert twins.rows.penalties.counts.sum(dim=1).tolist() == [2, 0, 2]


@pytest.mark.filterwarnings("ignore:invalid value")  # the interpreter's numpy sees the NaN
def test_a_row_of_nan_harms_nobody() -> None:
    twins = Twins(VOCAB, num_rows=4)
    params = SamplingParams(temperature=0.9, top_p=0.8, top_k=50, min_p=0.01)
    for row in range(3):
        twins.join(row, SamplingRow(params, row))
    twins.join(3, SamplingRow(SamplingParams(temperature=0.0), 3))
    logits = random_logits(4, VOCAB)
    expected = twins.expected(logits, range(4)).token_ids.tolist()
    logits[1] = logits[3] = math.nan
    drawn = twins.triton.sample(logits.to(DEVICE), row_ids(range(4)), range(4)).token_ids.tolist()
    assert [drawn[0], drawn[2]] == [expected[0], expected[2]]
    assert all(0 <= token_id < VOCAB for token_id in drawn)


def test_grammars_bind_their_own_rows_in_their_own_step() -> None:
    twins = Twins(VOCAB, num_rows=5)
    settings = [
        SamplingParams(temperature=0.0),
        SamplingParams(),
        SamplingParams(temperature=1.5, top_k=2, logit_bias={449: 50.0}),
        SamplingParams(allowed_token_ids=(3, 256, 448), min_tokens=1),
        SamplingParams(temperature=0.5),
    ]
    for row, params in enumerate(settings):
        twins.join(row, SamplingRow(params, row, end_token_ids=[3]))
    numbers = [4, 2, 0, 1, 3]
    ids = [[31, 32, 255, 449], [9], [256, 440]]
    for step in range(4):
        legal = legal_bits([1, 2, 4], ids, VOCAB) if step % 2 else None
        logits = random_logits(5, VOCAB, seed=step)
        drawn, expected = twins.sample(logits, numbers, legal)
        tokens = drawn.token_ids.tolist()
        assert tokens == expected.token_ids.tolist()
        if legal:
            assert tokens[1] in ids[0] and tokens[2] == 9 and tokens[4] == 256
        assert step > 0 or tokens[4] in (256, 448)


def test_ends_are_banned_until_the_minimum() -> None:
    twins = Twins(90, num_rows=2)
    params = SamplingParams(temperature=0.0, min_tokens=3, logit_bias={80: 100.0, 81: 50.0})
    twins.join(0, SamplingRow(params, 0, (), [5], end_token_ids=[80]))
    twins.join(1, SamplingRow(params, 0, end_token_ids=[80, *range(70)]))
    tokens = []
    for step in range(4):
        drawn, expected = twins.sample(random_logits(2, 90, seed=step), [0, 1])
        assert drawn.token_ids.tolist() == expected.token_ids.tolist()
        tokens.append(drawn.token_ids.tolist())
    assert tokens == [[81, 81], [81, 81], [80, 81], [80, 80]]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_nothing_waits_for_the_device() -> None:
    occupants = mixed_rows(VOCAB)[:20]
    numbers = list(range(20))
    legal = legal_bits([0], [[1, 2]], VOCAB)
    logits, ids = random_logits(20, VOCAB).to(DEVICE), row_ids(numbers)
    mode = torch.cuda.get_sync_debug_mode()
    for setting in (mode, 2):  # the first round compiles; 2 makes every wait an error
        twins = Twins(VOCAB, num_rows=20)
        torch.cuda.set_sync_debug_mode(setting)
        for row, occupant in enumerate(occupants):
            twins.join(row, occupant)
        for _ in range(3):
            twins.triton.sample(logits, ids, numbers, legal)
        torch.cuda.set_sync_debug_mode(mode)


def test_common_controls_can_be_tried_before_there_are_rows() -> None:
    logits = random_logits(1, VOCAB).to(DEVICE)
    before = logits.clone()
    compile_common(logits)
    assert torch.equal(logits, before)


def test_logits_must_fit_the_rows() -> None:
    twins = Twins(VOCAB, num_rows=2)
    with pytest.raises(AssertionError, match="fit"):
        twins.triton.sample(torch.zeros(2, VOCAB - 1), row_ids([0, 1]), [0, 1])
    with pytest.raises(AssertionError, match="contiguous"):
        twins.triton.sample(torch.zeros(VOCAB, 2).T, row_ids([0, 1]), [0, 1])
