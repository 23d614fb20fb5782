"""Laws of speculative decoding, on a tiny random model: guesses change neither tokens nor logprobs,
and are made."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core import EngineCore
from engine.ipc import SequenceOutput, Submit
from engine.sampling_params import Grammar, SamplingParams
from engine.types import TokenLogprob
from tests.engine.laws import make_core, run, sampled, tokens

MOST = 7
LINE = [(7 * n) % 251 for n in range(30)]
PROMPT = LINE * 4


@pytest.fixture(scope="module")
def plain(model: Path) -> EngineCore:
    return make_core(model, threads=1)


@pytest.fixture(scope="module")
def guessing(model: Path) -> EngineCore:
    return make_core(model, threads=1, speculative_tokens=MOST)


def repeating(request_id: str, *, seed: int = 0, count: int = 60, **fields: object) -> Submit:
    """A request whose text comes to repeat itself. At this temperature the tiny model mostly does
    so, and now and then does not."""
    controls: dict[str, object] = {"temperature": 0.25, "ignore_eos": True, "logprobs": 2, **fields}
    params = SamplingParams(seed=seed, max_new_tokens=count, **controls)  # pyright: ignore[reportArgumentType]
    return Submit(request_id, tuple(PROMPT), params)


def same(core: EngineCore, plain: EngineCore, requests: list[Submit]) -> None:
    """Both give each request the same tokens, log-probabilities and end."""
    ours, theirs = run(core, requests), run(plain, requests)
    for request in requests:
        mine, wanted = ours[request.request_id], theirs[request.request_id]
        assert tokens(mine) == tokens(wanted)
        assert logprobs(mine) == logprobs(wanted)
        assert mine[-1].finish_reason == wanted[-1].finish_reason
        assert mine[-1].stop_token_id == wanted[-1].stop_token_id


def logprobs(outputs: list[SequenceOutput]) -> list[TokenLogprob]:
    return [entry for output in outputs for entry in output.logprobs]


def accepted(core: EngineCore) -> int:
    return core.stats.accepted_draft_tokens


@pytest.mark.parametrize("temperature", [0, 0.25, 1])
def test_guesses_change_nothing(
    plain: EngineCore, guessing: EngineCore, temperature: float
) -> None:
    before = guessing.stats
    same(guessing, plain, [repeating("alone", count=120, temperature=temperature)])
    after = guessing.stats
    right = after.accepted_draft_tokens - before.accepted_draft_tokens
    assert 0 < right < 120
    assert right <= after.draft_tokens - before.draft_tokens
    assert plain.stats.draft_tokens == 0


def test_each_right_guess_saves_a_step(model: Path) -> None:
    core = make_core(model, threads=1, speculative_tokens=MOST)
    outputs = run(core, [repeating("greedy", count=120, temperature=0)])["greedy"]
    assert core.stats.steps == 120 - accepted(core) < 60
    assert len(outputs) == core.stats.steps
    assert max(len(output.token_ids) for output in outputs) == MOST + 1


def test_company_changes_nothing(plain: EngineCore, guessing: EngineCore) -> None:
    before = accepted(guessing)
    grammar = SamplingParams(grammar=Grammar("regex", "[ab]{9}"), seed=1, max_new_tokens=20)
    mates = [
        Submit("grammar", tuple(PROMPT), grammar),
        sampled("penalties", PROMPT, seed=2, count=40),
        repeating("greedy", temperature=0, logprobs=None),
        repeating("truncated", top_k=20, top_p=0.9, min_p=0.01, logit_bias={3: 2.0}),
        repeating("late end", ignore_eos=False, min_tokens=30, stop_token_ids=(*range(200),)),
    ]
    same(guessing, plain, [*mates, repeating("subject", seed=5)])
    assert accepted(guessing) > before


def test_a_warm_prefix_cache_changes_nothing(plain: EngineCore, guessing: EngineCore) -> None:
    first = run(guessing, [repeating("first", seed=6)])["first"]
    text = (*PROMPT, *tokens(first))
    params = SamplingParams(seed=7, temperature=0.25, max_new_tokens=40, logprobs=2)
    again = Submit("again", text, params)
    same(guessing, plain, [repeating("first", seed=6), again])
    warm = run(guessing, [again])["again"]
    assert warm[-1].num_cached_tokens > len(PROMPT), "blocks that guesses filled are shared"


def test_preemption_changes_nothing(model: Path, plain: EngineCore) -> None:
    for prefix_cache in (False, True):
        core = make_core(
            model,
            threads=1,
            kv_cache_tokens=16 * 25,
            prefix_cache=prefix_cache,
            speculative_tokens=MOST,
        )
        same(core, plain, [repeating(f"r{n}", seed=n, count=60) for n in range(4)])
        assert core.stats.preemptions > 0, "the cache is too large for this test"
        assert accepted(core) > 0
        assert core.stats.blocks_used == 0


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_mix_gives_each_request_what_it_gets_without_guesses(
    plain: EngineCore, guessing: EngineCore, data: st.DataObject
) -> None:
    requests = [
        repeating(
            f"r{n}",
            seed=data.draw(st.integers(0, 99)),
            count=data.draw(st.integers(1, 40)),
            temperature=data.draw(st.sampled_from((0, 0.2, 0.4))),
            min_tokens=data.draw(st.sampled_from((0, 20))),
            ignore_eos=data.draw(st.booleans()),
            stop_token_ids=data.draw(st.sampled_from(((), tuple(range(100))))),
            logprobs=data.draw(st.sampled_from((None, 1))),
        )
        for n in range(data.draw(st.integers(1, 8)))
    ]
    same(guessing, plain, requests)
