"""Fan-out, collection, failure and abort of one request's samples."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from engine.errors import EngineFault, EngineUnavailable, InvalidRequest, Overloaded
from engine.sampling_params import SamplingParams
from server.admission import Admission
from server.generation import Generation, sample_seed
from tests.fakes import ScriptedEngine

PARAMS = SamplingParams(max_new_tokens=8)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def generation(engine: ScriptedEngine, **fields: Any) -> Generation:
    prompts = fields.pop("prompts", [(97, 98)])
    return Generation(engine, prompts, PARAMS, request_id="r", **fields)


def test_samples_come_back_in_order() -> None:
    engine = ScriptedEngine(reply=lambda request: f"say {request.request_id}")

    async def work() -> None:
        wanted = generation(engine, prompts=[(97,), (98,)], n=2)
        samples = await wanted.collect()
        assert [sample.text for sample in samples] == ["say r-0", "say r-1", "say r-2", "say r-3"]
        assert [sample.prompt_index for sample in samples] == [0, 0, 1, 1]
        assert wanted.usage.prompt_tokens == 2
        assert wanted.usage.completion_tokens == 4 * 8

    run(work())


@pytest.mark.parametrize("n", [1, 3])
def test_deltas_stream_as_they_come_and_the_room_is_given_back(n: int) -> None:
    async def work() -> None:
        admission = Admission(8, 100)
        wanted = generation(ScriptedEngine(), n=n, admission=admission)
        await wanted.start()
        assert (admission.samples, admission.tokens) == (n, 2)
        texts = [""] * n
        async for index, delta in wanted:
            texts[index] += delta.text
        assert texts == ["hello wo"] * n
        assert admission.idle

    run(work())


def test_seeds_keep_the_first_and_spread_the_rest() -> None:
    assert sample_seed(42, 0, 0) == 42
    seeds = {sample_seed(seed, p, j) for seed in (42, 43) for p in range(4) for j in range(4)}
    assert len(seeds) == 32
    assert all(-(2**63) <= seed < 2**63 for seed in seeds)
    assert sample_seed(42, 1, 0) == sample_seed(42, 1, 0)
    assert sample_seed(-(2**63), 3, 5) != sample_seed(2**63 - 1, 3, 5)


@pytest.mark.parametrize("n", [1, 4])
@pytest.mark.parametrize("after", [0, 3])
def test_one_failure_ends_all(n: int, after: int) -> None:
    async def work() -> None:
        fault = EngineFault("broken")
        engine = ScriptedEngine(fail_with=fault, fail_after=after, fail_samples=(n - 1,))
        admission = Admission(8, 100)
        with pytest.raises(EngineFault, match="broken"):
            await generation(engine, n=n, admission=admission).collect()
        assert admission.idle and not engine.open
        assert sorted(engine.aborted) == [f"r-{i}" for i in range(n)][: len(engine.aborted)]

    run(work())


def test_a_refused_sample_takes_the_submitted_ones_back() -> None:
    class Picky(ScriptedEngine):
        def generate(self, request: Any) -> Any:
            if len(self.requests) == 2:
                raise EngineUnavailable("restarting")
            return super().generate(request)

    async def work() -> None:
        engine, admission = Picky(), Admission(8, 100)
        with pytest.raises(EngineUnavailable):
            await generation(engine, n=4, admission=admission).start()
        assert sorted(engine.aborted) == ["r-0", "r-1"]
        assert admission.idle

    run(work())


@pytest.mark.parametrize("n", [1, 3])
def test_abort_never_awaits_and_may_repeat(n: int) -> None:
    async def work() -> None:
        engine = ScriptedEngine(gate=asyncio.Event())
        admission = Admission(8, 100)
        wanted = generation(engine, n=n, admission=admission)
        await wanted.start()
        wanted.abort()
        wanted.abort()
        assert len(engine.aborted) == n and admission.idle
        assert [item async for item in wanted] == []

    run(work())


def test_abort_spares_what_has_finished() -> None:
    async def work() -> None:
        engine = ScriptedEngine(reply=lambda r: "a" if r.request_id == "r-0" else "abcdef")
        wanted = generation(engine, n=2)
        await wanted.start()
        async for index, delta in wanted:
            if index == 0 and delta.finish_reason is not None:
                break
        wanted.abort()
        assert engine.aborted == ["r-1"]

    run(work())


def test_cancelled_start_leaves_nothing() -> None:
    async def work() -> None:
        engine = ScriptedEngine(first_delay=60)
        admission = Admission(8, 100)
        task = asyncio.create_task(generation(engine, n=2, admission=admission).start())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(engine.aborted) == 2 and admission.idle

    run(work())


def test_an_engine_that_falls_silent_is_a_fault() -> None:
    class Silent(ScriptedEngine):
        def deltas(self, request: Any) -> Any:
            return super().deltas(request)[:2]

    async def work() -> None:
        for n in (1, 2):
            with pytest.raises(EngineFault):
                await generation(Silent(), n=n).collect()

    run(work())


def test_cached_tokens_are_those_of_earlier_requests() -> None:
    class Warm(ScriptedEngine):
        def generate(self, request: Any) -> Any:
            self.cached_tokens = 0 if request.request_id == "r-0" else 2
            return self._run_with(self.deltas(request), request)

        async def _run_with(self, deltas: Any, request: Any) -> Any:
            for delta in deltas:
                yield delta

    async def work() -> None:
        wanted = generation(Warm(), n=3)
        await wanted.collect()
        assert wanted.usage.cached_tokens == 0

    run(work())


def test_admission_counts_samples_and_tokens() -> None:
    admission = Admission(4, 10)
    first = admission.admit(3, 5)
    with pytest.raises(Overloaded) as full:
        admission.admit(2, 1)
    assert 1 <= full.value.retry_after <= 60
    with pytest.raises(Overloaded):
        admission.admit(1, 6)
    second = admission.admit(1, 5)
    for ticket in (first, first, second):
        ticket.release()
    assert (admission.samples, admission.tokens, admission.idle) == (0, 0, True)
    with pytest.raises(InvalidRequest):
        admission.admit(5, 1)
    with pytest.raises(InvalidRequest):
        admission.admit(1, 11)


def test_admission_closes_and_tells_when_it_is_empty() -> None:
    admission = Admission(4, 10)
    ticket, calls = admission.admit(1, 1), []
    admission.close("draining", lambda: calls.append("idle"))
    with pytest.raises(EngineUnavailable, match="draining"):
        admission.admit(1, 1)
    assert calls == []
    ticket.release()
    assert calls == ["idle"]
