"""Settings, the command line, and how the server leaves."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic_settings import CliApp

from server.__main__ import main
from server.serve import DrainingServer, welcome
from server.settings import ServerSettings, engine_config
from tests.fakes import ScriptedEngine
from tests.server.client import MODEL


def test_flags_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGLOT_MAX_BODY_BYTES", "5")
    monkeypatch.setenv("DIGLOT_API_KEY", "a, b")
    monkeypatch.setenv("DIGLOT_PORT", "1")
    arguments = ["--port", "2", "--no-prefix-cache", "--served-model-name", "x,y"]
    settings = CliApp.run(ServerSettings, cli_args=arguments)
    assert (settings.port, settings.max_body_bytes, settings.api_keys()) == (2, 5, ("a", "b"))
    assert settings.model_names == ("x", "y")
    assert engine_config(settings).served_name == "x"
    assert not engine_config(settings).prefix_cache


def test_names_come_from_the_model(tmp_path: Path) -> None:
    assert ServerSettings().model_names == ("diglot-mini",)
    assert ServerSettings(model=str(tmp_path / "llama")).model_names == ("llama",)


def test_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("diglot ")
    assert main([]) == 2
    assert main(["serve", "--max-body-bytes", "many"]) == 2
    assert "--max-body-bytes" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        main(["serve", "--help"])
    assert left.value.code == 0
    assert "--max-queued-requests" in capsys.readouterr().out


def test_the_welcome_shows_a_call_per_dialect() -> None:
    text = welcome("http://h:1", "m", with_key=True)
    for part in (
        "/v1/chat/completions",
        "/v1beta/models/m:generateContent",
        "openai.OpenAI",
        "KEY",
    ):
        assert part in text
    program = text.partition('python -c "')[2].partition('"\n')[0]
    ast.parse(program)  # it runs as pasted
    assert "Bearer" not in welcome("http://h:1", "m", with_key=False)


async def started(engine: ScriptedEngine, **settings: Any) -> tuple[DrainingServer, Any, str]:
    server = DrainingServer(engine, ServerSettings(port=0, **settings))
    running = asyncio.create_task(server._serve())  # pyright: ignore[reportPrivateUsage]
    while not server.started:
        await asyncio.sleep(0.01)
    return server, running, server.url


def test_the_port_opens_before_the_engine_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        engine = ScriptedEngine(phase="loading weights")
        server, running, url = await started(engine)
        async with httpx.AsyncClient(base_url=url) as http:
            loading = await http.get("/health")
            assert (loading.status_code, loading.json()["phase"]) == (503, "loading weights")
            assert not capsys.readouterr().out
            engine.phase = "ready"
            await asyncio.sleep(0.3)
            assert (await http.get("/health")).status_code == 200
        server.drain()
        await running
        assert (engine.started, engine.stopped) == (1, 1)

    asyncio.run(work())
    assert f"diglot serves {MODEL}" in capsys.readouterr().out


def test_the_server_leaves_with_an_engine_that_gave_up() -> None:
    async def work() -> None:
        engine = ScriptedEngine(phase="loading weights")
        server, running, _ = await started(engine)
        assert not server.engine_failed
        engine.phase = "failed: no such model"
        await running
        assert server.engine_failed

    asyncio.run(work())


def test_draining_finishes_what_runs_and_refuses_the_rest() -> None:
    body = {"model": MODEL, "prompt": "a", "stream": True}

    async def work() -> None:
        engine = ScriptedEngine(delay=0.05)
        server, running, url = await started(engine)
        async with httpx.AsyncClient(base_url=url) as http:
            open_one = asyncio.create_task(http.post("/v1/completions", json=body))
            while not engine.open:
                await asyncio.sleep(0.01)
            server.drain()
            await asyncio.sleep(0.05)
            refused = await http.post("/v1/completions", json=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
            reply = await open_one
            assert "error" not in reply.text and reply.text.endswith("data: [DONE]\n\n")
        await running
        assert engine.aborted == []

    asyncio.run(work())


def test_draining_ends_what_takes_too_long() -> None:
    class Stoppable(ScriptedEngine):
        async def stop(self) -> None:
            await super().stop()
            assert self.gate is not None
            self.gate.set()

    async def work() -> None:
        engine = Stoppable(gate=asyncio.Event())
        server, running, url = await started(engine, drain_seconds=0.1)
        body = {"model": MODEL, "prompt": "a", "stream": True}
        async with httpx.AsyncClient(base_url=url) as http:
            open_one = asyncio.create_task(http.post("/v1/completions", json=body))
            while not engine.open:
                await asyncio.sleep(0.01)
            server.drain()
            assert (await open_one).text.endswith("data: [DONE]\n\n")
        await running
        assert engine.stopped >= 1

    asyncio.run(work())
