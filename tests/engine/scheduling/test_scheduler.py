from __future__ import annotations

import pytest

from engine.errors import ContextLengthExceeded, InvalidParameter
from engine.sampling_params import Grammar, SamplingParams
from engine.scheduling.plan import StepPlan, StepResult
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.sequence import Sequence
from engine.types import FinishReason, TokenLogprob
from tests.engine.scheduling.simulation import Limits, Simulation, make_sequence


def run_once(scheduler: Scheduler, token: int = 0) -> StepPlan:
    plan = scheduler.schedule()
    scheduler.apply(plan, StepResult([token] * len(plan.sampling)))
    return plan


def shape(plan: StepPlan) -> list[tuple[str, int, int]]:
    return [(item.sequence.request_id, item.start, item.num_tokens) for item in plan.scheduled]


def test_prompts_are_chunked_in_order_of_arrival_and_mixed_with_decodes_longest_first() -> None:
    scheduler, _ = Limits(budget=8).scheduler()
    scheduler.add(make_sequence("a", [1] * 3))
    scheduler.add(make_sequence("b", [2] * 10))
    scheduler.add(make_sequence("c", [3] * 2))
    assert shape(run_once(scheduler)) == [("a", 0, 3), ("b", 0, 5)]
    plan = run_once(scheduler)
    assert shape(plan) == [("a", 3, 1), ("b", 5, 5), ("c", 0, 2)]
    assert (plan.num_single, plan.num_tokens, len(plan.sampling)) == (1, 8, 3)
    assert shape(run_once(scheduler)) == [("b", 10, 1), ("a", 4, 1), ("c", 2, 1)]


def test_a_chunk_that_ends_before_the_last_known_token_samples_nothing() -> None:
    scheduler, _ = Limits(budget=4).scheduler()
    scheduler.add(make_sequence("a", [1] * 6))
    assert [item.samples for item in run_once(scheduler).scheduled] == [False]
    assert [item.samples for item in run_once(scheduler).scheduled] == [True]


def test_samples_of_one_prompt_share_its_full_blocks_within_one_step() -> None:
    scheduler, blocks = Limits(budget=64, block_size=4).scheduler()
    sequences = [make_sequence(f"s{i}", [1, 2, 3] * 4) for i in range(3)]
    for sequence in sequences:
        scheduler.add(sequence)
    plan = scheduler.schedule()
    assert shape(plan) == [("s0", 0, 12), ("s1", 8, 4), ("s2", 8, 4)]
    assert sequences[1].block_ids[:2] == sequences[0].block_ids[:2]
    assert len({sequence.block_ids[2] for sequence in sequences}) == 3
    assert blocks.blocks_used == 5
    assert [sequence.num_cached_tokens for sequence in sequences] == [0, 8, 8]
    assert (scheduler.prompt_tokens, scheduler.cached_prompt_tokens) == (36, 16)


def test_a_second_turn_finds_the_first_ones_output() -> None:
    simulation = Simulation(Limits(block_size=2))
    first = make_sequence("first", [1, 2, 3], max_new_tokens=6)
    simulation.add(first)
    simulation.run()
    history = first.token_ids(0, first.num_tokens)
    second = make_sequence("second", [*history, 0, 0])
    simulation.add(second)
    simulation.run()
    assert second.num_cached_tokens == 8  # the ninth token was sampled, never computed


def test_without_a_prefix_cache_nothing_is_shared() -> None:
    scheduler, _ = Limits(prefix_cache=False, budget=64).scheduler()
    scheduler.add(make_sequence("a", [1] * 12))
    scheduler.add(make_sequence("b", [1] * 12))
    assert shape(scheduler.schedule()) == [("a", 0, 12), ("b", 0, 12)]


def test_the_lowest_free_row_goes_first_and_returns_at_the_end() -> None:
    scheduler, _ = Limits(rows=2).scheduler()
    sequences = [make_sequence(f"s{i}", [i], max_new_tokens=1 + i) for i in range(3)]
    for sequence in sequences:
        scheduler.add(sequence)
    run_once(scheduler)
    assert [sequence.row for sequence in sequences] == [None, 1, None]
    scheduler.schedule()
    assert [sequence.row for sequence in sequences] == [None, 1, 0]
    assert (scheduler.num_running, scheduler.num_waiting) == (2, 0)


