"""Streamed text to words and tool calls, piece by piece; a whole answer is one piece.

Arguments are handed on while they are written. What looks like a call but is none is given back as
words. White space around calls belongs to the format and is dropped. Knows the formats' marks, and
nothing of dialects.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection

import msgspec

from server.answer import CallArguments, CallClosed, CallOpened, Event, Words
from server.held_text import split_at
from server.json_object import ObjectEnd
from server.tool_formats import ToolFormat

_HEAD = re.compile(
    r'\s*\[?\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)'
)
_MAX_HEAD = 300  # characters that may turn out to be no call, where no mark has announced one


class _State(enum.Enum):
    TEXT = enum.auto()  # words, until an opening mark
    HEAD = enum.auto()  # up to the arguments of a call
    ARGUMENTS = enum.auto()
    TAIL = enum.auto()  # from the arguments to the next call, or to the closing mark
    PLAIN = enum.auto()  # words, whatever comes
    DONE = enum.auto()  # nothing that comes counts


class ToolCallParser:
    """Reads one sample. However its text is cut into pieces, the outcome is the same.

    `names` are the tools that there are. Without `parallel` the first call is the last thing that
    is read. `start` is where the text begins in the sample's, in code points.
    """

    def __init__(
        self, form: ToolFormat, names: Collection[str], *, parallel: bool = True, start: int = 0
    ) -> None:
        self._form = form
        self._names = names
        self._parallel = parallel and form.parallel
        self._state = _State.TEXT if form.opening else _State.HEAD
        self._buffer = ""
        self._position = start  # of the buffer
        self._held = 0  # characters at its start that are words if no call follows
        self._after_call = False
        self._object = ObjectEnd()
        self._events: list[Event] = []

    def feed(self, text: str, *, last: bool) -> list[Event]:
        """Take the next piece; what may still become a mark is held back until the `last`."""
        self._buffer += text
        self._events = []
        while self._steps[self._state](self, last):
            pass
        return self._events

    # Each step takes from the buffer what it can, and says whether another step may go on.

    def _text(self, last: bool) -> bool:
        before, mark, _ = split_at(self._buffer, self._form.opening)
        words = len(before.rstrip())
        if not mark:
            self._say(len(self._buffer) if last else words)
            return False
        self._say(words)
        # White space and mark stay in the buffer until it is certain that they begin a call.
        self._held = len(before) - words + len(mark)
        self._state = _State.HEAD
        return True

    def _head(self, last: bool) -> bool:
        body = self._buffer[self._held :]
        found = _HEAD.match(body)
        if found:
            name = _decoded(found[1])
            if name not in self._names:
                return self._no_call()
            self._take(self._held + found.end())
            self._held = 0
            self._events.append(CallOpened(name))
            self._object, self._state = ObjectEnd(), _State.ARGUMENTS
            return True
        closing = "" if self._form.is_list else self._form.closing
        inside, found_closing, _ = body.partition(closing) if closing else (body, "", "")
        if found_closing or last:
            return self._whole(inside, found_closing)
        return self._no_call() if self._cannot_be_call(body) else False

    def _whole(self, inside: str, closing: str) -> bool:
        """A call whose keys stand in another order, or that has no arguments."""
        call = read_call(inside)
        if call is None or call[0] not in self._names:
            return self._no_call()
        self._take(self._held + len(inside) + len(closing))
        self._held = 0
        self._events += [CallOpened(call[0]), CallArguments(call[1]), CallClosed()]
        self._close(_State.TEXT)
        return True

    def _cannot_be_call(self, body: str) -> bool:
        if self._form.opening:
            return False
        begin = body.lstrip()
        return bool(begin) and (begin[0] != "{" or len(begin) > _MAX_HEAD)

    def _no_call(self) -> bool:
        """The mark was none: it is words, and what follows it is read as such."""
        self._say(self._held)
        self._held = 0
        self._state = _State.TEXT if self._form.opening else _State.PLAIN
        return True

    def _arguments(self, _last: bool) -> bool:
        end = self._object.find(self._buffer)
        piece = self._take(len(self._buffer) if end is None else end)
        if piece:
            self._events.append(CallArguments(piece))
        if end is None:
            return False
        self._events.append(CallClosed())
        self._object = ObjectEnd(depth=1)  # the call around the arguments is still open
        self._close(_State.TAIL)
        return True

    def _close(self, state: _State) -> None:
        self._after_call = True
        self._state = state if self._parallel else _State.DONE

    def _tail(self, _last: bool) -> bool:
        if self._form.is_list:
            return self._list_tail()
        _, mark, rest = split_at(self._buffer, self._form.closing)
        self._take(len(self._buffer) - len(rest))
        if mark:
            self._state = _State.TEXT
        return bool(mark)

    def _list_tail(self) -> bool:
        if self._object.depth:
            end = self._object.find(self._buffer)
            self._take(len(self._buffer) if end is None else end)
            if end is None:
                return False
        rest = self._buffer.lstrip()
        self._take(len(self._buffer) - len(rest) + min(1, len(rest)))
        if rest:
            self._state = _State.HEAD if rest[0] == "," else _State.TEXT
        return bool(rest)

    def _plain(self, _last: bool) -> bool:
        self._say(len(self._buffer))
        return False

    def _done(self, _last: bool) -> bool:
        self._take(len(self._buffer))
        return False

    _steps = {
        _State.TEXT: _text,
        _State.HEAD: _head,
        _State.ARGUMENTS: _arguments,
        _State.TAIL: _tail,
        _State.PLAIN: _plain,
        _State.DONE: _done,
    }

    def _take(self, count: int) -> str:
        text, self._buffer = self._buffer[:count], self._buffer[count:]
        self._position += count
        return text

    def _say(self, count: int) -> None:
        """The next characters are words."""
        start = self._position
        text = self._take(count)
        if self._after_call:
            spoken = text.lstrip()
            start += len(text) - len(spoken)
            text = spoken
        if text:
            self._after_call = False
            self._events.append(Words(text, start))


class _WholeCall(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw()
    parameters: msgspec.Raw = msgspec.Raw()


def read_call(body: str) -> tuple[str, str] | None:
    """Name and arguments of a call in one piece, or None when it is not one."""
    try:
        call = msgspec.json.decode(body, type=_WholeCall)
    except (msgspec.DecodeError, RecursionError):
        return None
    given = bytes(call.arguments) or bytes(call.parameters) or b"{}"
    arguments = given.decode().strip()
    return (call.name, arguments) if arguments.startswith("{") else None


def _decoded(string: str) -> str:
    try:
        return msgspec.json.decode(string, type=str)
    except msgspec.DecodeError:
        return ""
