from __future__ import annotations

from concurrent.futures import Future

import pytest

from engine.errors import InvalidParameter
from engine.grammar.compiler import CompiledGrammar
from engine.scheduling.compiling import CompilingSequences
from tests.engine.scheduling.simulation import make_sequence


def future() -> Future[CompiledGrammar]:
    return Future()


def settle(grammar: Future[CompiledGrammar]) -> None:
    grammar.set_exception(InvalidParameter("grammar", None, "no."))


def test_sequences_leave_when_their_own_grammar_is_settled() -> None:
    waiting, slow, quick = CompilingSequences(), future(), future()
    for name, grammar in (("a", slow), ("b", quick), ("c", quick)):
        waiting.add(make_sequence(name, [1]), grammar)
    assert not waiting.any_settled and waiting.take_settled() == []
    settle(quick)
    assert waiting.any_settled
    assert [entry.sequence.request_id for entry in waiting.take_settled()] == ["b", "c"]
    assert len(waiting) == 1 and not waiting.any_settled


def test_a_grammar_that_nobody_waits_for_is_not_compiled() -> None:
    waiting, shared, own = CompilingSequences(), future(), future()
    for name, grammar in (("a", shared), ("b", shared), ("c", own)):
        waiting.add(make_sequence(name, [1]), grammar)
    assert waiting.abort("a") and not shared.cancelled()
    assert waiting.abort("c") and own.cancelled()
    assert waiting.abort("b") and shared.cancelled()
    assert not waiting.abort("b")
    assert len(waiting) == 0


def test_ids_are_unique() -> None:
    waiting = CompilingSequences()
    waiting.add(make_sequence("a", [1]), future())
    with pytest.raises(InvalidParameter, match="already in use"):
        waiting.add(make_sequence("a", [1]), future())