def finish(token: int, *, output: int = 0, **fields: object) -> Sequence:
    """A sequence that has `output` tokens and then samples `token`."""
    scheduler, _ = Limits().scheduler()
    max_new_tokens = fields.pop("max_new_tokens", 9)
    assert isinstance(max_new_tokens, int)
    params = SamplingParams(**fields)  # pyright: ignore[reportArgumentType]
    sequence = make_sequence(
        "a", [1], max_new_tokens=max_new_tokens, eos=frozenset({50}), params=params
    )
    scheduler.add(sequence)
    for _ in range(output):
        run_once(scheduler)
    updates = scheduler.apply(scheduler.schedule(), StepResult([token]))
    assert [update.token_ids for update in updates] == [(token,)]
    assert updates[0].finished == sequence.finished == (sequence.row is None)
    return sequence


def test_end_of_sequence_stops_without_a_stop_id() -> None:
    sequence = finish(50)
    assert (sequence.finish_reason, sequence.stop_token_id) == (FinishReason.STOP, None)
    assert sequence.output_token_ids == [50]


def test_the_callers_own_stop_id_is_named() -> None:
    assert finish(7, stop_token_ids=(7,)).stop_token_id == 7
    assert finish(50, stop_token_ids=(50,)).stop_token_id == 50


def test_stop_beats_length_on_the_same_token() -> None:
    assert finish(50, max_new_tokens=1).finish_reason is FinishReason.STOP
    assert finish(3, max_new_tokens=1).finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize(("output", "ends"), [(0, False), (1, False), (2, True)])
def test_stop_ids_count_after_min_tokens(output: int, ends: bool) -> None:
    assert finish(50, output=output, min_tokens=2).finished is ends


def test_a_full_context_ends_with_length() -> None:
    simulation = Simulation(Limits(max_model_len=8))
    sequence = make_sequence("a", [1] * 5, max_new_tokens=100)
    simulation.add(sequence)
    simulation.run()
    assert (sequence.num_output_tokens, sequence.finish_reason) == (3, FinishReason.LENGTH)


@pytest.mark.parametrize("prompt_logprobs", [None, 0])
def test_no_new_tokens_computes_the_prompt_and_samples_nothing(prompt_logprobs: int | None) -> None:
    simulation = Simulation(Limits(budget=2))
    params = SamplingParams(prompt_logprobs=prompt_logprobs)
    sequence = make_sequence("a", [1, 2, 3], max_new_tokens=0, params=params)
    simulation.add(sequence)
    assert simulation.step() == []
    (update,) = simulation.step()
    assert (update.token_ids, update.finished) == ((), True)
    assert sequence.finish_reason is FinishReason.LENGTH
    scored = [entry.token_id if entry else None for entry in sequence.prompt_logprobs]
    assert scored == ([] if prompt_logprobs is None else [None, 2, 3])


def test_scored_positions_cover_the_prompt_once_and_ignore_cache_hits() -> None:
    scheduler, _ = Limits(budget=6, block_size=2).scheduler()
    scheduler.add(make_sequence("warm", [1] * 8, max_new_tokens=1))
    run_once(scheduler)
    run_once(scheduler)
    sequence = make_sequence("a", [1] * 8, params=SamplingParams(prompt_logprobs=1))
    scheduler.add(sequence)
    ranges: list[range] = []
    for _ in range(3):
        plan = scheduler.schedule()
        ranges.append(plan.scheduled[0].scored)
        entries = [TokenLogprob(1, -1.0)] * len(plan.scheduled[0].scored)
        result = StepResult([0] * len(plan.sampling), prompt_logprobs={"a": entries})
        scheduler.apply(plan, result)
    assert [list(scored) for scored in ranges] == [[0, 1, 2, 3, 4, 5], [6], []]
    assert len(sequence.prompt_logprobs) == 8
    assert sequence.num_cached_tokens == 0


def test_a_preempted_sequence_is_not_scored_twice() -> None:
    """ "b" loses its blocks after its prompt was scored, and may then reuse its own blocks."""
    simulation = Simulation(Limits(num_blocks=9, block_size=2))
    simulation.add(make_sequence("a", [1] * 4, max_new_tokens=9))
    params = SamplingParams(prompt_logprobs=0)
    second = make_sequence("b", [2] * 6, max_new_tokens=8, params=params)
    simulation.add(second)
    simulation.run()
    assert simulation.scheduler.preemptions == second.num_admissions - 1 > 0
    assert [entry and entry.token_id for entry in second.prompt_logprobs] == [None] + [2] * 5


