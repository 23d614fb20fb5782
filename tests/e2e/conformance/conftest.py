"""Servers whose conformance is shown: the shared one, and one with everything strict and small."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conformance.wire import Api
from tests.e2e.conftest import start_server, stop_server

KEY = "sk-secret-0123456789"


@pytest.fixture(scope="session")
def api(live_server: str) -> Iterator[Api]:
    with Api(live_server) as api:
        yield api


@pytest.fixture(scope="session")
def strict() -> Iterator[Api]:
    """A server with a key, strict fields, room for two samples, and impatient keep-alives."""
    server = start_server(
        "--api-key",
        KEY,
        "--strict-fields",
        "--max-num-sequences=2",
        "--max-queued-requests=0",
        "--keep-alive-seconds=0.00001",  # shorter than any model takes for a token
        "--served-model-name=org/name,second,qwen3:8b",
    )
    with Api(server.url, Authorization=f"Bearer {KEY}") as api:
        yield api
    stop_server(server)
