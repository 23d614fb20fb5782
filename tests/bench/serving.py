"""HTTP streaming at several concurrencies and arrival rates, beside a peer server.

Greedy, the same lengths, float32, the same weights and threads; every server runs alone while it
is measured, and the servers take turns. Closed loop: so many requests open at any time. Open loop:
requests arrive as a seeded Poisson process at shares of what the closed loop has reached. For us
alone also: prompts that share a long beginning, without and with the prefix cache, and long
prompts among short ones. Prints one JSON line: time to first token, inter-token latency and
throughput, our ratio to the peer, what the engine alone does with the same requests without HTTP,
and the processor time of client, server and engine process per token.

    python -m tests.bench.serving [--models embedded 135m] [--concurrency 1 8 32] [--no-peers]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from engine.config import EngineConfig
from engine.text.tokenizer import load_tokenizer
from tests.bench import serving_requests as make
from tests.bench.alone import EngineAlone
from tests.bench.common import (
    THREADS,
    children,
    cpu_seconds,
    interleave,
    machine,
    peer_note,
)
from tests.bench.load import Call, Timeline, closed_loop, figures, open_loop, run
from tests.bench.shapes import model_directory

HOST = "127.0.0.1"
NEW_TOKENS = 48
MAX_BATCHED_TOKENS = 4096
LOADS = (0.5, 0.8)  # arrival rates, as shares of the requests per second of the closed loop
ROUNDS = 3
STARTUP_SECONDS = 120
FIRST_ANSWER_SECONDS = 90

Load = Callable[[int], tuple[float, list[Timeline]]]
"""Sends its requests to a port; wall time and timelines."""


class PeerFailed(Exception):
    """The peer did not start or did not answer; the message says what was seen."""


@dataclass(frozen=True)
class Server:
    """How a server is started, and whether it is ours."""

    command: list[str]
    port: int
    ours: bool


def diglot(model: Path, *, prefix_cache: bool = False) -> Server:
    """Our server, with as many threads as it takes by itself."""
    command = [
        *(sys.executable, "-m", "server", "serve", "--port", "8191", "--model", str(model)),
        *("--dtype", "float32", "--device", "cpu", "--log-level", "warning"),
        *("--max-num-batched-tokens", str(MAX_BATCHED_TOKENS)),
        *(() if prefix_cache else ("--no-prefix-cache",)),
    ]
    return Server(command, 8191, ours=True)


def transformers(model: Path) -> Server:
    """`transformers serve`, with its continuous batching, on all cores."""
    command = [
        *(str(Path(sys.executable).with_name("transformers")), "serve", str(model)),
        *("--host", HOST, "--port", "8192", "--dtype", "float32", "--device", "cpu"),
        "--continuous-batching",
    ]
    return Server(command, 8192, ours=False)


@contextlib.contextmanager
def running(server: Server) -> Iterator[int]:
    """The server, up and answering `/health`, and gone afterwards; its process id."""
    environment = dict(os.environ)
    if not server.ours:
        environment["OMP_NUM_THREADS"] = str(THREADS)
    process = subprocess.Popen(
        server.command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_healthy(process, server.port)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_healthy(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise PeerFailed(f"ended with status {process.returncode} while it started")
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise PeerFailed(f"not healthy after {STARTUP_SECONDS} s")


def measure_server(server: Server, warm_up: Load, load: Load) -> dict[str, float]:
    """One start, a warm-up, one load; for our own also the processor time of each process."""
    with running(server) as pid:
        try:
            warm_up(server.port)
            pids = {"client": os.getpid()}
            if server.ours:
                pids |= {"server": pid, "engine": children(pid)[0]}
            before = {name: cpu_seconds(each) for name, each in pids.items()}
            wall, timelines = load(server.port)
            spent = {name: cpu_seconds(each) - before[name] for name, each in pids.items()}
            result = figures(wall, timelines, NEW_TOKENS if server.ours else None)
        except TimeoutError:
            raise PeerFailed(f"no answer within {FIRST_ANSWER_SECONDS} s") from None
        except (AssertionError, IndexError, OSError) as error:
            raise PeerFailed(f"{type(error).__name__}: {error}") from None
    tokens = result["throughput"] * wall
    return result | {f"{name} us per token": 1e6 * spent[name] / tokens for name in spent}


def closed(requests: list[Call], concurrency: int) -> Load:
    """A closed loop."""
    return lambda port: run(closed_loop(HOST, port, requests, concurrency))


def arriving(requests: list[Call], rate: float) -> Load:
    """An open loop, at `rate` requests per second."""
    return lambda port: run(open_loop(HOST, port, requests, rate))


def warm(requests: list[Call]) -> Load:
    """Two requests; a server that does not answer them in time answers nothing."""
    work = requests[:2]
    return lambda port: run(closed_loop(HOST, port, work, 2), seconds=FIRST_ANSWER_SECONDS)


class Bench:
    """All measurements of one model."""

    def __init__(self, name: str, rounds: int, *, peers: bool) -> None:
        self._model = model_directory(name)
        self._rounds = rounds
        self._peers = peers
        self._tokenizer = load_tokenizer(self._model)
        self._alone = EngineAlone(
            EngineConfig(
                model=str(self._model),
                dtype="float32",
                device="cpu",
                prefix_cache=False,
                max_num_batched_tokens=MAX_BATCHED_TOKENS,
            ),
            NEW_TOKENS,
        )
        self.note: str | None = None

    def concurrency(self, level: int) -> dict[str, Any]:
        """The closed loop at one concurrency: we, the engine alone, the peer; in turns."""
        texts = make.texts(max(8, 4 * level))
        prompts = [self._tokenizer.encode(text) for text in texts]
        self._alone.run(prompts[:2], 2)
        runs: dict[str, Callable[[], dict[str, float]]] = {
            "diglot": self._served(diglot(self._model), texts, level),
            "engine alone": partial(self._alone.run, prompts, level),
        }
        if self._peers:
            runs["transformers serve"] = self._served(transformers(self._model), texts, level)
        try:
            result = interleave(self._rounds, runs)
        except PeerFailed as failure:
            if not self._peers:
                raise
            self._peers = False  # said in the output; the other levels go on without it
            self.note = f"transformers serve skipped: {failure}"
            return self.concurrency(level)
        ours = result["diglot"]["throughput"]
        result["share of engine alone"] = round(ours / result["engine alone"]["throughput"], 3)
        if self._peers:
            theirs = result["transformers serve"]["throughput"]
            result["throughput ratio"] = round(ours / theirs, 2)
        return result

    def arrivals(self, throughput: float, level: int) -> dict[str, Any]:
        """The open loop, at shares of the rate that the closed loop has reached."""
        texts = make.texts(max(8, 4 * level))
        requests = make.calls(self._model, texts, NEW_TOKENS, HOST, ours=True)
        runs: dict[str, Callable[[], dict[str, float]]] = {}
        for share in LOADS:
            rate = share * throughput / NEW_TOKENS
            load = arriving(requests, rate)
            run_one = partial(measure_server, diglot(self._model), warm(requests), load)
            runs[f"{share:.0%} of closed loop, {rate:.2f} requests/s"] = run_one
        return interleave(self._rounds, runs)

    def prompts(self, level: int) -> dict[str, Any]:
        """Prompts with a shared beginning, and long ones among short ones."""
        count = max(8, 2 * level)
        shared, long = make.texts_with_shared_beginning(count), make.texts_with_long_ones(count)
        cached, plain = diglot(self._model, prefix_cache=True), diglot(self._model)
        return interleave(
            self._rounds,
            {
                "shared beginning, no prefix cache": self._served(plain, shared, level),
                "shared beginning, prefix cache": self._served(cached, shared, level),
                "long prompts among short ones": self._served(plain, long, level),
            },
        )

    def _served(
        self, server: Server, texts: list[str], level: int
    ) -> Callable[[], dict[str, float]]:
        requests = make.calls(self._model, texts, NEW_TOKENS, HOST, ours=server.ours)
        return partial(measure_server, server, warm(requests), closed(requests, level))


def measure(name: str, levels: list[int], rounds: int, *, peers: bool) -> dict[str, Any]:
    """Everything of one model."""
    bench = Bench(name, rounds, peers=peers)
    result: dict[str, Any] = {f"concurrency {level}": bench.concurrency(level) for level in levels}
    top = max(levels)
    reached = result[f"concurrency {top}"]["diglot"]["throughput"]
    result["arrivals"] = bench.arrivals(reached, top)
    result["prompts"] = bench.prompts(min(top, 8))
    return result | ({"peer": bench.note} if bench.note else {})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["embedded", "135m"])
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    note = peer_note(not options.no_peers, "transformers", "accelerate")
    results = {
        name: measure(name, options.concurrency, options.rounds, peers=note is None)
        for name in options.models
    }
    setting = {"prompt letters": make.PROMPT_LETTERS, "new": NEW_TOKENS, "dtype": "float32"}
    line = {"bench": "serving", "unit": "tokens/s and ms", **setting, **machine()}
    print(json.dumps({**line, "peer": note or "transformers serve", "models": results}))


if __name__ == "__main__":
    main()