def test_the_latest_arrival_gives_way_and_returns_first() -> None:
    simulation = Simulation(Limits(num_blocks=7, block_size=2, prefix_cache=False))
    first, second, third = (
        make_sequence(name, [number] * 3, max_new_tokens=6)
        for number, name in enumerate("abc", start=1)
    )
    for sequence in (first, second, third):
        simulation.add(sequence)
    order: list[str] = []
    while simulation.live:
        order += [u.sequence.request_id for u in simulation.step() if u.finished]
    assert order == ["a", "b", "c"]
    assert first.num_admissions == 1
    assert third.num_admissions > 1
    assert simulation.scheduler.preemptions > 0


def test_the_runner_is_told_which_table_entries_are_new() -> None:
    scheduler, _ = Limits(block_size=4, budget=6).scheduler()
    scheduler.add(make_sequence("a", [1] * 7, max_new_tokens=9))
    news: list[list[int]] = []
    for _ in range(4):
        item = run_once(scheduler).scheduled[0]
        news.append(item.sequence.block_ids[item.new_blocks_from :])
    assert [len(new) for new in news] == [2, 0, 0, 1]


def test_abort_frees_at_once_wherever_the_sequence_is() -> None:
    scheduler, blocks = Limits(rows=1).scheduler()
    scheduler.add(make_sequence("running", [1] * 5))
    scheduler.add(make_sequence("waiting", [2] * 5))
    run_once(scheduler)
    assert scheduler.abort("waiting")
    assert scheduler.abort("running")
    assert not scheduler.abort("running")
    assert blocks.blocks_used == scheduler.num_running == scheduler.num_waiting == 0
    assert not scheduler.has_work
    assert not scheduler.schedule()


def test_a_result_for_an_aborted_sequence_is_passed_over() -> None:
    scheduler, _ = Limits().scheduler()
    sequences = [make_sequence(name, [1, 2]) for name in "abc"]
    for sequence in sequences:
        scheduler.add(sequence)
    plan = scheduler.schedule()
    scheduler.abort("b")
    again = make_sequence("b", [3])
    scheduler.add(again)
    updates = scheduler.apply(plan, StepResult([10, 11, 12]))
    assert [(u.sequence.request_id, u.token_ids) for u in updates] == [("a", (10,)), ("c", (12,))]
    assert sequences[1].output_token_ids == again.output_token_ids == []


def test_logprobs_travel_with_their_token() -> None:
    scheduler, _ = Limits().scheduler()
    scheduler.add(make_sequence("a", [1]))
    scheduler.add(make_sequence("b", [2]))
    entry = TokenLogprob(9, -0.5)
    updates = scheduler.apply(scheduler.schedule(), StepResult([8, 9], logprobs=[None, entry]))
    assert [update.logprobs for update in updates] == [(), (entry,)]
    assert scheduler.generated_tokens == 2


def test_a_failed_step_leaves_nothing_in_the_cache() -> None:
    scheduler, blocks = Limits().scheduler()
    first = make_sequence("a", [1] * 8)
    scheduler.add(first)
    scheduler.add(make_sequence("b", [1] * 8))
    plan = scheduler.schedule()
    scheduler.abort("b")
    assert scheduler.fail(plan) == [first]
    assert blocks.blocks_used == 0
    assert not scheduler.has_work
    scheduler.add(make_sequence("c", [1] * 8))
    assert shape(scheduler.schedule()) == [("c", 0, 8)]


@pytest.mark.parametrize(
    ("limits", "prompt", "new", "limit"),
    [
        (Limits(max_model_len=8), 9, 0, 8),
        (Limits(max_model_len=8), 8, 1, 8),
        (Limits(num_blocks=3, block_size=4), 8, 2, 9),
        (Limits(num_blocks=3, block_size=4), 9, 0, 8),
    ],
)
def test_what_can_never_fit_is_refused(limits: Limits, prompt: int, new: int, limit: int) -> None:
    scheduler, _ = limits.scheduler()
    with pytest.raises(ContextLengthExceeded) as refused:
        scheduler.add(make_sequence("a", [1] * prompt, max_new_tokens=new))
    assert refused.value.limit == limit
    assert not scheduler.has_work


@pytest.mark.parametrize(
    ("limits", "prompt", "new"),
    [(Limits(max_model_len=8), 8, 0), (Limits(num_blocks=3, block_size=4), 8, 1)],
)
def test_what_just_fits_is_taken(limits: Limits, prompt: int, new: int) -> None:
    simulation = Simulation(limits)
    sequence = make_sequence("a", [1] * prompt, max_new_tokens=new)
    simulation.add(sequence)
    simulation.run()
    assert sequence.num_output_tokens == new


