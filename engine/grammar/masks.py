"""The masks of one step, made while the model computes.

Knows which rows have a grammar and starts the work; what a mask is applied to is the sampler's
business.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from llguidance import LLExecutor, LLMatcher
from llguidance.numpy import fill_next_token_bitmask_par

from engine.grammar.bits import Bits, pack
from engine.grammar.state import GrammarState


@dataclass(frozen=True, slots=True)
class StepMasks:
    """`rows` are the rows that have a grammar; the others may draw anything."""

    rows: tuple[int, ...]
    _bits: Future[Bits]

    def wait(self) -> Bits:
        """Legal tokens of those rows: int32 [rows, words], bit `i % 32` of word `i // 32`."""
        return self._bits.result()


class GrammarMasks:
    """Makes masks in threads of its own; between `start` and `wait` nobody else may touch the
    states."""

    def start(self, states: Sequence[GrammarState | None]) -> StepMasks | None:
        """Begin with the masks of a step's rows; None when no row has a grammar."""
        used = [(row, state) for row, state in enumerate(states) if state is not None]
        if not used:
            return None
        rows, chosen = zip(*used, strict=True)
        return StepMasks(rows, self._thread.submit(self._make, chosen))

    def _make(self, states: Sequence[GrammarState]) -> Bits:
        words = states[0].num_words
        bits = np.zeros((len(states), words), dtype=np.int32)
        open_ended: list[tuple[LLMatcher, int]] = []
        for index, state in enumerate(states):
            token = state.forced_token
            if token is None:
                open_ended.append((state.matcher, index))
            else:
                bits[index] = pack((token,), words)
        if open_ended:
            fill_next_token_bitmask_par(self._executor, open_ended, bits)
        for _, index in open_ended:
            states[index].restrict(bits[index])
        return bits

    @cached_property
    def _executor(self) -> LLExecutor:
        """llguidance's own threads, from the first mask on."""
        return LLExecutor()

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        """Waits for the executor, so that the engine's loop need not."""
        return ThreadPoolExecutor(1, thread_name_prefix="grammar-masks")
