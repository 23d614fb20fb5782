"""Streams that never outlive their reader: event streams, and the same care for plain answers.

The response owns the abort. A generator's own `finally` is too late for that: while `send` blocks
on a client that left, the generator is suspended and its `finally` waits for garbage collection.
So whatever ends the response, it calls `abort` itself, without awaiting. Knows nothing of what
the frames say.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from engine import EngineError
from server.errors import InternalError

T = TypeVar("T")


def ping() -> bytes:
    """A comment: the only keep-alive that every SSE client skips."""
    return b": ping\n\n"


class ClientGone(Exception):
    """The client left before its answer was ready; there is nobody to answer."""


class EventStream(Response):
    """A streamed answer.

    Each item of `frames` is one write and holds whole frames only. `error_frames` turns an error
    after the headers into the writes that end the stream. What `keep_alive` gives is sent after
    `keep_alive_seconds` without a frame; None for dialects that have no such thing. `abort` is
    called exactly when the response ends, however it ends.
    """

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        *,
        abort: Callable[[], None],
        error_frames: Callable[[EngineError], Sequence[bytes]],
        media_type: str = "text/event-stream; charset=utf-8",
        keep_alive: Callable[[], bytes] | None = None,
        keep_alive_seconds: float = 15,
    ) -> None:
        super().__init__(status_code=200)
        self._frames = frames
        self._abort = abort
        self._error_frames = error_frames
        self._keep_alive = keep_alive
        self._keep_alive_seconds = keep_alive_seconds
        self._last_write = time.monotonic()
        self._writing = False
        headers = {
            "content-type": media_type,
            "cache-control": "no-cache",
            "x-accel-buffering": "no",  # reverse proxies pass each frame on at once
        }
        self.raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        tasks: list[asyncio.Task[None]] = []
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            send = straight_send(scope, send)
            body = asyncio.create_task(self._send_all(send))
            tasks += [body, asyncio.create_task(wait_for_disconnect(receive))]
            if self._keep_alive is not None:
                tasks.append(asyncio.create_task(self._ping(send, self._keep_alive)))
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if body.done():
                body.result()
        finally:
            self._abort()
            for task in tasks:
                task.cancel()

    async def _send_all(self, send: Send) -> None:
        try:
            async for frame in self._frames:
                # As `_write`, in place: this is the one line that runs for every token.
                self._writing = True
                await send({"type": "http.response.body", "body": frame, "more_body": True})
                self._writing = False
                self._last_write = time.monotonic()
            await self._end(send)
        except EngineError as error:
            await self._end(send, self._error_frames(error))
        except Exception:
            await self._end(send, self._error_frames(InternalError()))
            raise  # a bug: the reader is told that much, the log gets the rest

    async def _end(self, send: Send, frames: Sequence[bytes] = ()) -> None:
        for frame in frames:
            await self._write(send, frame)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send, frame: bytes) -> None:
        self._writing = True
        await send({"type": "http.response.body", "body": frame, "more_body": True})
        self._writing = False
        self._last_write = time.monotonic()

    async def _ping(self, send: Send, sign_of_life: Callable[[], bytes]) -> None:
        while True:
            quiet = time.monotonic() - self._last_write
            if quiet < self._keep_alive_seconds or self._writing:
                await asyncio.sleep(max(0.05, self._keep_alive_seconds - quiet))
                continue
            await self._write(send, sign_of_life())


def straight_send(scope: Scope, send: Send) -> Send:
    """The way to the client past all that stands between: once the headers are out, nobody there
    looks at what is sent. `RequestContext` notes it."""
    return scope.get("state", {}).get("send", send)


async def wait_for_disconnect(receive: Receive) -> None:
    """Return when the client has left. The request's body must have been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def run_until_disconnect(
    request: Request, work: Coroutine[Any, Any, T], abort: Callable[[], None]
) -> T:
    """The result of `work`, unless the client leaves first. Without a result, `abort` was called.

    Raises:
        ClientGone: the client left, and `work` was cancelled.
    """
    task = asyncio.create_task(work)
    watch = asyncio.create_task(wait_for_disconnect(request.receive))
    succeeded = False
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        result = task.result()
        succeeded = True
        return result
    finally:
        watch.cancel()
        if not succeeded:
            abort()
            task.cancel()
