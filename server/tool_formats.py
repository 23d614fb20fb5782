"""How families of models write calls of tools.

    hermes    <tool_call>\\n{"name": "f", "arguments": {...}}\\n</tool_call>   per call
              Qwen, Hermes and the embedded model
    mistral   [TOOL_CALLS][{"name": "f", "arguments": {...}}, ...]
    llama3    {"name": "f", "parameters": {...}}   as the whole answer

Knows the marks; who reads them is `server.tool_calls`, and who enforces them `server.tool_grammar`.
"""

from __future__ import annotations

import msgspec


class ToolFormat(msgspec.Struct, frozen=True):
    """One way to write calls.

    `opening` and `closing` stand around each call, or where `is_list` around all of them. Without
    an `opening` a call is all that an answer has. `arguments` is the key of a call's arguments.
    """

    opening: str
    closing: str
    arguments: str
    is_list: bool = False

    @property
    def parallel(self) -> bool:
        """Whether an answer can have more than one call."""
        return bool(self.opening)


FORMATS = {
    "hermes": ToolFormat("<tool_call>", "</tool_call>", "arguments"),
    "mistral": ToolFormat("[TOOL_CALLS]", "]", "arguments", is_list=True),
    "llama3": ToolFormat("", "", "parameters"),
}
