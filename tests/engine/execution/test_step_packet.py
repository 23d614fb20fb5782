"""What a device is told of a step: as little as there is news."""

from __future__ import annotations

from engine.execution.step_packet import DRAWN, NO_ROW, PacketWriter, block_updates
from engine.execution.step_size import StepSize, size_of
from engine.sampling_params import SamplingParams
from engine.scheduling.plan import ScheduledSequence, StepPlan
from engine.scheduling.sequence import Sequence


def sequence(row: int, prompt: list[int], blocks: list[int]) -> Sequence:
    made = Sequence(f"r{row}", prompt, SamplingParams(), 0, 9, frozenset())
    made.row, made.block_ids = row, blocks
    return made


def plan(*items: tuple[Sequence, int, int, int]) -> StepPlan:
    """Of (sequence, start, number of tokens, first new block)."""
    return StepPlan(
        tuple(
            ScheduledSequence(one, start, count, start + count >= one.num_tokens, range(0), first)
            for one, start, count, first in items
        )
    )


def parts(writer: PacketWriter, step: StepPlan, size: StepSize | None = None) -> list[list[int]]:
    layout, packet = writer.write(step, size or size_of(step))
    assert len(packet) == layout.size
    places = (layout.rows, layout.starts, layout.query_starts, layout.token_ids)
    return [packet[place].tolist() for place in places]


def test_a_prompt_brings_its_tokens_and_a_decode_none() -> None:
    writer = PacketWriter(4)
    first, second = sequence(2, [5, 6, 7], [4]), sequence(0, [8], [9])
    assert parts(writer, plan((second, 0, 1, 0), (first, 0, 3, 0))) == [
        [0, 2],
        [0, 0],
        [0, 1, 4],
        [8, 5, 6, 7],
    ]
    first.num_pending = second.num_pending = 1
    assert parts(writer, plan((second, 1, 1, 1), (first, 3, 1, 1)), StepSize(4)) == [
        [0, 2, NO_ROW, NO_ROW],
        [1, 3, 0, 0],
        [0, 1, 2, 3, 4],
        [DRAWN, DRAWN, 0, 0],
    ]


def test_padding_stands_behind_what_it_is_like() -> None:
    chunk, decode = sequence(2, [5, 6, 7], [4]), sequence(0, [8], [9])
    step = plan((decode, 0, 1, 0), (chunk, 0, 3, 0))
    assert parts(PacketWriter(4), step, StepSize(decodes=2, chunks=3, chunk_tokens=5)) == [
        [0, NO_ROW, 2, NO_ROW, NO_ROW],
        [0, 0, 0, 0, 0],
        [0, 1, 2, 5, 7, 7],
        [8, 0, 5, 6, 7, 0, 0],
    ]


def test_tokens_that_the_device_did_not_draw_are_sent() -> None:
    writer = PacketWriter(1)
    one = sequence(0, [5], [4])
    writer.write(plan((one, 0, 1, 0)), StepSize(1))
    one.output_token_ids += [6, 7, 8]  # a grammar forced two after the one that was drawn
    assert parts(writer, plan((one, 1, 3, 1)))[3] == [6, 7, 8]


def test_a_row_that_changed_hands_knows_nothing() -> None:
    writer = PacketWriter(1)
    one = sequence(0, [5], [4])
    writer.write(plan((one, 0, 1, 0)), StepSize(1))
    other = sequence(0, [6, 7], [4])
    assert parts(writer, plan((other, 1, 1, 0)))[3] == [7], "the first block was cached"


def test_only_new_blocks_are_sent() -> None:
    one, other = sequence(3, [1], [7, 8, 9]), sequence(1, [1], [5])
    updates = block_updates(plan((one, 4, 1, 2), (other, 0, 1, 0)))
    assert updates is not None
    assert updates.tolist() == [[3, 2, 9], [1, 0, 5]]
    assert block_updates(plan((one, 4, 1, 3), (other, 1, 1, 1))) is None
