"""A real server process on a free port, as a user would start it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import openai
import pytest
from google import genai

STARTUP_SECONDS = 60


@dataclass
class Server:
    """A running server: its base URL and its process."""

    url: str
    process: subprocess.Popen[bytes]

    def metric(self, name: str) -> float:
        """Value of an unlabelled metric, or the sum over its labels."""
        text = httpx.get(f"{self.url}/metrics").text
        values = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        assert values, f"no metric {name}"
        return sum(map(float, values))

    def wait_for(self, name: str, value: float, seconds: float = 5) -> float:
        """Seconds until a metric has this value; fails after `seconds`."""
        began = time.monotonic()
        while self.metric(name) != value:
            assert time.monotonic() - began < seconds, f"{name} is {self.metric(name)}"
            time.sleep(0.02)
        return time.monotonic() - began

    def engine_pid(self) -> int:
        """The engine process: the server's only child."""
        children = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return int(children.stdout.split()[0])


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_server(*arguments: str, **environment: str) -> Server:
    """Start `diglot serve` and wait until it is healthy."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "serve", "--port", str(port), *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
    )
    server = Server(f"http://127.0.0.1:{port}", process)
    wait_healthy(server)
    return server


def wait_healthy(server: Server, seconds: float = STARTUP_SECONDS) -> float:
    """Seconds until `/health` answers 200."""
    began = time.monotonic()
    while True:
        assert server.process.poll() is None, "the server ended while it started"
        assert time.monotonic() - began < seconds, "the server did not get healthy"
        try:
            if httpx.get(f"{server.url}/health", timeout=5).status_code == 200:
                return time.monotonic() - began
        except httpx.TransportError:
            pass
        time.sleep(0.05)


def stop_server(server: Server) -> int:
    """Ask the server to leave; returns its exit status."""
    server.process.send_signal(signal.SIGTERM)
    return server.process.wait(timeout=40)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server with the embedded model, shared by the tests that do not harm it."""
    running = start_server()
    yield running
    stop_server(running)


@pytest.fixture(scope="session")
def live_server(server: Server) -> str:
    """Base URL of the shared server."""
    return server.url


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server for one test alone, which may do with it what it likes."""
    running = start_server()
    yield running
    if running.process.poll() is None:
        stop_server(running)


@pytest.fixture(scope="session")
def chat(live_server: str) -> Iterator[openai.OpenAI]:
    """The official SDK, closed in the end: a socket left open warns whenever it is found."""
    with openai.OpenAI(base_url=f"{live_server}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


@pytest.fixture(scope="session")
def gemini(live_server: str) -> Iterator[genai.Client]:
    with genai.Client(api_key="none", http_options={"base_url": live_server}) as client:
        yield client
