"""What a device must be told of a step: packed into as few numbers as there is news.

The device keeps a row per running sequence: its block table and the token that was drawn for it
last. So a decode costs three numbers and, now and then, a new block; the tokens of a prompt's chunk
come along. Guessed tokens are decodes of the same row, one behind the other: the keys and values of
all are written before any looks at them. Knows nothing of tensors: arrays of int32, made by the
host.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.execution.step_size import StepSize
from engine.scheduling.plan import ScheduledSequence, StepPlan

Words = NDArray[np.int32]

DRAWN = -1
"""In place of a token's id: the one that was drawn for the row last."""

NO_ROW = -1
"""Padding: a sequence that is none."""


class Entry(NamedTuple):
    """Tokens of a row that stand one behind the other, from a position on."""

    row: int
    start: int
    token_ids: list[int]


@dataclass(frozen=True, slots=True)
class PacketLayout:
    """Where the parts of a packet lie. The same numbers of sequences and tokens, the same places,
    which is what a captured graph needs. Each guessed token counts as a sequence."""

    num_sequences: int
    num_tokens: int

    @property
    def rows(self) -> slice:
        """`[sequences]`: each one's row, `NO_ROW` for padding."""
        return slice(0, self.num_sequences)

    @property
    def starts(self) -> slice:
        """`[sequences]`: position of each one's first token in the step."""
        return slice(self.num_sequences, 2 * self.num_sequences)

    @property
    def query_starts(self) -> slice:
        """`[sequences + 1]`: where its tokens begin among those of the step."""
        return slice(2 * self.num_sequences, 3 * self.num_sequences + 1)

    @property
    def token_ids(self) -> slice:
        """`[tokens]`: ids, or `DRAWN`."""
        return slice(3 * self.num_sequences + 1, self.size)

    @property
    def size(self) -> int:
        """Numbers in the packet."""
        return 3 * self.num_sequences + 1 + self.num_tokens


class PacketWriter:
    """Writes the packets of one device, whose rows it keeps an account of."""

    def __init__(self, num_rows: int) -> None:
        self._drawn_at = [-1] * num_rows  # position of the token that each row was drawn last

    def write(self, plan: StepPlan, size: StepSize) -> tuple[PacketLayout, Words]:
        """The packet of a plan, padded to `size`: decodes behind its decodes, chunks behind its
        chunks, the first of which has all tokens that are too many.

        The plan is then taken to be launched: packets are written in the order of the steps.
        """
        entries = [entry for item in plan.scheduled for entry in self._entries(item, plan.guesses)]
        entries = _padded(entries, size)
        layout = PacketLayout(size.num_sequences, size.num_tokens)
        packet = np.zeros(layout.size, dtype=np.int32)
        packet[layout.rows] = [entry.row for entry in entries]
        packet[layout.starts] = [entry.start for entry in entries]
        packet[layout.query_starts][1:] = list(
            accumulate(len(entry.token_ids) for entry in entries)
        )
        packet[layout.token_ids] = [token for entry in entries for token in entry.token_ids]
        return layout, packet

    def _entries(self, item: ScheduledSequence, guesses: bool) -> list[Entry]:
        """`guesses`: somebody's tokens are guessed, so that no draw stays on the device."""
        row, start = item.row, item.start
        stop = start + item.num_tokens - len(item.drafts)
        known_to_device = item.new_blocks_from > 0 and self._drawn_at[row] == start
        self._drawn_at[row] = stop if item.samples and not guesses else -1
        if known_to_device and item.num_tokens == 1:
            return [Entry(row, start, [DRAWN])]
        assert stop <= item.sequence.num_known_tokens, "nobody can tell the device this token"
        known = Entry(row, start, item.sequence.token_ids(start, stop))
        return [known, *(Entry(row, stop + n, [token]) for n, token in enumerate(item.drafts))]


def _padded(entries: list[Entry], size: StepSize) -> list[Entry]:
    """Decodes stand before chunks, in `entries` and in what is returned."""
    decodes = next((n for n, one in enumerate(entries) if len(one.token_ids) > 1), len(entries))
    chunks = entries[decodes:]
    spare = size.chunk_tokens - sum(len(entry.token_ids) for entry in chunks)
    empty = [Entry(NO_ROW, 0, [])] * (size.chunks - len(chunks))
    if empty:
        empty[0] = Entry(NO_ROW, 0, [0] * spare)
    padding = [Entry(NO_ROW, 0, [0])] * (size.decodes - decodes)
    return [*entries[:decodes], *padding, *chunks, *empty]


def block_updates(plan: StepPlan) -> Words | None:
    """Blocks that the device has not heard of, `[n, 3]`: row, index in the row's table, block."""
    news: list[tuple[int, int, int]] = []
    for item in plan.scheduled:
        table, first = item.sequence.block_ids, item.new_blocks_from
        if len(table) > first:
            news += [(item.row, at, table[at]) for at in range(first, len(table))]
    return np.array(news, dtype=np.int32) if news else None
