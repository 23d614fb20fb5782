"""Errors on the wire: one table per dialect from an error's type to status, code and body.

    RequestProblem                what HTTP itself can get wrong; joins the tree of `engine.errors`
    ├── BadBody                   the body is no JSON object
    ├── PathNotFound  MethodNotAllowed  BodyTooLarge  UnsupportedMedia
    ├── MissingKey  WrongKey      API keys
    ├── ResponseNotFound          no response of this id is kept
    └── InternalError             a bug; the message says nothing, the log everything
    InvalidRequest
    ├── MissingParameter  InvalidType  UnknownParameter   shape of a JSON body
    └── UnknownPreviousResponse   it goes on from what is not kept

Dialects pass their own field names, so that `max_new_tokens` never reaches a caller who wrote
`max_tokens`. Knows the shapes of errors, not where they come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from engine import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineError,
    EngineFault,
    EngineUnavailable,
    InvalidParameter,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    UnsupportedParameter,
)

INTERNAL_MESSAGE = "The server had an error while processing your request."


class RequestProblem(EngineError):
    """The request failed before it meant anything to a dialect."""


class BadBody(RequestProblem):
    """The body is not a JSON object."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"We could not parse the JSON body of your request: {reason}")


class PathNotFound(RequestProblem):
    """Nothing lives at this path."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(f"Invalid URL ({method} {path})")


class MethodNotAllowed(RequestProblem):
    """The path exists, but not for this method. `allow` is the Allow header's value."""

    def __init__(self, method: str, path: str, allow: str) -> None:
        super().__init__(f"Not allowed to {method} on {path}. Allowed: {allow}.")
        self.allow = allow


class BodyTooLarge(RequestProblem):
    """The body is longer than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request body is larger than {limit} bytes.")


class UnsupportedMedia(RequestProblem):
    """The body's type or encoding is not one we read."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason} Send the body as plain application/json.")


class MissingKey(RequestProblem):
    """Keys are configured and the caller sent none."""

    def __init__(self) -> None:
        super().__init__(
            "You didn't provide an API key. Send it as 'Authorization: Bearer KEY', "
            "as 'x-goog-api-key: KEY', or as the query parameter 'key'."
        )


class WrongKey(RequestProblem):
    """The caller's key is not one of ours. `bearer`: it came in the Authorization header."""

    def __init__(self, key: str, *, bearer: bool) -> None:
        super().__init__(f"Incorrect API key provided: {mask_key(key)}.")
        self.bearer = bearer


class ResponseNotFound(RequestProblem):
    """No response of this id is kept: it never was, or it is too old, or deleted."""

    def __init__(self, response_id: str) -> None:
        super().__init__(f"Response with id '{response_id[:100]}' not found.")


class InternalError(RequestProblem):
    """A bug in this server."""

    def __init__(self) -> None:
        super().__init__(INTERNAL_MESSAGE)


class MissingParameter(InvalidRequest):
    """A required field is absent."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Missing required parameter: '{name}'.", name)


class InvalidType(InvalidRequest):
    """A field has the wrong JSON type."""

    def __init__(self, name: str, expected: str, got: str) -> None:
        super().__init__(
            f"Invalid type for '{name}': expected {expected}, but got {got} instead.", name
        )


class UnknownParameter(InvalidRequest):
    """A field nobody knows, in strict mode."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Unknown parameter: '{name}'.", name)


class UnknownPreviousResponse(InvalidRequest):
    """The request goes on from a response that is not kept."""

    def __init__(self, response_id: str) -> None:
        message = f"Previous response with id '{response_id[:100]}' not found."
        super().__init__(message, "previous_response_id")


@dataclass(frozen=True)
class ErrorReply:
    """An HTTP error, ready to send. `body` is a JSON object."""

    status: int
    body: dict[str, object]
    headers: dict[str, str] = field(default_factory=dict[str, str])


def mask_key(key: str) -> str:
    """The key's ends, enough to recognise one's own: `sk-12***89`; short keys hide wholly."""
    return f"{key[:5]}***{key[-2:]}" if len(key) >= 12 else "***"


