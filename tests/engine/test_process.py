"""The engine process's life, seen from the server's side."""

from __future__ import annotations

import asyncio

import pytest

from engine.config import EngineConfig
from engine.process import EngineProcess


def test_a_process_that_is_still_loading_is_ended_without_a_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("engine.process._STOP_SECONDS", 10**6)

    async def scenario() -> None:
        process = EngineProcess(EngineConfig(), "tests.engine.deaf_worker")
        await process.start()
        await process.stop()

    asyncio.run(asyncio.wait_for(scenario(), 60))
