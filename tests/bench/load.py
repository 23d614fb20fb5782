"""A cheap streaming client: it shares the processor with the server it measures.

Counts the events in the raw bytes of a stream, in either dialect; knows nothing of JSON. Closed
loop: a fixed number of requests is open at any time. Open loop: requests come at their own times,
whether or not the server keeps up, and a late start counts as waiting.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop

from tests.bench.common import percentile

EVENT = b"data: {"
LEVELS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True)
class Call:
    """One request, ready to be sent."""

    payload: bytes


def call(host: str, path: str, body: dict[str, Any]) -> Call:
    """A streamed POST that closes its connection at the end."""
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    return Call(head.encode() + data)


@dataclass
class Timeline:
    """When each event of one stream arrived, in seconds after the request was due."""

    events: list[float] = field(default_factory=list)
    tail: bytes = b""

    @property
    def complete(self) -> bool:
        """Whether the last event said why the sample ended; not every server sends [DONE]."""
        return b'"finish_reason":"' in self.tail or b'"finishReason":"' in self.tail


class _Reader(asyncio.Protocol):
    """Reads one answer until the server closes."""

    def __init__(self, payload: bytes, due: float) -> None:
        self.timeline = Timeline()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._payload = payload
        self._due = due
        self._cut = b""  # the start of an event whose rest comes with the next read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.WriteTransport", transport).write(self._payload)

    def data_received(self, data: bytes) -> None:
        count = (self._cut + data).count(EVENT)
        self._cut = data[-(len(EVENT) - 1) :]
        if count:
            self.timeline.events += [time.perf_counter() - self._due] * count
        self.timeline.tail = data if len(data) >= 1024 else (self.timeline.tail + data)[-1024:]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def stream(host: str, port: int, request: Call, due: float | None = None) -> Timeline:
    """One streamed answer; `due` is when it should have begun, by `time.perf_counter`."""
    began = time.perf_counter() if due is None else due
    loop = asyncio.get_running_loop()
    _, reader = await loop.create_connection(lambda: _Reader(request.payload, began), host, port)
    await reader.ended
    return reader.timeline


async def closed_loop(
    host: str, port: int, requests: Sequence[Call], concurrency: int
) -> tuple[float, list[Timeline]]:
    """All requests, `concurrency` at a time; returns the wall time and every timeline."""
    queue = list(reversed(requests))
    timelines: list[Timeline] = []

    async def client() -> None:
        while queue:
            timelines.append(await stream(host, port, queue.pop()))

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return time.perf_counter() - began, timelines


async def open_loop(
    host: str, port: int, requests: Sequence[Call], rate: float, seed: int = 0
) -> tuple[float, list[Timeline]]:
    """All requests as a Poisson process of `rate` a second, the same for the same seed."""
    gaps = random.Random(seed)
    began = time.perf_counter()
    due = began
    tasks: list[asyncio.Task[Timeline]] = []
    for request in requests:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(stream(host, port, request, due)))
        due += gaps.expovariate(rate)
    timelines = await asyncio.gather(*tasks)
    return time.perf_counter() - began, timelines


def run(
    work: Coroutine[Any, Any, tuple[float, list[Timeline]]], *, seconds: float | None = None
) -> tuple[float, list[Timeline]]:
    """Run the load on the cheapest loop at hand; `TimeoutError` when it takes too long."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(work, seconds))


def figures(wall: float, timelines: list[Timeline], tokens: int | None) -> dict[str, float]:
    """Throughput in tokens per second; latencies in milliseconds.

    `tokens` is what each request generates; None counts an event as a token, the last one, which
    only says why it ended, excepted.
    """
    assert all(timeline.complete for timeline in timelines), "a stream broke off"
    first = [timeline.events[0] * 1e3 for timeline in timelines]
    gaps = [
        (late - early) * 1e3
        for timeline in timelines
        for early, late in zip(timeline.events, timeline.events[1:], strict=False)
    ]
    counts = [len(timeline.events) - 1 if tokens is None else tokens for timeline in timelines]
    result = {"throughput": sum(counts) / wall}
    for name, values in (("ttft", first), ("itl", gaps)):
        result |= {f"{name}_{level}": percentile(values, share) for level, share in LEVELS.items()}
    return result