def retry_headers(seconds: int) -> dict[str, str]:
    """`Retry-After` within 1 to 60, the range every client honours, and its millisecond twin."""
    seconds = min(60, max(1, seconds))
    return {"Retry-After": str(seconds), "retry-after-ms": str(seconds * 1000)}


def error_headers(error: EngineError) -> dict[str, str]:
    """Headers that an error needs, the same in every dialect."""
    if isinstance(error, (Overloaded, EngineUnavailable)):
        return retry_headers(error.retry_after)
    if isinstance(error, MethodNotAllowed):
        return {"Allow": error.allow}
    if isinstance(error, InternalError):
        return {"x-should-retry": "false"}
    return {}


def rename(error: EngineError, names: Mapping[str, str]) -> tuple[str, str | None]:
    """The error's message and parameter in the dialect's field names."""
    message = str(error)
    parameter = error.parameter if isinstance(error, InvalidRequest) else None
    if parameter is None or parameter not in names:
        return message, parameter
    return message.replace(f"'{parameter}'", f"'{names[parameter]}'", 1), names[parameter]


# --- OpenAI -------------------------------------------------------------------------------------

_Code = str | None | Callable[[EngineError], str | None]


def _value_code(error: EngineError) -> str | None:
    """`decimal_above_max_value` and its kin when a bound was crossed, else `invalid_value`."""
    assert isinstance(error, InvalidParameter)
    kind = "integer" if isinstance(error.value, int) else "decimal"
    if error.maximum is not None:
        return f"{kind}_above_max_value"
    if error.minimum is not None:
        return f"{kind}_below_min_value"
    return "invalid_value"


_BAD = "invalid_request_error"

# The first row whose type matches decides; the most derived types stand first.
_OPENAI: tuple[tuple[type[EngineError], int, str, _Code], ...] = (
    (ContextLengthExceeded, 400, _BAD, "context_length_exceeded"),
    (UnsupportedParameter, 400, _BAD, "unsupported_parameter"),
    (MissingParameter, 400, _BAD, "missing_required_parameter"),
    (InvalidType, 400, _BAD, "invalid_type"),
    (UnknownParameter, 400, _BAD, "unknown_parameter"),
    (UnknownPreviousResponse, 400, _BAD, "previous_response_not_found"),
    (InvalidParameter, 400, _BAD, _value_code),
    (InvalidRequest, 400, _BAD, "invalid_value"),
    (BadBody, 400, _BAD, None),
    (MissingKey, 401, _BAD, None),
    (WrongKey, 401, _BAD, "invalid_api_key"),
    (ModelNotFound, 404, _BAD, "model_not_found"),
    (PathNotFound, 404, _BAD, "unknown_url"),
    (ResponseNotFound, 404, _BAD, None),
    (MethodNotAllowed, 405, _BAD, "method_not_supported"),
    (BodyTooLarge, 413, _BAD, None),
    (UnsupportedMedia, 415, _BAD, None),
    (Overloaded, 429, "requests", "rate_limit_exceeded"),
    (EngineUnavailable, 503, "server_error", None),
    (DeadlineExceeded, 504, "server_error", None),
    (EngineFault, 500, "server_error", None),
    (EngineError, 500, "server_error", None),
)


_LINE = re.compile(r"at ([0-9]+)\([0-9]+\): ")
"""How a complaint begins that is about one line of a grammar."""


@contextmanager
def naming_grammar(
    field: str, fields_by_line: Mapping[int, str] | None = None
) -> Generator[None, None, None]:
    """What the engine has against a grammar is said of the caller's `field`.

    `fields_by_line` are the fields that single lines of the grammar were made of, from line one:
    what the engine has against such a line is said of its field.
    """
    try:
        yield
    except InvalidParameter as error:
        if error.parameter != "grammar":
            raise
        name, reason = field, error.reason
        found = _LINE.match(reason)
        if found is not None and fields_by_line and int(found[1]) in fields_by_line:
            name, reason = fields_by_line[int(found[1])], reason[found.end() :]
        raise InvalidParameter(name, error.value, reason) from error
    except UnsupportedParameter as error:
        if error.parameter != "grammar":
            raise
        raise UnsupportedParameter(field, error.reason) from error


