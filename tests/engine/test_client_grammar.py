"""Grammars through a real engine process: compiled there, and refused in the client's own types."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path

import pytest

from engine.client import READY, EngineClient
from engine.config import EngineConfig
from engine.errors import InvalidParameter
from engine.sampling_params import Grammar, SamplingParams
from engine.types import FinishReason, GenerationRequest, TextDelta
from tests.tiny_models import make_tiny_model

SECONDS = 60


async def started(model: Path) -> EngineClient:
    config = EngineConfig(model=str(model), device="cpu", threads=1, kv_cache_tokens=8192)
    client = EngineClient(config)
    await client.start()
    began = time.monotonic()
    while client.phase != READY:
        assert time.monotonic() - began < SECONDS, client.phase
        await asyncio.sleep(0.02)
    return client


async def collect(client: EngineClient, name: str, **params: object) -> list[TextDelta]:
    made = SamplingParams(seed=1, **params)  # pyright: ignore[reportArgumentType]
    stream = client.generate(GenerationRequest(name, tuple(range(40)), made))
    return [delta async for delta in stream]


async def scenario(client: EngineClient) -> None:
    date = Grammar("regex", "on [0-9]{4}-[0-9]{2}-[0-9]{2}, at last")
    began = time.monotonic()
    deltas = await collect(client, "idle", grammar=date)  # an idle engine is woken
    assert time.monotonic() - began < SECONDS / 2
    text = "".join(delta.text for delta in deltas)
    assert re.fullmatch(date.text, text)
    assert deltas[-1].finish_reason is FinishReason.STOP
    assert deltas[-1].num_generated_tokens == len(text) + 1

    deltas = await collect(client, "stop", grammar=date, stop=(", a",))
    assert re.fullmatch("on [0-9]{4}-[0-9]{2}-[0-9]{2}", "".join(d.text for d in deltas))
    assert deltas[-1].stop_reason == ", a"
    assert deltas[-1].num_generated_tokens == len("on 2000-01-01, a")

    neighbour = asyncio.create_task(collect(client, "on", ignore_eos=True, max_new_tokens=300))
    automaton = json.dumps({"type": "integer", "multipleOf": 999_983})
    for grammar in (Grammar("regex", "(["), Grammar("json_schema", automaton)):
        with pytest.raises(InvalidParameter) as refused:
            await collect(client, "hostile", grammar=grammar)
        assert refused.value.parameter == "grammar"
        assert refused.value.value == grammar
    assert (await neighbour)[-1].num_generated_tokens == 300


@pytest.mark.e2e
def test_grammars_through_an_engine_process(tmp_path: Path) -> None:
    async def play() -> None:
        client = await started(make_tiny_model(tmp_path))
        try:
            await scenario(client)
        finally:
            await client.stop()

    asyncio.run(play())
