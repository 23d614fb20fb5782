"""What every request passes: path, id and log, keys, size. Pure ASGI, so that streams stream and
disconnects arrive.

Knows nothing of routes but which one is open to all. Never logs a key or a query string.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
import uuid
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from engine import EngineError
from server.dialects import dialect_of, error_response
from server.errors import BodyTooLarge, MissingKey, WrongKey
from server.metrics import Metrics

_access_log = logging.getLogger("diglot.access")
_OPEN_PATHS = ("/health",)
_SAFE_ID = re.compile(r"[\x21-\x7e]{1,256}")


class RequestContext:
    """Gives each request an id, tolerates one trailing slash, logs and counts the answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        request_id = _request_id(Headers(scope=scope))
        # `send` as it is out here: see `straight_send`.
        state = {**scope.get("state", {}), "request_id": request_id, "send": send}
        scope["state"] = state  # in place: the handler of bugs, outside of us, reads it too
        path: str = scope["path"]
        if len(path) > 1 and path.endswith("/"):
            scope["path"] = path[:-1]
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                if dialect_of(scope) == "openai":
                    elapsed = time.monotonic() - started
                    headers["openai-processing-ms"] = str(round(elapsed * 1000))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            self._account(scope, status, time.monotonic() - started, request_id)

    def _account(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(route, _known_method(scope), str(status)).inc()
        _access_log.info(
            "%s %s %d %.1f ms %s",
            scope["method"],
            scope["path"],
            status,
            seconds * 1000,
            request_id,
        )


class ApiKeys:
    """Lets only holders of a key pass, once there are keys. One valid carrier suffices."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._keys and scope["path"] not in _OPEN_PATHS:
            error = self._problem(scope)
            if error is not None:
                await error_response(scope, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> EngineError | None:
        headers = Headers(scope=scope)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        google = headers.get("x-goog-api-key") or QueryParams(scope["query_string"]).get("key", "")
        if self._known(bearer) | self._known(google):
            return None
        if google:
            return WrongKey(google, bearer=False)
        return WrongKey(bearer, bearer=True) if bearer else MissingKey()

    def _known(self, candidate: str) -> bool:
        """In constant time for a given number of keys."""
        given = candidate.encode("utf-8", "surrogateescape")
        known = False
        for key in self._keys:
            known |= hmac.compare_digest(given, key)
        return known


class BodyLimit:
    """Refuses bodies above `limit` bytes, by their announced length or by counting."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > self._limit:
            await error_response(scope, BodyTooLarge(self._limit))(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._limit:
                    raise BodyTooLarge(self._limit)  # the app answers it like any other error
            return message

        await self._app(scope, counted, send)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _SAFE_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"


def _known_method(scope: Scope) -> str:
    """Method names are the caller's invention; a label must not be."""
    method: str = scope["method"]
    return method if method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS") else "other"
