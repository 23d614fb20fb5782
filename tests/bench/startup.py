"""From the command to the first healthy answer, and on to the first token.

The server is started several times, each with everything in the page cache; its own log gives the
phases. Prints one JSON line: medians in seconds.

    python -m tests.bench.startup [--models embedded 135m] [--starts 5]
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.bench import serving_requests as make
from tests.bench.common import machine, median
from tests.bench.load import closed_loop, run
from tests.bench.shapes import model_directory

HOST = "127.0.0.1"
STARTS = 5
GIVE_UP_SECONDS = 180
POLL_SECONDS = 0.005

_LISTENING = re.compile(r"listening on \S+ after ([0-9.]+) s")
_ENGINE = re.compile(r"engine ready in ([0-9.]+) s: (.*)")


def measure(model: Path) -> dict[str, float]:
    """One start."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "server", "serve", "--model", str(model), "--port", str(port)]
    with tempfile.TemporaryFile("w+") as log:
        began = time.perf_counter()
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        try:
            wait_healthy(server, port)
            healthy = time.perf_counter() - began
            [request] = make.calls(model, make.texts(1), 4, HOST, ours=True)
            before = time.perf_counter() - began
            _, [timeline] = run(closed_loop(HOST, port, [request], 1))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=30)
        log.seek(0)
        phases = read_phases(log.read())
    return {"healthy": healthy, "first token": before + timeline.events[0], **phases}


def wait_healthy(server: subprocess.Popen[bytes], port: int) -> None:
    """Return with the first 200 of `/health`."""
    for _ in range(int(GIVE_UP_SECONDS / POLL_SECONDS)):
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(POLL_SECONDS)
        assert server.poll() is None, "the server ended while it started"
    raise AssertionError("the server did not get healthy")


def read_phases(log: str) -> dict[str, float]:
    """What the server's log says of its start, in seconds."""
    listening, engine = _LISTENING.search(log), _ENGINE.search(log)
    assert listening is not None and engine is not None, log
    phases = {"port open": float(listening[1]), "engine": float(engine[1])}
    for part in engine[2].split(", "):
        name, _, seconds = part.rpartition(" ")
        phases[f"engine: {name}"] = float(seconds)
    return phases


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["embedded", "135m"])
    parser.add_argument("--starts", type=int, default=STARTS)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for name in options.models:
        model = model_directory(name)
        measure(model)  # compiles what has to be compiled once, and fills the page cache
        starts = [measure(model) for _ in range(options.starts)]
        results[name] = {key: median([each[key] for each in starts], 2) for key in starts[0]}
    line = {"bench": "startup", "unit": "s", **machine(), "starts": options.starts}
    print(json.dumps({**line, "models": results}))


if __name__ == "__main__":
    main()
