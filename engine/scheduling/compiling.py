"""Sequences that wait until their grammar is compiled.

They stand outside the queue: they hold no row and no block, and nobody waits behind them. They
join the queue in the order in which their grammars get ready. Knows nothing of how compiling goes.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import NamedTuple

from engine.errors import InvalidParameter
from engine.grammar.compiler import CompiledGrammar
from engine.scheduling.sequence import Sequence


class Compiling(NamedTuple):
    """A sequence, and its grammar to come."""

    sequence: Sequence
    grammar: Future[CompiledGrammar]


class CompilingSequences:
    """The waiting room, by request id."""

    def __init__(self) -> None:
        self._waiting: dict[str, Compiling] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def any_settled(self) -> bool:
        """Whether `take_settled` would return something."""
        return any(entry.grammar.done() for entry in self._waiting.values())

    def add(self, sequence: Sequence, grammar: Future[CompiledGrammar]) -> None:
        """Let the sequence wait for the grammar.

        Raises:
            InvalidParameter: another one waits under the same id.
        """
        if sequence.request_id in self._waiting:
            raise InvalidParameter("request_id", sequence.request_id, "is already in use.")
        self._waiting[sequence.request_id] = Compiling(sequence, grammar)

    def abort(self, request_id: str) -> bool:
        """Forget a sequence, and its grammar unless another waits for that; False if unknown."""
        entry = self._waiting.pop(request_id, None)
        if entry is None:
            return False
        if not any(other.grammar is entry.grammar for other in self._waiting.values()):
            entry.grammar.cancel()  # in vain once it has begun; it is then kept for others
        return True

    def take_settled(self) -> list[Compiling]:
        """Remove and return those whose grammar is there, or has failed."""
        settled = [entry for entry in self._waiting.values() if entry.grammar.done()]
        for entry in settled:
            del self._waiting[entry.sequence.request_id]
        return settled
