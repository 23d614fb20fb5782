"""Laws of the engine, on a tiny random model: what runs beside a request never changes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core import EngineCore
from engine.ipc import Submit
from engine.sampling_params import SamplingParams
from tests.engine.laws import chosen_logprobs, make_core, run, sampled, tokens

PROMPT = [(7 * n) % 251 for n in range(150)]


@pytest.fixture(scope="module")
def core(model: Path) -> EngineCore:
    return make_core(model)


@pytest.fixture(scope="module")
def alone(model: Path) -> tuple[list[int], list[float]]:
    """The subject's tokens and logprobs in an engine of its own, with nothing cached."""
    outputs = run(make_core(model, prefix_cache=False), [sampled("alone", PROMPT, seed=5)])
    return tokens(outputs["alone"]), chosen_logprobs(outputs["alone"])


def crowd(size: int) -> list[Submit]:
    """Neighbours of all lengths and with all sorts of parameters."""
    return [
        sampled(f"mate-{n}", PROMPT[n % 7 : 5 + 11 * n % 140 + n % 7 + 1], n, count=5 + n % 30)
        if n % 3
        else Submit(
            f"mate-{n}",
            tuple(PROMPT[n : n + 3]),
            SamplingParams(temperature=0, max_new_tokens=n % 17 + 1),
        )
        for n in range(size)
    ]


def test_a_seeded_request_is_the_same_beside_63_others(
    core: EngineCore, alone: tuple[list[int], list[float]]
) -> None:
    mates = crowd(63)
    outputs = run(core, [*mates[:30], sampled("subject", PROMPT, seed=5), *mates[30:]])
    subject = outputs["subject"]
    assert (tokens(subject), chosen_logprobs(subject)) == alone


def test_a_request_id_that_comes_again_starts_anew(core: EngineCore) -> None:
    first, second = (run(core, [sampled("again", PROMPT[:9], seed=3)])["again"] for _ in range(2))
    assert tokens(first) == tokens(second)
    assert chosen_logprobs(first) == chosen_logprobs(second)


def test_a_warm_prefix_cache_changes_nothing(
    core: EngineCore, alone: tuple[list[int], list[float]]
) -> None:
    run(core, [sampled("cold", PROMPT, seed=5)])
    warm = run(core, [sampled("warm", PROMPT, seed=5)])["warm"]
    assert warm[-1].num_cached_tokens == 128  # whole blocks, the last token never among them
    assert (tokens(warm), chosen_logprobs(warm)) == alone


def test_preemption_changes_nothing(model: Path, alone: tuple[list[int], list[float]]) -> None:
    for prefix_cache in (False, True):
        core = make_core(model, kv_cache_tokens=16 * 25, prefix_cache=prefix_cache)
        older = [sampled(f"older-{n}", PROMPT[n:60], seed=n, count=90) for n in range(3)]
        outputs = run(core, [*older, sampled("subject", PROMPT, seed=5)])
        assert core.stats.preemptions > 0, "the cache is too large for this test"
        subject = outputs["subject"]
        assert (tokens(subject), chosen_logprobs(subject)) == alone


@pytest.mark.parametrize("budget", [7, 33, 64, 1024])
def test_chunking_changes_nothing(
    model: Path, alone: tuple[list[int], list[float]], budget: int
) -> None:
    core = make_core(model, max_num_batched_tokens=budget, prefix_cache=False)
    outputs = run(core, [*crowd(3), sampled("subject", PROMPT, seed=5)])
    subject = outputs["subject"]
    assert (tokens(subject), chosen_logprobs(subject)) == alone


def test_prompt_logprobs_equal_those_of_generating_the_same_text(core: EngineCore) -> None:
    generated = run(core, [sampled("generate", PROMPT[:40], seed=9)])["generate"]
    text = PROMPT[:40] + tokens(generated)
    scoring = SamplingParams(max_new_tokens=0, prompt_logprobs=2)
    scored = run(core, [Submit("score", tuple(text), scoring)])["score"]
    assert len(scored) == 1 and scored[0].token_ids == ()
    entries = scored[0].prompt_logprobs
    assert entries is not None and len(entries) == len(text) and entries[0] is None
    assert [entry.logprob for entry in entries[40:] if entry] == chosen_logprobs(generated)


def test_samples_of_one_prompt_share_its_blocks(core: EngineCore) -> None:
    before = core.stats.cached_prompt_tokens
    prompt = [(11 * n + 3) % 251 for n in range(129)]
    outputs = run(core, [sampled(f"n-{j}", prompt, seed=j, count=4) for j in range(4)])
    assert core.stats.cached_prompt_tokens - before == 3 * 128
    assert len({tuple(tokens(output)) for output in outputs.values()}) > 1
    assert core.stats.blocks_used == 0


def test_an_abort_frees_row_and_blocks_at_once(core: EngineCore) -> None:
    for request in crowd(20):
        core.submit(request)
    core.step()
    assert core.stats.blocks_used > 0
    core.abort(f"mate-{n}" for n in range(20))
    assert (core.stats.running, core.stats.waiting, core.stats.blocks_used) == (0, 0, 0)
    assert core.has_work, "the server must hear of the freed blocks"
    assert core.step() is not None
    assert not core.has_work


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_mix_gives_each_request_what_it_gets_alone(
    core: EngineCore, data: st.DataObject
) -> None:
    count = data.draw(st.integers(2, 8))
    requests = []
    for n in range(count):
        start = data.draw(st.integers(0, 100))
        length = data.draw(st.integers(1, 150 - start))
        greedy = data.draw(st.booleans())
        wanted = data.draw(st.integers(1, 20))
        prompt = PROMPT[start : start + length]
        if greedy:
            params = SamplingParams(temperature=0, max_new_tokens=wanted, logprobs=1)
            requests.append(Submit(f"r{n}", tuple(prompt), params))
        else:
            requests.append(sampled(f"r{n}", prompt, seed=n, count=wanted))
    together = run(core, requests)
    for request in requests:
        single = run(core, [request])[request.request_id]
        assert tokens(single) == tokens(together[request.request_id])
        assert chosen_logprobs(single) == chosen_logprobs(together[request.request_id])
