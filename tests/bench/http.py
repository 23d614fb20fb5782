"""What the server alone can stream: real processes over an engine that computes nothing.

An engine process that only hands out tokens (`scripted_worker`) feeds a real server over the real
sockets: taking its messages apart, detokenizing, writing events and TCP are all in the measure.
Every token is an event of its own, which is checked. The server has one processor to itself; the
client and the engine process share the others. Prints one JSON line: tokens per second, and the
processor time that each process spent on one token.

    python -m tests.bench.http [--connections 256] [--tokens 1000] [--kinds chat gemini]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from tests.bench.common import children, cpu_seconds, machine, median
from tests.bench.load import Call, call, closed_loop, run

HOST = "127.0.0.1"
ROUNDS = 3
MODEL = "diglot-mini"
STOP = ["\n\n\n"]  # never comes, but every token is looked at


def completions(tokens: int) -> Call:
    """A plain completion."""
    body = {"model": MODEL, "prompt": "x", "stream": True, "max_tokens": tokens}
    return call(HOST, "/v1/completions", body)


def completions_with_stop(tokens: int) -> Call:
    """A plain completion that has a stop string."""
    body = {"model": MODEL, "prompt": "x", "stream": True, "max_tokens": tokens, "stop": STOP}
    return call(HOST, "/v1/completions", body)


def chat(tokens: int) -> Call:
    """A chat answer, with its usage at the end as most clients ask for it."""
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Tell me a story."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": tokens,
    }
    return call(HOST, "/v1/chat/completions", body)


def gemini(tokens: int) -> Call:
    """The same in the other dialect, as events."""
    body = {
        "contents": [{"role": "user", "parts": [{"text": "Tell me a story."}]}],
        "generationConfig": {"maxOutputTokens": tokens},
    }
    return call(HOST, f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse", body)


KINDS = {
    "completions": completions,
    "completions with a stop string": completions_with_stop,
    "chat": chat,
    "gemini": gemini,
}


@contextlib.contextmanager
def running() -> Iterator[tuple[int, int]]:
    """The server on a processor of its own; its port and its process id."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tests.bench.scripted_server", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        others = set(range(1, os.cpu_count() or 2))
        _pin(server.pid, {0})
        for pid in (os.getpid(), *children(server.pid)):
            _pin(pid, others)
        yield port, server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=20)


def _pin(pid: int, cores: set[int]) -> None:
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), cores)


def measure(kind: str, connections: int, tokens: int) -> dict[str, float]:
    """One round: a token counts when its event has come."""
    with running() as (port, server):
        requests = [KINDS[kind](tokens)] * connections
        run(closed_loop(HOST, port, requests[:8], 8))
        pids = {"server": server, "client": os.getpid(), "engine": children(server)[0]}
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        wall, timelines = run(closed_loop(HOST, port, requests, connections))
        spent = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    assert all(timeline.complete for timeline in timelines)
    total = connections * tokens
    events = sum(min(tokens, len(timeline.events)) for timeline in timelines)
    # The first few of a stream may come as one, while its answer begins.
    assert events > 0.99 * total, f"{total - events} of {total} tokens had no event of their own"
    shares = {f"{name} us per token": 1e6 * seconds / total for name, seconds in spent.items()}
    return {"rate": events / wall, **shares}


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
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for kind in options.kinds:
        rounds = [measure(kind, options.connections, options.tokens) for _ in range(options.rounds)]
        results[kind] = {name: median([each[name] for each in rounds]) for name in rounds[0]}
    line = {"bench": "http", "unit": "streamed tokens/s", "server cores": 1, **machine()}
    line |= {"connections": options.connections, "tokens": options.tokens, "kinds": results}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
