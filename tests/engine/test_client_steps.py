"""The client over an engine process that only hands out tokens: steps, order, aborts, restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from engine.client import READY, EngineClient
from engine.config import EngineConfig
from engine.process import EngineProcess
from engine.sampling_params import SamplingParams
from engine.types import FinishReason, GenerationRequest, TextDelta
from tests.bench.scripted_server import PacedProcess

WORKER = "tests.bench.scripted_worker"


def run(work: Callable[[EngineClient], Awaitable[None]], kind: type[EngineProcess]) -> None:
    async def scenario() -> None:
        client = EngineClient(EngineConfig(), partial(kind, worker=WORKER))
        await client.start()
        await client.start()  # harmless
        try:
            while client.phase != READY:
                assert not client.phase.startswith("failed"), client.phase
                await asyncio.sleep(0.01)
            await work(client)
        finally:
            await client.stop()

    asyncio.run(asyncio.wait_for(scenario(), 60))


def sample(client: EngineClient, name: str, tokens: int) -> AsyncIterator[TextDelta]:
    params = SamplingParams(max_new_tokens=tokens)
    return client.generate(GenerationRequest(name, (1, 2), params))


def test_every_step_reaches_every_stream_as_a_delta_of_its_own() -> None:
    async def work(client: EngineClient) -> None:
        async def read(name: str) -> list[TextDelta]:
            return [delta async for delta in sample(client, name, 30)]

        for deltas in await asyncio.gather(*(read(f"r-{number}") for number in range(20))):
            assert [delta.num_generated_tokens for delta in deltas] == list(range(1, 31))
            assert all(delta.text for delta in deltas)
            assert deltas[-1].finish_reason is FinishReason.LENGTH

    run(work, PacedProcess)


def test_what_a_slow_reader_misses_is_one_delta() -> None:
    async def work(client: EngineClient) -> None:
        slow = sample(client, "slow", 50)
        quick = [delta async for delta in sample(client, "quick", 50)]
        assert len(quick) == 50
        deltas = [delta async for delta in slow]
        assert len(deltas) == 1
        assert deltas[0].num_generated_tokens == 50
        assert deltas[0].text == "".join(delta.text for delta in quick)

    run(work, PacedProcess)


def test_an_aborted_stream_leaves_the_others_alone() -> None:
    async def work(client: EngineClient) -> None:
        left, kept = sample(client, "left", 10**5), sample(client, "kept", 40)
        await anext(left)
        client.abort("left")
        deltas = [delta async for delta in kept]
        assert deltas[-1].num_generated_tokens == 40
        assert client.stats.running == 1

    run(work, PacedProcess)
