"""Laws of the scheduler under random work, against a simulated cache (see simulation.py)."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ContextLengthExceeded
from engine.sampling_params import Grammar, SamplingParams
from engine.scheduling.sequence import Sequence
from tests.engine.scheduling.simulation import (
    EOS,
    VOCABULARY,
    Limits,
    Simulation,
    expected_output,
    make_sequence,
    score,
)


@dataclass(frozen=True)
class Arrival:
    step: int
    prompt: tuple[int, ...]
    max_new_tokens: int
    seed: int
    ignore_eos: bool
    params: SamplingParams

    def sequence(self, index: int) -> Sequence:
        return make_sequence(
            f"r{index}",
            list(self.prompt),
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
            eos=frozenset() if self.ignore_eos else frozenset({EOS}),
            params=self.params,
        )


STEMS = ((), (0, 1, 2, 3, 0, 1, 2, 3, 0, 1), (0, 1, 2, 3, 0, 1, 2, 3, 1, 1, 2), (2,) * 17)
tokens = st.integers(0, VOCABULARY - 1)
prompts = st.builds(
    lambda stem, tail: (*stem, *tail) or (0,),
    st.sampled_from(STEMS),
    st.lists(tokens, max_size=6),
)
sampling = st.builds(
    SamplingParams,
    min_tokens=st.sampled_from((0, 0, 3)),
    presence_penalty=st.sampled_from((0, 0, 0, 1)),
    stop_token_ids=st.sampled_from(((), (), (3,))),
    prompt_logprobs=st.sampled_from((None, None, None, 0)),
    grammar=st.sampled_from((None, None, Grammar("json_object"))),
)
arrivals = st.lists(
    st.builds(
        Arrival,
        step=st.integers(0, 12),
        prompt=prompts,
        max_new_tokens=st.integers(0, 14),
        seed=st.integers(0, 1),  # an odd one repeats itself
        ignore_eos=st.booleans(),
        params=sampling,
    ),
    min_size=1,
    max_size=12,
)
limits = st.builds(
    Limits,
    num_blocks=st.integers(8, 40),
    block_size=st.sampled_from((1, 2, 4, 8)),
    rows=st.integers(1, 6),
    budget=st.integers(1, 24),
    max_model_len=st.integers(20, 40),
    prefix_cache=st.booleans(),
    max_plans_ahead=st.sampled_from((0, 0, 1, 2)),
    speculative_tokens=st.sampled_from((0, 1, 4, 15)),
)
disturbances = st.dictionaries(st.integers(0, 20), st.integers(0, 11), max_size=4)


def play(
    limits: Limits,
    work: list[Arrival],
    aborts: dict[int, int] | None = None,
    late_aborts: dict[int, int] | None = None,
    faults: set[int] | None = None,
) -> tuple[Simulation, dict[str, Sequence]]:
    """Run the work; returns the simulation and the accepted sequences that nobody disturbed."""
    simulation = Simulation(limits)
    undisturbed: dict[str, Sequence] = {}
    last = max(arrival.step for arrival in work)
    while simulation.steps <= last or simulation.live:
        step = simulation.steps
        for index, arrival in enumerate(work):
            if arrival.step == step:
                sequence = arrival.sequence(index)
                try:
                    simulation.add(sequence)
                except ContextLengthExceeded:
                    continue
                undisturbed[sequence.request_id] = sequence
        victim = f"r{(aborts or {}).get(step)}"
        assert simulation.abort(victim) == (undisturbed.pop(victim, None) is not None) or (
            victim in simulation.finished
        )
        if step in (faults or ()):
            for sequence in simulation.fail_step():
                del undisturbed[sequence.request_id]
            continue
        late = f"r{(late_aborts or {}).get(step)}"
        if late in simulation.live:
            del undisturbed[late]
        simulation.step(abort_during=late)
        assert simulation.steps < 5000, "the work never ends"
    assert simulation.blocks.blocks_used == 0
    assert simulation.scheduler.num_running == simulation.scheduler.num_waiting == 0
    return simulation, undisturbed


@settings(max_examples=150, deadline=None)
@given(limits, arrivals, disturbances, disturbances, st.sets(st.integers(0, 20), max_size=2))
def test_every_sequence_gets_what_it_would_get_alone(
    limits: Limits,
    work: list[Arrival],
    aborts: dict[int, int],
    late_aborts: dict[int, int],
    faults: set[int],
) -> None:
    simulation, undisturbed = play(limits, work, aborts, late_aborts, faults)
    for request_id, sequence in undisturbed.items():
        assert simulation.finished[request_id] is sequence
        wanted = expected_output(sequence, limits.max_model_len)
        assert (sequence.output_token_ids, sequence.finish_reason) == wanted
        if sequence.params.prompt_logprobs is not None:
            prompt = sequence.prompt_token_ids
            scores = [score(prompt[: end + 1]) for end in range(1, len(prompt))]
            assert sequence.prompt_logprobs == [None, *scores]


@settings(max_examples=60, deadline=None)
@given(limits, arrivals)
def test_cache_and_memory_pressure_change_no_token(limits: Limits, work: list[Arrival]) -> None:
    outputs: list[dict[str, list[int]]] = []
    for variant in (
        replace(limits, prefix_cache=True),
        replace(limits, prefix_cache=False),
        replace(limits, max_plans_ahead=0, speculative_tokens=0),
        replace(limits, max_plans_ahead=0, speculative_tokens=7),
        replace(limits, max_plans_ahead=1 - limits.max_plans_ahead % 2),
        replace(limits, num_blocks=limits.num_blocks * 50, budget=1000, rows=50),
    ):
        simulation, _ = play(variant, work)
        outputs.append({key: seq.output_token_ids for key, seq in simulation.finished.items()})
    cached, uncached, plain, guessing, other_pace, roomy = outputs
    assert cached == uncached == plain == guessing == other_pace
    assert cached.items() <= roomy.items()


def test_under_steady_pressure_preempted_sequences_wait_for_room_to_grow() -> None:
    """The simulation checks every return; most come back once and finish."""
    draw = random.Random(0)
    simulation = Simulation(Limits(num_blocks=40, rows=12, budget=64, prefix_cache=False))
    for index in range(40):
        prompt = [draw.randrange(VOCABULARY) for _ in range(draw.randrange(5, 25))]
        simulation.add(make_sequence(f"r{index}", prompt, max_new_tokens=draw.randrange(5, 30)))
    simulation.run()
    assert 0 < simulation.scheduler.preemptions < 40