def openai_error(error: EngineError, names: Mapping[str, str] | None = None) -> ErrorReply:
    """The error as `{"error": {"message", "type", "param", "code"}}`."""
    status, kind, code = next(row[1:] for row in _OPENAI if isinstance(error, row[0]))
    message, parameter = rename(error, names or {})
    if isinstance(error, ModelNotFound):
        parameter = "model"
    if isinstance(error, Overloaded):
        message = f"{message} Please try again in {error.retry_after}s."
    body: dict[str, object] = {
        "message": message,
        "type": kind,
        "param": parameter,
        "code": code(error) if callable(code) else code,
    }
    return ErrorReply(status, {"error": body}, error_headers(error))


# --- Gemini (google.rpc) ------------------------------------------------------------------------

_RPC = "type.googleapis.com/google.rpc."
_UNREGISTERED = (
    "Method doesn't allow unregistered callers (callers without established identity). "
    "Please use API Key or other form of API consumer identity to call this API."
)

_GEMINI: tuple[tuple[type[EngineError], int, str], ...] = (
    (InvalidRequest, 400, "INVALID_ARGUMENT"),
    (BadBody, 400, "INVALID_ARGUMENT"),
    (MissingKey, 403, "PERMISSION_DENIED"),
    (WrongKey, 400, "INVALID_ARGUMENT"),
    (ModelNotFound, 404, "NOT_FOUND"),
    (PathNotFound, 404, "NOT_FOUND"),
    (MethodNotAllowed, 405, "INVALID_ARGUMENT"),
    (BodyTooLarge, 413, "INVALID_ARGUMENT"),
    (UnsupportedMedia, 415, "INVALID_ARGUMENT"),
    (Overloaded, 429, "RESOURCE_EXHAUSTED"),
    (EngineUnavailable, 503, "UNAVAILABLE"),
    (DeadlineExceeded, 504, "DEADLINE_EXCEEDED"),
    (EngineError, 500, "INTERNAL"),
)


def gemini_error(error: EngineError, names: Mapping[str, str] | None = None) -> ErrorReply:
    """The error as `{"error": {"code", "message", "status", "details"?}}`."""
    status, name = next(row[1:] for row in _GEMINI if isinstance(error, row[0]))
    if isinstance(error, WrongKey) and error.bearer:
        status, name = 401, "UNAUTHENTICATED"
    message, parameter = rename(error, names or {})
    body: dict[str, object] = {
        "code": status,
        "message": _gemini_message(error, message),
        "status": name,
    }
    details = _gemini_details(error, parameter, message)
    if details:
        body["details"] = details
    return ErrorReply(status, {"error": body}, error_headers(error))


def _gemini_message(error: EngineError, message: str) -> str:
    if isinstance(error, ContextLengthExceeded):
        wanted = error.prompt_tokens + error.new_tokens
        return (
            f"The input token count ({wanted}) exceeds the maximum number of tokens "
            f"allowed ({error.limit})."
        )
    if isinstance(error, ModelNotFound):
        return (
            f"models/{error.model} is not found for API version v1beta, or is not supported for "
            "generateContent. Call ListModels to see the list of available models and their "
            "supported methods."
        )
    if isinstance(error, MissingKey):
        return _UNREGISTERED
    if isinstance(error, WrongKey):
        return "API key not valid. Please pass a valid API key."
    return message


def _gemini_details(
    error: EngineError, parameter: str | None, message: str
) -> list[dict[str, object]]:
    if isinstance(error, InvalidRequest) and parameter is not None:
        violation = {"field": parameter, "description": message}
        return [{"@type": f"{_RPC}BadRequest", "fieldViolations": [violation]}]
    if isinstance(error, (Overloaded, EngineUnavailable)):
        return [{"@type": f"{_RPC}RetryInfo", "retryDelay": f"{error.retry_after}s"}]
    if isinstance(error, WrongKey) and not error.bearer:
        info: dict[str, object] = {
            "@type": f"{_RPC}ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        }
        return [info]
    return []
