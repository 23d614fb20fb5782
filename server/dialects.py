"""Which dialect a caller speaks, judged by path and headers, and errors in it.

Only for answers that no route gives: missing paths, keys, bodies that are too large, bugs. Routes
know their own dialect.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response
from starlette.types import Scope

from engine import EngineError
from server.errors import ErrorReply, gemini_error, openai_error

Dialect = Literal["openai", "gemini"]

_GEMINI_PREFIXES = (
    "/v1beta",
    "/v1alpha",
    "/upload/",
    "/v1/projects/",
    "/v1/publishers/",
)
_SHARED_PREFIXES = ("/v1/models", "/models", "/v1/tunedModels", "/tunedModels")
_GEMINI_HEADERS = ("x-goog-api-key", "x-goog-api-client")


def dialect_of(scope: Scope) -> Dialect:
    """`gemini` for its versions, for `model:verb` paths, and for shared paths with its headers."""
    path: str = scope["path"]
    if path.startswith("/v1beta/openai/"):
        return "openai"
    if path.startswith(_GEMINI_PREFIXES) or ":" in path:
        return "gemini"
    if path.startswith(_SHARED_PREFIXES):
        headers = Headers(scope=scope)
        if any(name in headers for name in _GEMINI_HEADERS):
            return "gemini"
        if "key" in QueryParams(scope["query_string"]):
            return "gemini"
    return "openai"


def error_response(scope: Scope, error: EngineError) -> Response:
    """The error as the caller's dialect writes it."""
    if dialect_of(scope) == "openai":
        return openai_response(openai_error(error))
    return gemini_response(gemini_error(error), in_array=streams_array(scope))


def openai_response(reply: ErrorReply) -> Response:
    """The reply as JSON."""
    body = msgspec.json.encode(reply.body)
    return Response(body, reply.status, reply.headers, media_type="application/json")


def gemini_response(reply: ErrorReply, *, in_array: bool = False) -> Response:
    """The reply as JSON, in a one-element array where the caller expects a streamed array."""
    body = msgspec.json.encode([reply.body] if in_array else reply.body)
    media_type = "application/json; charset=UTF-8"
    return Response(body, reply.status, reply.headers, media_type=media_type)


def streams_array(scope: Scope) -> bool:
    """True for `:streamGenerateContent` without `alt=sse`, whose answers are JSON arrays."""
    path: str = scope["path"]
    if not path.endswith(":streamGenerateContent"):
        return False
    query = QueryParams(scope["query_string"])
    return "sse" not in (query.get("alt"), query.get("$alt"))
