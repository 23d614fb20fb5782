"""Streamed text in the Harmony format to events: how gpt-oss answers.

    <|channel|>analysis<|message|>reasoning<|end|>
    <|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{...}<|call|>
    <|start|>assistant<|channel|>final<|message|>words<|return|>

An answer is a row of messages, without the line breaks. The header of each says what it is: what a
function is sent, or else, by its channel, reasoning or words. The first header's beginning stands
in the prompt. What follows no header is words.

Source: "OpenAI harmony response format". Knows nothing of dialects.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection

from server.answer import CallArguments, CallClosed, CallOpened, Event, Reasoning, Words
from server.held_text import split_at
from server.json_object import ObjectEnd

START, CHANNEL, CONSTRAIN, MESSAGE = "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"
END, CALL, RETURN = "<|end|>", "<|call|>", "<|return|>"
MARKS = (START, CHANNEL, CONSTRAIN, MESSAGE, END, CALL, RETURN)
FUNCTIONS = "functions."
"""Before the name of a function of the caller's."""

_OPENINGS = (START, CHANNEL, CONSTRAIN, "to=")
_ENDS = (END, CALL, RETURN, START)
"""Of a message: the last belongs to the next header."""
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")


class _State(enum.Enum):
    HEADER = enum.auto()
    REASONING = enum.auto()
    WORDS = enum.auto()
    ARGUMENTS = enum.auto()
    TAIL = enum.auto()  # from the end of arguments to the next message
    DONE = enum.auto()  # nothing that comes counts


class HarmonyReader:
    """Reads one sample. However its text is cut into pieces, the outcome is the same.

    `names` are the functions that may be called. Without `parallel` the first call is the last
    thing that is read. `inside` says that the prompt ends within the words of a message.
    """

    def __init__(self, names: Collection[str], *, parallel: bool = True, inside: bool) -> None:
        self._names = names
        self._parallel = parallel
        self._state = _State.WORDS if inside else _State.HEADER
        self._buffer = ""
        self._position = 0  # of the buffer in the sample's text
        self._said = {_State.REASONING: False, _State.WORDS: False}
        self._begins = True  # nothing of this message is out
        self._object = ObjectEnd()
        self._events: list[Event] = []

    def feed(self, text: str, *, last: bool) -> list[Event]:
        """Take the next piece; what may still become a mark is held back until the `last`."""
        self._buffer += text
        self._events = []
        while self._header(last) if self._state is _State.HEADER else self._body(last):
            pass
        return self._events

    # Both say whether there is more to read in the buffer.

    def _header(self, last: bool) -> bool:
        begin = self._buffer.lstrip()
        if not _may_open(begin, last=last):
            self._state = _State.WORDS
            return True
        header, mark, _ = split_at(self._buffer, MESSAGE)
        if not mark:
            return False
        self._take(len(header) + len(mark))
        self._state, self._begins = self._announced(header), True
        return True

    def _announced(self, header: str) -> _State:
        """What the header says follows."""
        recipient, channel = _RECIPIENT.search(header), _CHANNEL.search(header)
        name = recipient[1].removeprefix(FUNCTIONS) if recipient else ""
        if name in self._names:
            self._events.append(CallOpened(name))
            self._object = ObjectEnd()
            return _State.ARGUMENTS
        thought = channel is not None and channel[1] == "analysis"
        return _State.REASONING if thought else _State.WORDS

    def _body(self, last: bool) -> bool:
        text, end, _ = split_at(self._buffer, *_ENDS)
        self._say(self._take(len(self._buffer) if last and not end else len(text)))
        if end and self._state is _State.ARGUMENTS:
            self._close(empty=self._begins)
        if not end or self._state is _State.DONE:
            return False
        self._state = _State.HEADER
        self._take(0 if end == START else len(end))
        return True

    def _say(self, text: str) -> None:
        if not text:
            return
        start = self._position - len(text)
        match self._state:
            case _State.REASONING:
                self._events.append(Reasoning("\n\n" + text if self._follows() else text))
            case _State.WORDS:
                if self._follows():  # said to stand within a mark, where no token begins
                    self._events.append(Words("\n\n", start - len(MESSAGE) + 1))
                self._events.append(Words(text, start))
            case _State.ARGUMENTS:
                self._argue(text)
            case _:
                return
        self._begins = False

    def _follows(self) -> bool:
        """Whether this is the beginning of another message of its kind."""
        follows = self._begins and self._said[self._state]
        self._said[self._state] = True
        return follows

    def _argue(self, text: str) -> None:
        end = self._object.find(text)
        self._events.append(CallArguments(text if end is None else text[:end]))
        if end is not None:
            self._close(empty=False)

    def _close(self, *, empty: bool) -> None:
        if empty:
            self._events.append(CallArguments("{}"))
        self._events.append(CallClosed())
        self._state = _State.TAIL if self._parallel else _State.DONE

    def _take(self, count: int) -> str:
        text, self._buffer = self._buffer[:count], self._buffer[count:]
        self._position += count
        return text


def _may_open(begin: str, *, last: bool) -> bool:
    """Whether a text can be that of a header."""
    if begin.startswith(_OPENINGS):
        return True
    return not last and any(opening.startswith(begin) for opening in _OPENINGS)
