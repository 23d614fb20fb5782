"""What the HTTP side alone can stream: a real server process over an engine that computes nothing.

The engine hands every open stream one token a step and waits until all have taken theirs, so that
each token is an event of its own; detokenizing, writing events and the sockets are real. The
server has one processor to itself, the client another. Prints one JSON line.

    python -m tests.bench.http [--connections 256] [--tokens 200]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from engine import EMBEDDED_MODEL, EngineStats, FinishReason, GenerationRequest, ModelCard
from engine.text.output import OutputAssembler
from engine.text.tokenizer import load_tokenizer
from engine.types import Prompt, TextDelta
from server.app import create_app
from server.settings import ServerSettings
from tests.bench.common import machine, median
from tests.bench.load import closed_loop

HOST = "127.0.0.1"
ROUNDS = 3


class Stream:
    """One sample: a token whenever the engine steps."""

    def __init__(self, engine: SteppingEngine, request: GenerationRequest) -> None:
        self.token: asyncio.Future[int] | None = None
        self.waiting = False
        self._engine = engine
        self._request = request
        self._assembler = OutputAssembler(engine.tokenizer, request.params)
        self._count = 0

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> TextDelta:
        last = self._request.params.max_new_tokens or 16
        if self._count == last:
            raise StopAsyncIteration
        self.token = asyncio.get_running_loop().create_future()
        self.waiting = True
        self._engine.wake.set()
        token = await self.token
        self._count += 1
        finish = FinishReason.LENGTH if self._count == last else None
        made = self._assembler.push((token,), finish=finish)
        if finish is not None:
            self._engine.abort(self._request.request_id)
        return TextDelta(text=made.text, finish_reason=finish, num_generated_tokens=self._count)


class SteppingEngine:
    """Implements `engine.interface.Engine` without a model."""

    phase = "ready"
    stats = EngineStats()

    def __init__(self) -> None:
        self.tokenizer = load_tokenizer(EMBEDDED_MODEL)
        self.model = ModelCard(
            id="diglot-mini",
            created=0,
            max_model_len=10**6,
            vocab_size=self.tokenizer.vocab_size,
            fingerprint="fp_none",
        )
        self.wake = asyncio.Event()
        self._ids = self.tokenizer.encode("Once upon a time there was a little dog. " * 3)
        self._streams: dict[str, Stream] = {}
        self._task: asyncio.Task[None] | None = None

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        return tuple(self._ids[:8])

    def decode(self, token_ids: tuple[int, ...]) -> str:
        return self.tokenizer.decode(token_ids)

    def token_bytes(self, token_id: int) -> bytes:
        return self.tokenizer.token_bytes(token_id)

    def is_special(self, token_id: int) -> bool:
        return self.tokenizer.is_special(token_id)

    def generate(self, request: GenerationRequest) -> AsyncIterator[TextDelta]:
        stream = self._streams[request.request_id] = Stream(self, request)
        return stream

    def abort(self, request_id: str) -> None:
        self._streams.pop(request_id, None)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._steps())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _steps(self) -> None:
        number = 0
        while True:
            await self.wake.wait()
            self.wake.clear()
            streams = list(self._streams.values())
            if not all(stream.waiting for stream in streams):
                continue
            token = self._ids[number % len(self._ids)]
            number += 1
            for stream in streams:
                stream.waiting = False
                if stream.token is not None:
                    stream.token.set_result(token)


def serve(port: int) -> None:
    """The server process."""
    settings = ServerSettings(max_num_sequences=4096, log_level="error")
    app = create_app(SteppingEngine(), settings)
    options: dict[str, Any] = {"loop": "uvloop", "http": "httptools", "access_log": False}
    uvicorn.run(app, host=HOST, port=port, log_level="error", **options)


def measure(connections: int, tokens: int) -> float:
    """Streamed tokens per second of one round."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.bench.http", "--serve", str(port)]
    server = subprocess.Popen(command)
    try:
        os.sched_setaffinity(server.pid, {0})
        os.sched_setaffinity(0, set(range(1, os.cpu_count() or 2)))
        _wait(port)
        body = {"model": "diglot-mini", "prompt": "x", "stream": True, "max_tokens": tokens}
        bodies = [body] * connections
        wall, timelines = asyncio.run(closed_loop(HOST, port, bodies, connections))
        assert all(timeline.complete for timeline in timelines)
        assert sum(len(timeline.events) for timeline in timelines) >= connections * tokens
        return connections * tokens / wall
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=20)


def _wait(port: int) -> None:
    while True:
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1)
            return
        except OSError:
            time.sleep(0.05)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    rates = [measure(options.connections, options.tokens) for _ in range(options.rounds)]
    line = {"bench": "http", "unit": "streamed tokens/s", "server cores": 1, **machine()}
    line |= {"connections": options.connections, "tokens": options.tokens, "rate": median(rates)}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
