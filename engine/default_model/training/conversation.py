"""One conversation to learn from: messages and tools as the OpenAI chat API spells them.

Knows the shapes and short ways to write them. Does not know how they become text or tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
Tool = dict[str, Any]


@dataclass(frozen=True)
class Conversation:
    """Messages in order, and the tools that the assistant may call."""

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()


Document = str | Conversation


def system(text: str) -> Message:
    """What the operator asks of the assistant."""
    return {"role": "system", "content": text}


def user(text: str) -> Message:
    """A turn of the user."""
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    """A turn of the assistant, in words."""
    return {"role": "assistant", "content": text}


def calls(*named: tuple[str, Mapping[str, Any]]) -> Message:
    """A turn of the assistant that calls tools: name and arguments of each."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"type": "function", "function": {"name": name, "arguments": dict(arguments)}}
            for name, arguments in named
        ],
    }


def result(value: object) -> Message:
    """What a tool gave back: text as it is, anything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {"role": "tool", "content": text}


def tool(name: str, description: str, parameters: Mapping[str, Any]) -> Tool:
    """A function tool; `parameters` is a JSON schema."""
    function = {"name": name, "description": description, "parameters": dict(parameters)}
    return {"type": "function", "function": function}
