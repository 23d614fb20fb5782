"""Items of input and output to the messages of a chat template.

    reasoning, words and calls of the model that follow one another   one assistant message
    what a tool said                                                  a tool message
    any other message                                                 as it is

Knows items as `input_items` and `output` make them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from server.openai.responses.input_items import TEXT_PARTS, Item

Message = dict[str, object]


def messages_of(instructions: str | None, items: Iterable[Item]) -> tuple[Message, ...]:
    """The conversation, the instructions as its first message."""
    messages: list[Message] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    turn: _AssistantTurn | None = None
    for item in items:
        if _is_of_the_model(item):
            if turn is None:
                turn = _AssistantTurn()
                messages.append(turn.message)
            turn.add(item)
        else:
            turn = None
            messages.append(_other_message(item))
    return tuple(messages)


class _AssistantTurn:
    """One assistant message that grows."""

    def __init__(self) -> None:
        self.message: Message = {"role": "assistant", "content": ""}

    def add(self, item: Item) -> None:
        match item["type"]:
            case "message":
                self.message["content"] = f"{self.message['content']}{_text(item['content'])}"
            case "reasoning":
                thought = _text(item.get("content") or [])
                if thought:
                    self.message["reasoning_content"] = thought
            case "custom_tool_call":
                self._add_call(item, {"input": item["input"]})
            case _:
                self._add_call(item, _arguments(item["arguments"]))

    def _add_call(self, item: Item, arguments: object) -> None:
        function: Message = {"name": item["name"], "arguments": arguments}
        call: Message = {"id": item["call_id"], "type": "function", "function": function}
        calls: Any = self.message.setdefault("tool_calls", [])
        calls.append(call)


def _is_of_the_model(item: Item) -> bool:
    kind = item["type"]
    if kind == "message":
        return item["role"] == "assistant"
    return kind in ("reasoning", "function_call", "custom_tool_call")


def _other_message(item: Item) -> Message:
    if item["type"] == "message":
        role = "system" if item["role"] == "developer" else item["role"]
        return {"role": role, "content": _text(item["content"])}
    output = item["output"]
    text = output if isinstance(output, str) else _text(output)
    return {"role": "tool", "tool_call_id": item["call_id"], "content": text}


def _text(parts: Iterable[Item]) -> str:
    return "".join(part[TEXT_PARTS[part["type"]]] for part in parts)


def _arguments(text: str) -> object:
    """Templates want an object; text that is no JSON stays text."""
    try:
        return msgspec.json.decode(text or "{}")
    except (msgspec.DecodeError, RecursionError):
        return text
