"""The running server: the port opens at once, and SIGTERM drains before it leaves.

Draining: new work is refused with 503 while the port stays open, what runs may finish within
`drain_seconds`, and what is left then gets an error rather than silence. Knows nothing of routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from engine import Engine
from server.app import create_app
from server.settings import ServerSettings
from server.state import create_state

if TYPE_CHECKING:
    import socket

_log = logging.getLogger("diglot")

_LOOPBACK: dict[str, str] = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_POLL_SECONDS = 0.05
_GARBAGE_THRESHOLD = 20_000
"""New containers before the collector looks. A step of a few hundred streams leaves thousands that
live until the next one; Python's 700 would walk them for nothing."""
_LEAVE_SECONDS = 5
"""How long connections may take to close once the engine has stopped."""


class DrainingServer(uvicorn.Server):
    """A uvicorn server whose first signal drains and whose second one leaves at once."""

    def __init__(
        self, engine: Engine, settings: ServerSettings, *, began: float | None = None
    ) -> None:
        """`began`: when the process did, by `time.monotonic`."""
        state = create_state(engine, settings)
        app = create_app(engine, settings, state)
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                loop="uvloop",
                http="httptools",
                ws="none",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=_LEAVE_SECONDS,
            )
        )
        self._state = state
        self._began = time.monotonic() if began is None else began
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False
        self.engine_failed = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port; the welcome follows when the engine is ready."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._tasks.append(asyncio.create_task(self._watch_engine()))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Runs inside a signal handler: it only hands the work to the loop."""
        if self._draining or self._loop is None or not self.started:
            super().handle_exit(sig, frame)
            return
        self._draining = True
        self._loop.call_soon_threadsafe(self.drain)

    def drain(self) -> None:
        """Begin to leave."""
        self._draining = True
        self._tasks.append(asyncio.create_task(self._drain()))

    @property
    def url(self) -> str:
        """Where the server listens, once it has started."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        host = str(_LOOPBACK.get(host, host))  # one to call, where all are listened on
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def _drain(self) -> None:
        seconds = self._state.settings.drain_seconds
        _log.info("draining: open requests have %g seconds", seconds)
        idle = asyncio.Event()
        self._state.admission.close("draining", idle.set)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(idle.wait(), seconds)
        if not idle.is_set():
            _log.warning("drain time is over; ending %d samples", self._state.admission.samples)
            await self._state.engine.stop()
        self.should_exit = True

    async def _watch_engine(self) -> None:
        """Log the engine's phases, welcome the operator once, and leave with an engine that
        has given up: whoever supervises this process can then see it."""
        engine, phase, welcomed = self._state.engine, "", False
        _log.info("listening on %s after %.2f s", self.url, time.monotonic() - self._began)
        while not engine.phase.startswith("failed"):
            if engine.phase != phase:
                phase = engine.phase
                _log.info("engine: %s", phase)
            if phase == "ready" and not welcomed:
                welcomed = True
                _log.info("ready after %.2f s", time.monotonic() - self._began)
                self._welcome()
                _settle()
            await asyncio.sleep(_POLL_SECONDS)
        _log.error("engine: %s", engine.phase)
        self.engine_failed = self.should_exit = True

    def _welcome(self) -> None:
        model = self._state.settings.model_names[0]
        with_key = bool(self._state.settings.api_keys())
        sys.stdout.write(welcome(self.url, model, with_key=with_key))
        sys.stdout.flush()


def _settle() -> None:
    """What start-up left is here to stay: the garbage collector need not walk it again and again
    while tokens stream. What they leave is freed by its reference counts."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)


def welcome(url: str, model: str, *, with_key: bool) -> str:
    """What the operator sees when the model is ready: the address and one call per dialect."""
    bearer = " -H 'Authorization: Bearer KEY'" if with_key else ""
    google = " -H 'x-goog-api-key: KEY'" if with_key else ""
    key = "KEY" if with_key else "none"
    return f"""
diglot serves {model} at {url}

  curl {url}/v1/chat/completions{bearer} -H 'Content-Type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'

  curl {url}/v1beta/models/{model}:generateContent{google} -H 'Content-Type: application/json' \\
    -d '{{"contents": [{{"parts": [{{"text": "Hello!"}}]}}]}}'

  python -c "import openai; print(openai.OpenAI(base_url='{url}/v1', api_key='{key}')
    .completions.create(model='{model}', prompt='Once upon a time').choices[0].text)"

"""
