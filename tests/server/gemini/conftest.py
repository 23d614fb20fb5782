"""A client of the whole app over a scripted engine, and what Gemini answers look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from starlette.testclient import TestClient

from server.app import create_app
from tests.fakes import ScriptedEngine
from tests.server.gemini.helpers import settings

Serve = Callable[..., TestClient]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """The app over an engine that says "hello world", for tests that need nothing else."""
    with TestClient(create_app(ScriptedEngine(), settings())) as client:
        yield client


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start the app over an engine: `serve(ScriptedEngine(...), strict_fields=True)`."""
    with ExitStack() as stack:

        def start(engine: ScriptedEngine | None = None, **values: object) -> TestClient:
            app = create_app(engine or ScriptedEngine(), settings(**values))
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield start
