"""A cheap closed-loop streaming client: it shares the processor with the server it measures.

Counts `data: ` events in the raw bytes of `/v1/completions` streams; knows nothing of JSON.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from tests.bench.common import percentile


@dataclass
class Timeline:
    """When each event of one stream arrived, in seconds after the request was sent."""

    events: list[float] = field(default_factory=list)
    tail: bytes = b""

    @property
    def complete(self) -> bool:
        """Whether the last event said why the sample ended; not every server sends [DONE]."""
        return b'"finish_reason":"' in self.tail


async def stream(host: str, port: int, body: dict[str, Any]) -> Timeline:
    """One streamed completion."""
    reader, writer = await asyncio.open_connection(host, port)
    payload = json.dumps(body).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n"
    )
    timeline = Timeline()
    began = time.perf_counter()
    writer.write(head.encode() + payload)
    while data := await reader.read(65536):
        now = time.perf_counter() - began
        timeline.events += [now] * data.count(b"data: {")
        timeline.tail = (timeline.tail + data)[-1024:]
    writer.close()
    return timeline


async def closed_loop(
    host: str, port: int, bodies: list[dict[str, Any]], concurrency: int
) -> tuple[float, list[Timeline]]:
    """All bodies, `concurrency` at a time; returns the wall time and every timeline."""
    queue = list(reversed(bodies))
    timelines: list[Timeline] = []

    async def client() -> None:
        while queue:
            timelines.append(await stream(host, port, queue.pop()))

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return time.perf_counter() - began, timelines


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
    return {
        "throughput": sum(counts) / wall,
        "ttft_p50": percentile(first, 0.5),
        "ttft_p99": percentile(first, 0.99),
        "itl_p50": percentile(gaps, 0.5),
        "itl_p99": percentile(gaps, 0.99),
    }