def test_bad_requests_are_refused() -> None:
    scheduler, _ = Limits().scheduler()
    scheduler.add(make_sequence("a", [1]))
    with pytest.raises(InvalidParameter, match="already in use"):
        scheduler.add(make_sequence("a", [1]))
    with pytest.raises(InvalidParameter, match="at least one token"):
        scheduler.add(make_sequence("b", []))


def test_plans_and_results_alternate() -> None:
    scheduler, _ = Limits().scheduler()
    assert not scheduler.schedule()
    scheduler.add(make_sequence("a", [1]))
    plan = scheduler.schedule()
    with pytest.raises(AssertionError, match="no result yet"):
        scheduler.schedule()
    scheduler.apply(plan, StepResult([0]))
    with pytest.raises(AssertionError, match="in order, once each"):
        scheduler.apply(plan, StepResult([0]))


def test_a_token_that_is_being_drawn_is_computed_before_it_is_known() -> None:
    scheduler, _ = Limits(max_plans_ahead=1).scheduler()
    sequence = make_sequence("a", [1, 2], max_new_tokens=3)
    scheduler.add(sequence)
    first, second = scheduler.schedule(), scheduler.schedule()
    assert shape(first) == [("a", 0, 2)] and shape(second) == [("a", 2, 1)]
    scheduler.apply(first, StepResult([3]))
    third = scheduler.schedule()
    assert shape(third) == [("a", 3, 1)]
    scheduler.apply(second, StepResult([0]))
    assert not scheduler.schedule(), "the last token is never computed"
    (update,) = scheduler.apply(third, StepResult([1]))
    assert update.finished and sequence.output_token_ids == [3, 0, 1]
    assert not scheduler.has_work


def test_a_grammar_sees_each_token_before_the_next_is_drawn() -> None:
    scheduler, _ = Limits(max_plans_ahead=1).scheduler()
    scheduler.add(make_sequence("a", [1], params=SamplingParams(grammar=Grammar("json_object"))))
    plan = scheduler.schedule()
    assert not scheduler.schedule()
    scheduler.apply(plan, StepResult([0]))
    assert shape(scheduler.schedule()) == [("a", 1, 1)]


def test_blocks_are_shared_once_all_their_tokens_are_known() -> None:
    scheduler, blocks = Limits(block_size=4, max_plans_ahead=1).scheduler()
    assert blocks.prefix_cache is not None
    for name in "ab":
        scheduler.add(make_sequence(name, [1, 2, 3]))
    plans = [scheduler.schedule(), scheduler.schedule()]
    assert shape(plans[1]) == [("a", 3, 1), ("b", 3, 1)], "both fill their block"
    assert len(blocks.prefix_cache) == 0
    scheduler.apply(plans[0], StepResult([0, 1]))
    scheduler.schedule()
    assert len(blocks.prefix_cache) == 2


def test_a_preempted_sequence_comes_back_when_its_draws_are_known() -> None:
    limits = Limits(num_blocks=5, block_size=2, prefix_cache=False, max_plans_ahead=2)
    scheduler, _ = limits.scheduler()
    younger = make_sequence("b", [2, 2, 2])
    scheduler.add(make_sequence("a", [1, 1, 1]))
    scheduler.add(younger)
    plans = [scheduler.schedule()]
    plans.append(scheduler.schedule())
    assert shape(plans[1]) == [("a", 3, 1), ("b", 3, 1)]
    plans.append(scheduler.schedule())
    assert shape(plans[2]) == [("a", 4, 1)] and younger.row is None
    scheduler.abort("a")
    scheduler.apply(plans[0], StepResult([0, 0]))
    assert not scheduler.schedule(), "one of its tokens is still being drawn"
    scheduler.apply(plans[1], StepResult([0, 1]))
    assert younger.output_token_ids == [0, 1]
    assert shape(scheduler.schedule()) == [("b", 0, 5)]


def test_a_failed_step_takes_those_planned_after_it_along() -> None:
    scheduler, blocks = Limits(max_plans_ahead=1).scheduler()
    scheduler.add(make_sequence("a", [1] * 8))
    first = scheduler.schedule()
    scheduler.add(make_sequence("b", [1] * 8))
    second = scheduler.schedule()
    assert ("b", 4, 4) in shape(second), "it builds on what the first was to store"
    assert [sequence.request_id for sequence in scheduler.fail(first)] == ["a", "b"]
    assert not scheduler.has_work and blocks.blocks_used == 0
    scheduler.add(make_sequence("c", [1] * 8))
    assert shape(scheduler.schedule()) == [("c", 0, 8)]
