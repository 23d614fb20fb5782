"""Streamed text to tool calls, piece by piece; a whole answer is one piece.

    text  <tool_call>\\n{"name": "f", "arguments": {...}}\\n</tool_call>  ...

This is how models trained in the Hermes format write a call (Qwen and the embedded model among
them). What looks like a call but is none is given back as text: nothing is lost. Knows nothing of
dialects, and not which tools were offered.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

HERMES = "hermes"
OPEN, CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call; `arguments` is a JSON object as the model wrote it."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a piece of text came to: words for the reader, then calls."""

    text: str
    calls: tuple[ToolCall, ...] = ()


class ToolCallParser:
    """Reads one sample. However its text is cut into pieces, the outcome is the same.

    White space around calls belongs to the format and is dropped. Without `parallel` the first
    call is the last thing that is read.
    """

    def __init__(self, *, parallel: bool = True) -> None:
        self._parallel = parallel
        self._buffer = ""
        self._gap = ""  # white space before the open marker
        self._inside = False
        self._after_call = False
        self.num_calls = 0

    def feed(self, text: str) -> Parsed:
        """Take the next piece; what may still become a marker is held back."""
        self._buffer += text
        words: list[str] = []
        calls: list[ToolCall] = []
        while not self._done:
            if self._inside:
                body, close, rest = self._buffer.partition(CLOSE)
                if not close:
                    break
                self._buffer, self._inside = rest, False
                self._close(body, CLOSE, words, calls)
            else:
                words.append(self._before_marker())
                if not self._inside:
                    break
        return Parsed("".join(words), tuple(calls))

    def finish(self) -> Parsed:
        """The text has ended: give out what was held back."""
        words: list[str] = []
        calls: list[ToolCall] = []
        if not self._done:
            rest, self._buffer = self._buffer, ""
            if self._inside:
                self._close(rest, "", words, calls)  # a turn may end without the close marker
            elif rest.strip() or not self._after_call:
                words.append(rest)
        return Parsed("".join(words), tuple(calls))

    def read(self, text: str, *, last: bool) -> Parsed:
        """`feed`, and `finish` after the last piece."""
        parsed = self.feed(text)
        if not last:
            return parsed
        rest = self.finish()
        return Parsed(parsed.text + rest.text, parsed.calls + rest.calls)

    @property
    def _done(self) -> bool:
        return self.num_calls > 0 and not self._parallel

    def _before_marker(self) -> str:
        """Text that is certainly no marker, taken off the buffer; goes inside at a marker."""
        before, marker, rest = self._buffer.partition(OPEN)
        held = 0 if marker else _partial_marker(before)
        text = before[: len(before) - held].rstrip()
        if marker:
            self._gap, self._buffer, self._inside = before[len(text) :], rest, True
        else:
            self._buffer = before[len(text) :]
        if self._after_call:
            text = text.lstrip()
            self._after_call = not text
        return text

    def _close(self, body: str, close: str, words: list[str], calls: list[ToolCall]) -> None:
        call = read_call(body)
        if call is None:
            words.append(f"{self._gap}{OPEN}{body}{close}")
            self._after_call = False
        else:
            calls.append(call)
            self.num_calls += 1
            self._after_call = True


class _Call(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")


def read_call(body: str) -> ToolCall | None:
    """The call between two markers, or None when it is not one."""
    try:
        call = msgspec.json.decode(body, type=_Call)
    except (msgspec.DecodeError, RecursionError):
        return None
    arguments = bytes(call.arguments).decode().strip()
    return ToolCall(call.name, arguments) if arguments.startswith("{") else None


def _partial_marker(text: str) -> int:
    """Length of the longest end of `text` that begins the open marker."""
    for length in range(min(len(text), len(OPEN) - 1), 0, -1):
        if text.endswith(OPEN[:length]):
            return length
    return 0
