"""The parts of one candidate that are not sent yet, as JSON.

Knows how a part is written. A call becomes a part once it is whole.
"""

from __future__ import annotations

import uuid

import msgspec

from server.answer import Call, CallArguments, CallClosed, CallOpened, Event, Reasoning, Words
from server.gemini.json_text import encode_json


class Parts:
    """Collects what the events of one sample say."""

    def __init__(self, *, shows_thoughts: bool) -> None:
        self._shows_thoughts = shows_thoughts
        self._written: list[bytes] = []
        self._texts: list[str] = []
        self._thoughts = False  # whether the texts are thoughts
        self._call: Call | None = None
        self.malformed = False  # a call that was no JSON

    def __bool__(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._written or self._texts)

    @property
    def has_open_call(self) -> bool:
        """Whether a call has begun and not ended."""
        return self._call is not None

    def shows(self, event: Event) -> bool:
        """Whether the event adds something that can be sent."""
        match event:
            case Words() | CallClosed():
                return True
            case Reasoning():
                return self._shows_thoughts
            case _:
                return False

    def add(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case Words(text):
                self._text(text, thought=False)
            case Reasoning(text):
                if self._shows_thoughts:
                    self._text(text, thought=True)
            case CallOpened(name):
                self._call = Call(name)
            case CallArguments(text):
                if self._call is not None:
                    self._call.arguments += text
            case CallClosed():
                self._close_call()

    def take(self) -> bytes:
        """All parts, never none; they are forgotten here."""
        self._end_text()
        written, self._written = self._written, []
        return b",".join(written) or b'{"text":""}'

    def exchange(self, text: str) -> str:
        """Take words and give those that waited, where there has been nothing but words."""
        before, self._texts = self._texts, [text]
        return before[0] if len(before) == 1 else "".join(before)

    def _text(self, text: str, *, thought: bool) -> None:
        if thought != self._thoughts:
            self._end_text()
            self._thoughts = thought
        self._texts.append(text)

    def _end_text(self) -> None:
        if self._texts:
            text = encode_json("".join(self._texts))
            self._written.append(b'{"text":%b%b}' % (text, self._mark()))
            self._texts = []

    def _mark(self) -> bytes:
        return b',"thought":true' if self._thoughts else b""

    def _close_call(self) -> None:
        call, self._call = self._call, None
        assert call is not None
        try:
            arguments = msgspec.json.decode(call.arguments)
        except msgspec.DecodeError:
            self.malformed = True
            return
        self._end_text()
        call_id = uuid.uuid4().hex[:12]  # unique in a conversation, which is all that is asked
        function = {"id": call_id, "name": call.name, "args": arguments}
        self._written.append(encode_json({"functionCall": function}))
