"""A client that leaves frees its slot, whatever it was waiting for. Over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.requests import Request

from engine.errors import EngineFault
from server.settings import ServerSettings
from server.sse import ClientGone, EventStream, ping, run_until_disconnect
from tests.fakes import ScriptedEngine
from tests.server.client import MODEL, live_server


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def send(url: str, **fields: Any) -> socket.socket:
    """Post a chat request on a bare socket, and do not read."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "a"}], **fields}
    data = json.dumps(body).encode()
    address = urlsplit(url)
    client = socket.create_connection((address.hostname, address.port))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    client.sendall(head.encode() + data)
    return client


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("phase", ["before the first token", "while it runs"])
def test_f74_leaving_frees_the_slot(n: int, stream: bool, phase: str) -> None:
    engine = ScriptedEngine(reply="x" * 400, delay=0.05)
    if phase.startswith("before"):
        engine.first_delay = 60
    with live_server(engine) as url:
        client = send(url, n=n, stream=stream)
        if stream and phase.startswith("while"):
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert wait_until(lambda: len(engine.open) == n)
        client.close()
        assert wait_until(lambda: not engine.open, seconds=1)
        assert len(engine.aborted) == n


def test_f74_leaving_while_the_server_cannot_write() -> None:
    engine = ScriptedEngine(reply=lambda request: "x" * 10_000, max_model_len=10**6)
    with live_server(engine) as url:
        client = send(url, stream=True, logprobs=True, top_logprobs=20)
        assert client.recv(100).startswith(b"HTTP/1.1 200")
        seen = -1
        while seen != engine.produced:  # until all buffers between us are full
            seen = engine.produced
            time.sleep(0.5)
        assert engine.open
        client.close()
        assert wait_until(lambda: not engine.open, seconds=1)


def test_a_read_stream_aborts_nothing() -> None:
    engine = ScriptedEngine()
    with live_server(engine) as url:
        body = {"model": MODEL, "prompt": "a", "stream": True}
        text = httpx.post(f"{url}/v1/completions", json=body).text
        assert text.endswith("data: [DONE]\n\n")
        assert engine.aborted == []


def test_f77_silence_is_filled_with_comments() -> None:
    engine = ScriptedEngine(reply="abc", delay=0.3)
    with live_server(engine, ServerSettings(keep_alive_seconds=0.1)) as url:
        body = {"model": MODEL, "prompt": "a", "stream": True}
        blocks = httpx.post(f"{url}/v1/completions", json=body).text.split("\n\n")
    assert ": ping" in blocks
    assert all(block.startswith("data: ") for block in blocks if block not in ("", ": ping"))


def test_f85_nothing_is_said_before_the_first_token() -> None:
    engine = ScriptedEngine(first_delay=0.3)
    with live_server(engine) as url, httpx.Client() as http:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "a"}], "stream": True}
        started = time.monotonic()
        with http.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            first = next(response.iter_raw())
        assert time.monotonic() - started >= 0.3
        assert b'"role":"assistant"' in first


async def never_receive() -> Any:
    await asyncio.Event().wait()


@pytest.mark.parametrize("end", ["finished", "failed", "cancelled", "blocked"])
def test_the_response_itself_aborts(end: str) -> None:
    calls: list[str] = []
    sent: list[Any] = []

    async def frames() -> AsyncIterator[bytes]:
        yield b"one"
        if end == "failed":
            raise EngineFault("broken")
        if end == "cancelled":
            await asyncio.Event().wait()

    async def send_message(message: Any) -> None:
        sent.append(message)
        if end == "blocked" and message.get("body"):
            await asyncio.Event().wait()

    async def work() -> None:
        response = EventStream(
            frames(),
            abort=lambda: calls.append("abort"),
            error_frames=lambda error: [str(error).encode(), b"end"],
            keep_alive=ping,
        )
        task = asyncio.create_task(response({}, never_receive, send_message))
        await asyncio.sleep(0.05)
        if end in ("cancelled", "blocked"):
            assert calls == []
            task.cancel()
            await asyncio.wait([task])
        else:
            await task
        assert calls == ["abort"]

    asyncio.run(work())
    bodies = [message["body"] for message in sent[1:]]
    expected = {"finished": [b"one", b""], "failed": [b"one", b"broken", b"end", b""]}
    assert bodies == expected.get(end, [b"one"])


@pytest.mark.parametrize("gone", [False, True])
def test_plain_answers_race_against_the_client(gone: bool) -> None:
    calls: list[str] = []

    async def receive() -> Any:
        if not gone:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def answer() -> str:
        await asyncio.sleep(60 if gone else 0)
        return "done"

    async def work() -> str:
        request = Request({"type": "http"}, receive)
        return await run_until_disconnect(request, answer(), lambda: calls.append("abort"))

    if gone:
        with pytest.raises(ClientGone):
            asyncio.run(work())
    else:
        assert asyncio.run(work()) == "done"
    assert calls == (["abort"] if gone else [])


def test_a_plain_answer_that_fails_leaves_nothing_running() -> None:
    calls: list[str] = []

    async def answer() -> None:
        raise EngineFault("broken")

    async def work() -> None:
        request = Request({"type": "http"}, never_receive)
        await run_until_disconnect(request, answer(), lambda: calls.append("abort"))

    with pytest.raises(EngineFault):
        asyncio.run(work())
    assert calls == ["abort"]
