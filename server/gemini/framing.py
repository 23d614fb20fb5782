"""How the chunks of a streamed answer follow one another: as events, or as a JSON array.

Both say errors that come after the headers in the way that every known client notices. Knows
nothing of what a chunk holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from engine import EngineError
from server.gemini.errors import error_reply
from server.gemini.json_text import encode_json


class Framing(Protocol):
    """One stream's punctuation."""

    media_type: str

    def chunk(self, data: bytes) -> bytes:
        """A chunk that others follow."""
        ...

    def last(self, data: bytes) -> bytes:
        """The last chunk and the stream's end."""
        ...

    def error(self, error: EngineError) -> Sequence[bytes]:
        """The writes that end a stream in an error."""
        ...


class EventFraming:
    """`data: {...}` and an empty line, nothing else: no comments, no names, no end mark."""

    media_type = "text/event-stream"

    def chunk(self, data: bytes) -> bytes:
        """See `Framing.chunk`."""
        return b"data: %b\r\n\r\n" % data

    def last(self, data: bytes) -> bytes:
        """See `Framing.last`."""
        return self.chunk(data)

    def error(self, error: EngineError) -> Sequence[bytes]:
        """The error twice: bare, as Google ends its streams, and then as an event. Some clients
        see only the first, others only the second, and all need them in this order."""
        data = _error_json(error)
        return data, b"\r\n\r\ndata: %b\r\n\r\n" % data


class ArrayFraming:
    """`[{...},{...}]`, one element per chunk."""

    media_type = "application/json; charset=UTF-8"

    def __init__(self) -> None:
        self._punctuation = b"["

    def chunk(self, data: bytes) -> bytes:
        """See `Framing.chunk`."""
        before, self._punctuation = self._punctuation, b",\r\n"
        return before + data

    def last(self, data: bytes) -> bytes:
        """See `Framing.last`."""
        return self.chunk(data) + b"]"

    def error(self, error: EngineError) -> Sequence[bytes]:
        """The error as one more element."""
        return (self.last(_error_json(error)),)


def _error_json(error: EngineError) -> bytes:
    """`error` comes first and its message has no braces: some clients find the object by them."""
    body = cast("dict[str, object]", error_reply(error).body["error"])
    message = encode_json(body["message"]).replace(b"{", b"\\u007b").replace(b"}", b"\\u007d")
    return b'{"error":{"code":%d,"message":%b,"status":%b}}' % (
        cast("int", body["code"]),
        message,
        encode_json(body["status"]),
    )
