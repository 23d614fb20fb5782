"""A request's body as a JSON object, under the rules both dialects share.

NaN and Infinity are no JSON; a lone surrogate becomes U+FFFD; the last of duplicate keys wins;
nesting has a limit. Knows nothing of fields.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn, cast

import msgspec
from starlette.requests import ClientDisconnect, Request

from server.errors import BadBody, UnsupportedMedia
from server.sse import ClientGone

_decoder = msgspec.json.Decoder()


async def read_json(request: Request, *, any_type: bool = False) -> dict[str, Any]:
    """The body's JSON object.

    `any_type` takes the body as JSON whatever its Content-Type says.

    Raises:
        UnsupportedMedia: another content type, or a compressed body.
        BadBody: no JSON object.
        ClientGone: the client left while sending.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMedia(f"Unsupported Content-Encoding '{encoding}'.")
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in ("", "application/json") and not any_type:
        raise UnsupportedMedia(f"Unsupported Content-Type '{content_type}'.")
    try:
        return parse_object(await request.body())
    except ClientDisconnect:
        raise ClientGone from None


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`. Raises `BadBody`."""
    try:
        value = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError):
        value = _parse_slowly(data)
    if not isinstance(value, dict):
        raise BadBody(f"expected an object, but got {json_type(value)}.")
    return cast("dict[str, Any]", value)


def json_type(value: object) -> str:
    """What JSON calls the type of a decoded value, with its article."""
    for kind, name in _JSON_TYPES:
        if isinstance(value, kind):
            return name
    return "null"


_JSON_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (int, "an integer"),
    (float, "a decimal"),
    (str, "a string"),
    (list, "an array"),
    (dict, "an object"),
)


def _parse_slowly(data: bytes) -> object:
    """The standard parser: it lets lone surrogates through, and its messages name the place."""
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
        return _replace_surrogates(value)
    except UnicodeDecodeError:
        raise BadBody("it is not valid UTF-8.") from None
    except RecursionError:
        raise BadBody("it is nested too deeply.") from None
    except ValueError as error:
        raise BadBody(f"{error}.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _replace_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        pairs = cast("dict[str, Any]", value).items()
        return {_replace_surrogates(key): _replace_surrogates(item) for key, item in pairs}
    return value
