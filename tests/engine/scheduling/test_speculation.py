"""Who has tokens guessed, and what guesses may cost others."""

from __future__ import annotations

import itertools
import random
from collections import deque
from dataclasses import replace

import pytest

from engine.sampling_params import Grammar, SamplingParams
from engine.scheduling.plan import ScheduledSequence, StepPlan, StepResult
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.sequence import Sequence
from engine.scheduling.speculation import MOST_ROWS
from engine.types import FinishReason, TokenLogprob
from tests.engine.scheduling.simulation import (
    VOCABULARY,
    Limits,
    Simulation,
    expected_output,
    make_sequence,
)

PERIOD = [1, 2, 3]
ROOMY = Limits(num_blocks=200, rows=20, budget=200, prefix_cache=False, speculative_tokens=8)


def following(sequence: Sequence, count: int) -> list[int]:
    """The periodic text's next tokens."""
    return [PERIOD[(sequence.num_known_tokens + n) % 3] for n in range(count)]


def step(scheduler: Scheduler) -> StepPlan:
    """One step in which every text goes on as it always has."""
    plan = scheduler.schedule()
    ids = [token for item in plan.sampling for token in following(item.sequence, item.num_draws)]
    scheduler.apply(plan, StepResult(ids))
    return plan


def drafts(plan: StepPlan) -> dict[str, tuple[int, ...]]:
    return {item.sequence.request_id: item.drafts for item in plan.scheduled}


def periodic(name: str, **fields: object) -> Sequence:
    max_new_tokens = fields.pop("max_new_tokens", 40)
    assert isinstance(max_new_tokens, int)
    params = SamplingParams(**fields)  # pyright: ignore[reportArgumentType]
    return make_sequence(name, PERIOD * 3, max_new_tokens=max_new_tokens, params=params)


def second_plan(*sequences: Sequence, limits: Limits = ROOMY) -> StepPlan:
    """The plan after the one that computes the prompts."""
    scheduler, _ = limits.scheduler()
    for sequence in sequences:
        scheduler.add(sequence)
    step(scheduler)
    return scheduler.schedule()


def test_a_text_that_repeats_itself_advances_by_more_and_more_tokens() -> None:
    scheduler, blocks = ROOMY.scheduler()
    sequence = periodic("a", max_new_tokens=30)
    scheduler.add(sequence)
    lengths: list[int] = []
    while scheduler.has_work:
        lengths.append(step(scheduler).num_draws)
    assert lengths == [1, 3, 5, 9, 9, 3], "the last guess leaves room for one more token"
    assert sequence.output_token_ids == PERIOD * 10
    assert (scheduler.draft_tokens, scheduler.accepted_draft_tokens) == (24, 24)
    assert scheduler.generated_tokens == 30
    assert blocks.blocks_used == 0


def test_a_guess_is_a_chunk_behind_the_last_known_token() -> None:
    other = make_sequence("b", [4, 0, 2], max_new_tokens=9)
    plan = second_plan(periodic("a"), other)
    assert drafts(plan) == {"a": (2, 3), "b": ()}
    item = plan.scheduled[0]
    assert item.sequence.request_id == "a", "it keeps its place among those that decode"
    assert (item.start, item.num_tokens, item.samples, item.num_draws) == (9, 3, True, 3)
    assert (plan.num_single, plan.num_tokens, plan.num_draws) == (0, 4, 4)


@pytest.mark.parametrize(
    "fields",
    [
        {"grammar": Grammar("json_object")},
        {"frequency_penalty": 0.5},
        {"presence_penalty": -1},
        {"repetition_penalty": 1.1},
    ],
)
def test_a_draw_that_depends_on_the_tokens_before_it_has_no_guesses(
    fields: dict[str, object],
) -> None:
    assert drafts(second_plan(periodic("a", **fields), periodic("b")))["a"] == ()


@pytest.mark.parametrize(
    "fields", [{"logprobs": 3}, {"min_tokens": 20}, {"temperature": 2}, {"stop_token_ids": (0,)}]
)
def test_other_controls_do_not_forbid_guesses(fields: dict[str, object]) -> None:
    assert drafts(second_plan(periodic("a", **fields)))["a"] == (2, 3)


