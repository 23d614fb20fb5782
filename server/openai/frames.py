"""Server-sent events of this dialect, built from bytes that are the same in every chunk.

Per delta only the text is escaped; the rest of a chunk was serialized when the stream began.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import msgspec

from engine import EngineError
from server.errors import openai_error

DONE = b"data: [DONE]\n\n"

# Line ends to some SSE readers, though not to the standard; JSON may escape them.
_LINE_ENDS = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)


_encode = msgspec.json.Encoder().encode


def line(value: object) -> bytes:
    """The value as JSON that no reader takes for two lines."""
    data = _encode(value)
    if not data.isascii():
        for raw, escaped in _LINE_ENDS:
            data = data.replace(raw, escaped)
    return data


class Chunks:
    """Writes the chunks of one stream. `head` holds id, object, created, model, fingerprint.

    `null_usage`: the caller asked for usage, so each chunk says that it is not there yet.
    """

    def __init__(self, head: Mapping[str, object], *, null_usage: bool) -> None:
        self._head = b"data: " + line(head)[:-1] + b',"choices":['
        self._tail = b'],"usage":null}\n\n' if null_usage else b"]}\n\n"

    def chunk(self, choice: bytes, usage: Mapping[str, object] | None = None) -> bytes:
        """One choice, already serialized."""
        if usage is None:
            return self._head + choice + self._tail
        return self._head + choice + b'],"usage":' + line(usage) + b"}\n\n"

    def usage(self, usage: Mapping[str, object]) -> bytes:
        """The chunk without choices that ends a stream whose caller asked for usage."""
        return self.chunk(b"", usage)


def error_writer(names: Mapping[str, str]) -> Callable[[EngineError], Sequence[bytes]]:
    """What an open stream gets instead of its rest. `code` is a string here, never null."""

    def write(error: EngineError) -> Sequence[bytes]:
        fields = cast("dict[str, object]", openai_error(error, names).body["error"])
        body = {"error": {**fields, "code": fields["code"] or fields["type"]}}
        return (b"data: " + line(body) + b"\n\n", DONE)

    return write
