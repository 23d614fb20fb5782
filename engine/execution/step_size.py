"""How large a step is, and the sizes that steps are padded to so that a few graphs serve them all.

Pure numbers; knows nothing of tensors.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence as Rows
from typing import NamedTuple

from engine.scheduling.plan import ScheduledSequence, StepPlan

_DECODES = (8, 64)
_CHUNKS = (8, 32)
"""Beside chunks. Sequences of padding cost next to nothing there, and graphs should be few: one is
captured while requests wait."""


class StepSize(NamedTuple):
    """Sequences of one token each, sequences of several, and the tokens of these. A guessed token
    counts as a sequence."""

    decodes: int
    chunks: int = 0
    chunk_tokens: int = 0

    @property
    def num_sequences(self) -> int:
        """Of both kinds."""
        return self.decodes + self.chunks

    @property
    def num_tokens(self) -> int:
        """Of both kinds."""
        return self.decodes + self.chunk_tokens


def is_chunk(item: ScheduledSequence) -> bool:
    """Whether its tokens are one sequence to the kernels. Guesses are a sequence each."""
    return item.num_tokens > 1 and not item.drafts


def size_of(plan: StepPlan) -> StepSize:
    """Without padding."""
    counts = [item.num_tokens for item in plan.scheduled[plan.num_single :] if is_chunk(item)]
    chunk_tokens = sum(counts)
    return StepSize(plan.num_tokens - chunk_tokens, len(counts), chunk_tokens)


def draw_places(plan: StepPlan, size: StepSize) -> list[int]:
    """The tokens of a step padded to `size` whose logits choose the next, in the plan's order."""
    places: list[int] = []
    decode, chunk = 0, size.decodes  # where the next of each begins
    for item in plan.scheduled:
        if is_chunk(item):
            end = chunk = chunk + item.num_tokens
        else:
            end = decode = decode + item.num_tokens
        places += range(end - item.num_draws, end)
    return places


def decode_sizes(most: int) -> list[int]:
    """Sizes that steps of decodes are padded to: powers of two, then multiples of 8, of 16, of 32.

    A padded row costs next to nothing where weights are read for all, and the more sizes, the more
    graphs; a tail of at most an eighth keeps attention, which is paid by row, from wasting more.
    """
    sizes = [1, 2, 4, *range(8, 64, 8), *range(64, 128, 16), *range(128, most + 32, 32)]
    return [*(size for size in sizes if size < most), most]


def chunk_sizes(most: int) -> list[int]:
    """Numbers of tokens that all chunks of a step together are padded to, up to `most`: 64 and 256,
    below which a card hardly takes less time, then two to an octave."""
    sizes = [64, 256, *(part << power for power in range(7, 16) for part in (3, 4))]
    return [size for size in sizes if size <= most]


class StepSizes:
    """The sizes for steps with up to `most_decodes` sequences of one token, and with up to
    `most_chunk_tokens` of others: a step of more is not padded."""

    def __init__(self, most_decodes: int, most_chunk_tokens: int) -> None:
        self.decodes = decode_sizes(most_decodes)
        self._beside_chunks = [*(size for size in _DECODES if size < most_decodes), most_decodes]
        self._chunk_tokens = chunk_sizes(most_chunk_tokens)
        self._most_chunk_tokens = max(self._chunk_tokens, default=0)
        self.most = most_decodes + max(self._most_chunk_tokens, _CHUNKS[-1])
        """Neither tokens nor sequences of a padded step are more."""

    @property
    def prompts(self) -> list[StepSize]:
        """Of steps with a prompt or a few, and a few decodes, from short prompts to long ones."""
        beside = (self._beside_chunks[0], _CHUNKS[0])
        return [StepSize(*beside, tokens) for tokens in self._chunk_tokens]

    def padded(self, size: StepSize) -> StepSize | None:
        """The least that holds a step; None where its chunks are too many or too long.

        There is one chunk more than the step has: the padding's tokens must be somebody's.
        """
        if not size.chunks:
            return StepSize(_least(self.decodes, size.decodes))
        if size.chunks >= _CHUNKS[-1] or size.chunk_tokens > self._most_chunk_tokens:
            return None
        return StepSize(
            _least(self._beside_chunks, size.decodes),
            _least(_CHUNKS, size.chunks + 1),
            _least(self._chunk_tokens, size.chunk_tokens),
        )


def _least(sizes: Rows[int], wanted: int) -> int:
    return sizes[bisect_left(sizes, wanted)]
