"""Sizes that steps are padded to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.execution.step_size import StepSize, StepSizes, decode_sizes, draw_places, size_of
from engine.sampling_params import SamplingParams
from engine.scheduling.plan import ScheduledSequence, StepPlan
from engine.scheduling.sequence import Sequence


@pytest.mark.parametrize("most", [1, 3, 8, 60, 100, 256, 1000])
def test_no_step_of_decodes_is_padded_by_much(most: int) -> None:
    sizes = decode_sizes(most)
    assert sizes == sorted(set(sizes)) and sizes[-1] == most
    for count in range(1, most + 1):
        padded = StepSizes(most, 64).padded(StepSize(count))
        assert padded is not None and padded.num_tokens == padded.decodes
        assert count <= padded.decodes <= most
        assert padded.decodes - count < max(count, 8) and padded.decodes - count <= 31


@given(st.sampled_from([1, 8, 100, 256]), st.sampled_from([0, 64, 512, 8192]), st.data())
def test_a_step_with_chunks_has_room_for_its_padding(
    most: int, most_tokens: int, data: st.DataObject
) -> None:
    chunks = data.draw(st.integers(1, 40))
    tokens = data.draw(st.integers(2 * chunks, 9000))
    size, sizes = (
        StepSize(data.draw(st.integers(0, most)), chunks, tokens),
        StepSizes(most, most_tokens),
    )
    padded = sizes.padded(size)
    if padded is None:
        assert chunks > 30 or tokens > most_tokens
        return
    assert padded.decodes >= size.decodes and padded.chunks > chunks
    assert tokens <= padded.chunk_tokens <= max(256, 1.5 * tokens)
    assert padded.chunk_tokens <= most_tokens
    assert max(padded.num_tokens, padded.num_sequences) <= sizes.most


def test_draws_are_found_behind_the_padding() -> None:
    def item(count: int, *, samples: bool = True, drafts: int = 0) -> ScheduledSequence:
        one = Sequence("r", [1] * 9, SamplingParams(), 0, 9, frozenset())
        return ScheduledSequence(one, 0, count, samples, drafts=(7,) * drafts)

    plan = StepPlan((item(1), item(3, drafts=2), item(4, samples=False), item(5)))
    exact = size_of(plan)
    assert exact == StepSize(decodes=4, chunks=2, chunk_tokens=9)
    assert draw_places(plan, exact) == [0, 1, 2, 3, 12]
    assert draw_places(plan, StepSize(8, 4, 16)) == [0, 1, 2, 3, 16]
