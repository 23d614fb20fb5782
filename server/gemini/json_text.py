"""JSON that is one line to every reader of a stream."""

from __future__ import annotations

import msgspec

_LINE_BREAKS = (
    (b"\xc2\x85", b"\\u0085"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)
"""Line breaks to neither JSON nor SSE, but to the `str.splitlines` of Python clients."""


def encode_json(value: object) -> bytes:
    """Compact JSON that is one line to everybody."""
    data = msgspec.json.encode(value)
    if not data.isascii():
        for raw, escaped in _LINE_BREAKS:
            data = data.replace(raw, escaped)
    return data
