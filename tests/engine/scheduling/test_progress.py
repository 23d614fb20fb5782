from __future__ import annotations

import pytest

from engine.errors import InvalidParameter
from engine.sampling_params import Grammar, SamplingParams
from engine.scheduling.plan import StepResult
from engine.scheduling.progress import take_token
from engine.scheduling.sequence import Sequence
from engine.types import FinishReason, TokenLogprob
from tests.engine.scheduling.simulation import Limits, Script, make_sequence

EOS = 50


def constrained(script: Script, *, max_new_tokens: int = 9, **params: object) -> Sequence:
    made = SamplingParams(grammar=Grammar("regex", "x"), **params)  # pyright: ignore[reportArgumentType]
    eos = frozenset({EOS})
    sequence = make_sequence("a", [1], max_new_tokens=max_new_tokens, eos=eos, params=made)
    sequence.grammar = script  # pyright: ignore[reportAttributeAccessIssue]
    return sequence


def test_forced_tokens_come_with_the_drawn_one() -> None:
    script = Script({5: 6, 6: 7})
    sequence = constrained(script)
    update = take_token(sequence, 5, None)
    assert (update.token_ids, update.finished) == ((5, 6, 7), False)
    assert sequence.output_token_ids == script.advanced == [5, 6, 7]


def test_scored_tokens_are_drawn_one_by_one() -> None:
    script = Script({5: 6})
    update = take_token(constrained(script, logprobs=0), 5, TokenLogprob(5, -1.0))
    assert (update.token_ids, update.logprobs) == ((5,), (TokenLogprob(5, -1.0),))
    assert script.advanced == [5]


@pytest.mark.parametrize(
    ("following", "fields", "wanted", "reason", "stop_id"),
    [
        ({5: 6, 6: 7}, {"max_new_tokens": 2}, (5, 6), FinishReason.LENGTH, None),
        ({5: 6, 6: EOS, EOS: 9}, {}, (5, 6, EOS), FinishReason.STOP, None),
        ({5: 6, 6: 7}, {"stop_token_ids": (6,)}, (5, 6), FinishReason.STOP, 6),
        ({5: EOS}, {"min_tokens": 8}, (5, EOS), FinishReason.STOP, None),
    ],
)
def test_forced_tokens_end_a_sequence_as_drawn_ones_do(
    following: dict[int, int],
    fields: dict[str, object],
    wanted: tuple[int, ...],
    reason: FinishReason,
    stop_id: int | None,
) -> None:
    sequence = constrained(Script(following), **fields)  # pyright: ignore[reportArgumentType]
    update = take_token(sequence, 5, None)
    assert (update.token_ids, update.finished) == (wanted, True)
    assert (sequence.finish_reason, sequence.stop_token_id) == (reason, stop_id)


def test_a_token_drawn_where_nothing_was_left_does_not_count() -> None:
    script = Script(complete=True)
    sequence = constrained(script)
    update = take_token(sequence, 5, None)
    assert (update.token_ids, update.finished, update.failure) == ((), True, None)
    assert sequence.finish_reason is FinishReason.STOP
    assert sequence.output_token_ids == script.advanced == []


def test_a_failure_ends_the_sequence_without_a_reason() -> None:
    failure = InvalidParameter("grammar", None, "too complex.")
    sequence = constrained(Script(failure=failure))
    update = take_token(sequence, 5, None)
    assert (update.token_ids, update.finished, update.failure) == ((), True, failure)
    assert sequence.finish_reason is None


def test_forced_tokens_are_computed_together_and_then_the_next_is_drawn() -> None:
    scheduler, blocks = Limits(budget=4, block_size=2).scheduler()
    sequence = constrained(Script({5: 6, 6: 7, 7: 8, 8: 9}), max_new_tokens=20)
    beside = make_sequence("b", [1], max_new_tokens=20)
    scheduler.add(sequence)
    scheduler.add(beside)
    shapes: list[list[tuple[str, int, int, bool]]] = []
    for token in (5, 0, 0, 0):
        plan = scheduler.schedule()
        shapes.append(
            [(i.sequence.request_id, i.start, i.num_tokens, i.samples) for i in plan.scheduled]
        )
        scheduler.apply(plan, StepResult([token] * len(plan.sampling)))
    assert shapes[0] == [("a", 0, 1, True), ("b", 0, 1, True)]
    assert shapes[1] == [("a", 1, 4, False)]  # the budget is used up, oldest first
    assert shapes[2] == [("a", 5, 1, True), ("b", 1, 1, True)]
    assert scheduler.generated_tokens == 5 + 1 + 2 + 2
    scheduler.abort("a")
    scheduler.abort("b")
    assert blocks.blocks_used == 0
