"""An app over a scripted engine, and short ways to call it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from server.app import create_app
from server.settings import ServerSettings
from server.state import AppState, create_state
from tests.fakes import ScriptedEngine

MODEL = "diglot-mini"


@dataclass
class Reply:
    """A response, with its events when it is a stream."""

    status: int
    headers: httpx.Headers
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The JSON events. Fails unless the framing is exactly as promised."""
        assert self.headers["content-type"].startswith("text/event-stream")
        *blocks, done, rest = self.content.decode().split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
        return [json.loads(block[len("data: ") :]) for block in blocks]


@dataclass
class Client:
    """Calls an app in this process, one event loop per call."""

    engine: ScriptedEngine = field(default_factory=ScriptedEngine)
    settings: ServerSettings = field(default_factory=ServerSettings)
    state: AppState | None = None
    app: FastAPI | None = None

    def request(self, method: str, path: str, **options: Any) -> Reply:
        return asyncio.run(self.request_async(method, path, **options))

    async def request_async(self, method: str, path: str, **options: Any) -> Reply:
        if self.app is None:
            self.state = create_state(self.engine, self.settings)
            self.app = create_app(self.engine, self.settings, self.state)
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            response = await http.request(method, path, **options)
            return Reply(response.status_code, response.headers, response.content)

    def get(self, path: str, **options: Any) -> Reply:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any, **options: Any) -> Reply:
        return self.request("POST", path, json=body, **options)

    def complete(self, prompt: Any = "ab", **fields: Any) -> Reply:
        body = {"model": MODEL, "prompt": prompt, "temperature": 0, **fields}
        return self.post("/v1/completions", body)

    def chat(self, content: Any = "Hi", **fields: Any) -> Reply:
        messages = [{"role": "user", "content": content}]
        return self.post("/v1/chat/completions", {"model": MODEL, "messages": messages, **fields})


def stream_text(chunks: list[dict[str, Any]], index: int = 0) -> str:
    """The concatenated deltas of one choice, of either endpoint."""
    text = ""
    for chunk in chunks:
        for choice in chunk["choices"]:
            if choice["index"] == index:
                text += choice["delta"].get("content", "") if "delta" in choice else choice["text"]
    return text


@contextlib.contextmanager
def live_server(engine: ScriptedEngine, settings: ServerSettings | None = None) -> Iterator[str]:
    """A real HTTP server in a thread; yields its base URL."""
    app = create_app(engine, settings or ServerSettings())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            http="httptools",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