@pytest.mark.parametrize(("count", "each"), [(1, 8), (2, 7), (4, 3), (8, 1), (9, 0), (20, 0)])
def test_rows_are_shared(count: int, each: int) -> None:
    scheduler, _ = ROOMY.scheduler()
    for index in range(count):
        scheduler.add(periodic(f"r{index}", max_new_tokens=54))
    plans = [step(scheduler) for _ in range(4)]
    assert {len(item.drafts) for item in plans[-1].scheduled} == {each}
    assert all(plan.num_draws <= max(MOST_ROWS, count) for plan in plans)


def test_guesses_come_after_everybody_who_has_something_to_compute() -> None:
    scheduler, _ = Limits(budget=12, num_blocks=200, speculative_tokens=8).scheduler()
    scheduler.add(periodic("a"))
    step(scheduler)
    scheduler.add(make_sequence("b", [4] * 10))
    assert drafts(scheduler.schedule()) == {"b": (), "a": (2,)}


def test_guesses_leave_each_sequence_a_block_to_grow_by() -> None:
    def first_guess(num_blocks: int) -> tuple[int, ...]:
        limits = Limits(num_blocks=num_blocks, block_size=5, speculative_tokens=8)
        return drafts(second_plan(periodic("a", max_new_tokens=7), limits=limits))["a"]

    # Nine prompt tokens and one more fill two blocks; a block is never handed out.
    assert first_guess(4) == ()
    assert first_guess(5) == (2, 3)


def test_neither_context_nor_wanted_length_is_passed() -> None:
    limits = Limits(max_model_len=12, num_blocks=200, speculative_tokens=8)
    assert drafts(second_plan(periodic("a"), limits=limits))["a"] == (2,)
    assert drafts(second_plan(periodic("a", max_new_tokens=2)))["a"] == ()


def guessing(*, max_new_tokens: int = 9, **fields: object) -> tuple[Scheduler, Sequence, StepPlan]:
    """A sequence with one token of output, and the plan that guesses 2 and 3 for it."""
    scheduler, _ = ROOMY.scheduler()
    params = SamplingParams(**fields)  # pyright: ignore[reportArgumentType]
    eos = frozenset({4})
    sequence = make_sequence("a", PERIOD * 3, max_new_tokens=max_new_tokens, eos=eos, params=params)
    scheduler.add(sequence)
    scheduler.apply(scheduler.schedule(), StepResult([1]))
    plan = scheduler.schedule()
    assert drafts(plan) == {"a": (2, 3)}
    return scheduler, sequence, plan


@pytest.mark.parametrize(
    ("drawn", "taken"),
    [([2, 3, 1], (2, 3, 1)), ([2, 3, 0], (2, 3, 0)), ([2, 0, 1], (2, 0)), ([0, 3, 1], (0,))],
)
def test_draws_count_up_to_the_first_that_was_not_guessed(
    drawn: list[int], taken: tuple[int, ...]
) -> None:
    scheduler, sequence, plan = guessing()
    (update,) = scheduler.apply(plan, StepResult(drawn))
    assert (update.token_ids, update.logprobs, update.finished) == (taken, (), False)
    assert sequence.output_token_ids == [1, *taken]
    assert sequence.num_computed_tokens == sequence.num_tokens - 1
    assert (scheduler.draft_tokens, scheduler.accepted_draft_tokens) == (2, len(taken) - 1)
    assert scheduler.generated_tokens == 1 + len(taken)
    item: ScheduledSequence = scheduler.schedule().scheduled[0]
    assert item.start == 9 + len(taken), "the new token is the next to be computed"


def test_logprobs_travel_with_the_tokens_that_count() -> None:
    scheduler, _, plan = guessing(logprobs=0)
    entries = [TokenLogprob(token, -float(token)) for token in (2, 0, 1)]
    (update,) = scheduler.apply(plan, StepResult([2, 0, 1], logprobs=[*entries]))
    assert update.logprobs == tuple(entries[:2])


@pytest.mark.parametrize(
    ("drawn", "fields", "taken", "reason", "stop_id"),
    [
        ([2, 3, 4], {}, (2, 3, 4), FinishReason.STOP, None),
        ([2, 4, 1], {}, (2, 4), FinishReason.STOP, None),
        ([2, 3, 1], {"stop_token_ids": (2,)}, (2,), FinishReason.STOP, 2),
        ([2, 3, 1], {"stop_token_ids": (3,)}, (2, 3), FinishReason.STOP, 3),
        ([2, 3, 1], {"max_new_tokens": 4}, (2, 3, 1), FinishReason.LENGTH, None),
    ],
)
def test_every_token_that_counts_may_end_the_sequence(
    drawn: list[int],
    fields: dict[str, object],
    taken: tuple[int, ...],
    reason: FinishReason,
    stop_id: int | None,
) -> None:
    scheduler, sequence, plan = guessing(**fields)  # pyright: ignore[reportArgumentType]
    (update,) = scheduler.apply(plan, StepResult(drawn))
    assert (update.token_ids, update.finished) == (taken, True)
    assert (sequence.finish_reason, sequence.stop_token_id) == (reason, stop_id)
    assert not scheduler.has_work


