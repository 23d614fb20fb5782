"""Calls in a chat stream, fragment by fragment.

A fragment's id, type and name come once, with the first; clients join what follows. A custom
tool's input comes whole, since it is a string inside of what the model writes.
"""

from __future__ import annotations

from server.answer import CallArguments, CallClosed, CallOpened, Event
from server.openai.tools import new_call_id
from server.tools import ToolUse, custom_input


class CallFragments:
    """Writes the calls of one choice. `count` is how many have begun."""

    def __init__(self, use: ToolUse) -> None:
        self.count = 0
        self._use = use
        self._custom = False
        self._arguments: list[str] = []

    def write(self, event: Event) -> list[dict[str, object]]:
        """The elements of `tool_calls` that an event makes."""
        match event:
            case CallOpened(name):
                return [self._open(name)]
            case CallArguments(text) if self._custom:
                self._arguments.append(text)
            case CallArguments(text):
                return [{"index": self.count - 1, "function": {"arguments": text}}]
            case CallClosed() if self._custom:
                text = custom_input("".join(self._arguments))
                return [{"index": self.count - 1, "custom": {"input": text}}]
            case _:
                pass
        return []

    def _open(self, name: str) -> dict[str, object]:
        call: dict[str, object] = {"index": self.count, "id": new_call_id()}
        self.count += 1
        self._custom, self._arguments = self._use.is_custom(name), []
        if self._custom:
            return {**call, "type": "custom", "custom": {"name": name, "input": ""}}
        return {**call, "type": "function", "function": {"name": name, "arguments": ""}}
