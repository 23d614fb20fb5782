"""Turns of a conversation joined to the messages of a chat template.

    user texts                       one user message, joined by new lines
    model texts and function calls   one assistant message
    function responses               a tool message each, matched with its call

Neighbouring turns of one role become one message, since many templates need alternation. Knows
nothing of the wire beyond the records it is given.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from server.gemini.schema import FunctionCall, FunctionResponse

Message = dict[str, object]

_JOINTS = {"user": "\n", "assistant": ""}
"""Chat clients return a streamed answer as one model turn per chunk: nothing goes between those."""


class Turns:
    """Collects the pieces of a conversation, in order."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._role = ""
        self._texts: list[str] = []
        self._calls: list[Message] = []
        self._unanswered: list[tuple[str, str]] = []  # (name, id) of calls
        self._num_calls = 0

    def add_text(self, role: str, text: str) -> None:
        """Words of the user or the assistant."""
        self._turn_to(role)
        self._texts.append(text)

    def add_call(self, call: FunctionCall) -> None:
        """A call that the assistant made."""
        self._turn_to("assistant")
        self._num_calls += 1
        call_id = call.id or f"call_{self._num_calls}"
        self._unanswered.append((call.name, call_id))
        function: Message = {"name": call.name, "arguments": call.args or {}}
        self._calls.append({"id": call_id, "type": "function", "function": function})

    def add_response(self, response: FunctionResponse) -> None:
        """What a function said; without an id it answers the oldest open call of its name."""
        self._turn_to("")
        waiting = [call_id for name, call_id in self._unanswered if name == response.name]
        call_id = response.id or (waiting[0] if waiting else response.name)
        self._unanswered = [entry for entry in self._unanswered if entry[1] != call_id]
        self._messages.append(
            {
                "role": "tool",
                "name": response.name,
                "tool_call_id": call_id,
                "content": _response_text(response.response or {}),
            }
        )

    def messages(self) -> list[Message]:
        """All messages, the last one included."""
        self._turn_to("")
        return self._messages

    def _turn_to(self, role: str) -> None:
        if role == self._role:
            return
        if self._role:
            text = _JOINTS[self._role].join(text for text in self._texts if text)
            message: Message = {"role": self._role, "content": text}
            if self._calls:
                message["tool_calls"] = self._calls
            self._messages.append(message)
        self._role, self._texts, self._calls = role, [], []


def _response_text(response: Mapping[str, object]) -> str:
    """A lone `output` stands for the whole, as Google's convention has it."""
    said = response["output"] if set(response) == {"output"} else response
    return said if isinstance(said, str) else msgspec.json.encode(said).decode()
