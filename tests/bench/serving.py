"""HTTP streaming at several concurrencies, beside a peer server on the same weights.

Greedy, the same lengths, float32 and the same threads; every server runs alone while it is
measured, and the servers take turns. Prints one JSON line: time to first token, inter-token
latency and throughput, our ratio to the peer, and to our own engine without HTTP.

    python -m tests.bench.serving [--models embedded 135m] [--concurrency 1 8 32] [--no-peers]
"""

from __future__ import annotations

import argparse
import asyncio
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
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.bench import engine as offline
from tests.bench.common import THREADS, interleave, machine, model_directory, peer_note
from tests.bench.load import closed_loop, figures

HOST = "127.0.0.1"
NEW_TOKENS = offline.NEW_TOKENS
PROMPT_LETTERS = 128  # as many tokens for a byte vocabulary, fewer for the embedded one
ROUNDS = 3
STARTUP_SECONDS = 120
FIRST_ANSWER_SECONDS = 90


class PeerFailed(Exception):
    """The peer did not start or did not answer; the message says what was seen."""


def diglot_command(model: Path, port: int) -> list[str]:
    """How our server is started."""
    return [
        *(sys.executable, "-m", "server", "serve", "--port", str(port), "--model", str(model)),
        *("--dtype", "float32", "--device", "cpu", "--threads", str(THREADS)),
        *("--no-prefix-cache", "--log-level", "warning", "--max-num-batched-tokens", "4096"),
    ]


def transformers_command(model: Path, port: int) -> list[str]:
    """How `transformers serve` is started, with its continuous batching."""
    return [
        *(str(Path(sys.executable).with_name("transformers")), "serve", str(model)),
        *("--host", HOST, "--port", str(port), "--dtype", "float32", "--device", "cpu"),
        "--continuous-batching",
    ]


def requests(model: Path, count: int, *, ours: bool) -> list[dict[str, Any]]:
    """Bodies of the same texts for every server; the peer refuses `ignore_eos`."""
    generator = torch.Generator().manual_seed(count)
    bodies: list[dict[str, Any]] = []
    for _ in range(count):
        letters = torch.randint(97, 123, (PROMPT_LETTERS,), generator=generator)
        body = {"prompt": bytes(letters.tolist()).decode(), "max_tokens": NEW_TOKENS}
        extra = {"ignore_eos": True} if ours else {}
        name = served_name(model) if ours else str(model)
        bodies.append({"model": name, **body, "temperature": 0, "stream": True, **extra})
    return bodies


def served_name(model: Path) -> str:
    """What our server calls the model."""
    return "diglot-mini" if model == model_directory("embedded") else model.name


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """The server, up and answering `/health`, and gone afterwards."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_healthy(process, port)
        yield
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


def measure_server(
    command: list[str], port: int, bodies: list[dict[str, Any]], concurrency: int
) -> dict[str, float]:
    """One start, a warm-up, one closed loop."""

    async def load() -> dict[str, float]:
        warm_up = closed_loop(HOST, port, bodies[:2], 2)
        await asyncio.wait_for(warm_up, FIRST_ANSWER_SECONDS)
        wall, timelines = await closed_loop(HOST, port, bodies, concurrency)
        return figures(wall, timelines, NEW_TOKENS if bodies[0].get("ignore_eos") else None)

    with running(command, port):
        try:
            return asyncio.run(load())
        except TimeoutError:
            raise PeerFailed(f"no answer within {FIRST_ANSWER_SECONDS} s") from None
        except (AssertionError, IndexError, OSError) as error:
            raise PeerFailed(f"{type(error).__name__}: {error}") from None


def measure(name: str, levels: list[int], rounds: int, peers: bool) -> dict[str, Any]:
    """Every concurrency of one model."""
    model = model_directory(name)
    result: dict[str, Any] = {}
    for level in levels:
        count = max(8, 2 * level)
        ours = requests(model, count, ours=True)
        theirs = requests(model, count, ours=False)
        runs = {"diglot": partial(measure_server, diglot_command(model, 8191), 8191, ours, level)}
        if peers:
            runs["transformers serve"] = partial(
                measure_server, transformers_command(model, 8192), 8192, theirs, level
            )
        try:
            figures_by_server = interleave(rounds, runs)
        except PeerFailed as failure:
            peers = False  # said in the output; the other levels go on without it
            result["peer"] = f"transformers serve skipped: {failure}"
            figures_by_server = interleave(rounds, {"diglot": runs["diglot"]})
        if len(figures_by_server) > 1:
            rates = [figures["throughput"] for figures in figures_by_server.values()]
            figures_by_server["throughput ratio"] = round(rates[0] / rates[1], 2)
        result[f"concurrency {level}"] = figures_by_server
    result["engine offline"] = offline_rate(name, max(levels))
    top = result[f"concurrency {max(levels)}"]["diglot"]["throughput"]
    result["http share of offline"] = round(top / result["engine offline"]["output"], 2)
    return result


def offline_rate(name: str, batch: int) -> dict[str, float]:
    """The engine alone at the same batch: output tokens per second, prefill included."""
    model = model_directory(name)
    vocab_size = json.loads((model / "config.json").read_text())["vocab_size"]
    core = offline.Diglot(model, "float32")
    core.run(batch, vocab_size)
    rates = interleave(3, {"engine": partial(core.run, batch, vocab_size)})["engine"]
    seconds = (
        batch * offline.PROMPT_TOKENS / rates["prefill"]
        + batch * (NEW_TOKENS - 1) / rates["decode"]
    )
    return {"output": round(batch * NEW_TOKENS / seconds, 1), **rates}


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
    torch.set_num_threads(THREADS)
    note = peer_note(not options.no_peers, "transformers", "accelerate")
    results = {
        name: measure(name, options.concurrency, options.rounds, note is None)
        for name in options.models
    }
    setting = {"prompt letters": PROMPT_LETTERS, "new": NEW_TOKENS, "dtype": "float32"}
    line = {"bench": "serving", "unit": "tokens/s and ms", **setting, **machine()}
    print(json.dumps({**line, "peer": note or "transformers serve", "models": results}))


if __name__ == "__main__":
    main()