def test_draws_of_a_sequence_that_is_gone_are_passed_over() -> None:
    scheduler, _ = ROOMY.scheduler()
    for name in "ab":
        scheduler.add(periodic(name))
    step(scheduler)
    plan = scheduler.schedule()
    scheduler.abort("a")
    (update,) = scheduler.apply(plan, StepResult([2, 3, 1, 2, 3, 0]))
    assert (update.sequence.request_id, update.token_ids) == ("b", (2, 3, 0))


def test_a_later_turn_finds_the_blocks_that_guesses_filled() -> None:
    simulation = Simulation(Limits(block_size=2, speculative_tokens=8))
    first = make_sequence("first", [1, 2, 3], max_new_tokens=40, seed=1)
    simulation.add(first)
    simulation.run()
    assert simulation.scheduler.accepted_draft_tokens > 10
    second = make_sequence("second", first.token_ids(0, first.num_tokens))
    simulation.add(second)
    simulation.run()
    assert second.num_cached_tokens >= 30


def test_under_steady_pressure_guesses_change_nothing() -> None:
    draw = random.Random(0)
    limits = Limits(num_blocks=50, rows=8, budget=40, max_model_len=90, speculative_tokens=8)
    simulation = Simulation(limits)
    for index in range(30):
        prompt = [draw.randrange(VOCABULARY) for _ in range(draw.randrange(5, 25))]
        simulation.add(
            make_sequence(f"r{index}", prompt, max_new_tokens=draw.randrange(5, 60), seed=index)
        )
    simulation.run()
    scheduler = simulation.scheduler
    assert scheduler.preemptions > 0
    assert 0 < scheduler.accepted_draft_tokens < scheduler.draft_tokens
    for sequence in simulation.finished.values():
        wanted = expected_output(sequence, limits.max_model_len)
        assert (sequence.output_token_ids, sequence.finish_reason) == wanted


def waits(sequences: list[Sequence], *, repeats: bool) -> tuple[int, int, Scheduler]:
    """How often nothing is planned although a step runs, and steps, a plan being made ahead."""
    scheduler, _ = replace(ROOMY, max_plans_ahead=1, num_blocks=600, max_model_len=300).scheduler()
    for sequence in sequences:
        scheduler.add(sequence)
    under_way: deque[StepPlan] = deque()
    fresh, waited, steps = itertools.count(100), 0, 0
    while scheduler.has_work:
        plan = scheduler.schedule()
        if plan:
            under_way.append(plan)
            steps += 1
        else:
            waited += 1
        if not plan or len(under_way) > 1:
            oldest = under_way.popleft()
            ids = [
                token
                for item in oldest.sampling
                for token in (
                    following(item.sequence, item.num_draws)
                    if repeats
                    else itertools.islice(fresh, item.num_draws)
                )
            ]
            scheduler.apply(oldest, StepResult(ids))
    return waited, steps, scheduler


def test_a_look_for_guesses_is_rare_where_none_are_found() -> None:
    sequence = make_sequence("a", [*range(50, 60)], max_new_tokens=200)
    waited, steps, scheduler = waits([sequence], repeats=False)
    assert steps == 200 and scheduler.draft_tokens == 0
    assert 200 // 17 <= waited <= 200 // 17 + 6


def test_a_text_that_repeats_itself_is_found_out_though_plans_are_made_ahead() -> None:
    _, steps, scheduler = waits([periodic("a", max_new_tokens=100)], repeats=True)
    assert scheduler.accepted_draft_tokens == scheduler.draft_tokens > 80
    assert steps < 20


def test_nobody_waits_where_there_are_too_many_for_guesses() -> None:
    many = [periodic(f"r{n}", max_new_tokens=40) for n in range(9)]
    waited, steps, scheduler = waits(many, repeats=True)
    assert (waited, steps, scheduler.draft_tokens) == (1, 40, 0), (
        "the last step alone is waited for"
    )


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 15 can"):
        Limits(speculative_tokens=MOST_ROWS).scheduler()
