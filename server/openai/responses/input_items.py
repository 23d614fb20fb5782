"""The `input` of a request as items: checked, given ids, ready to be kept.

Knows the wire's shapes of items; what a model sees of them is `conversation`'s business.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any, cast

from engine import InvalidParameter, UnsupportedParameter
from server.body import json_type
from server.errors import InvalidType, MissingParameter
from server.openai.tools import fields_of

Item = dict[str, Any]

ROLES = ("user", "assistant", "system", "developer")
TEXT_PARTS = {
    "input_text": "text",
    "output_text": "text",
    "text": "text",
    "summary_text": "text",
    "reasoning_text": "text",
    "refusal": "refusal",
}
"""Kinds of parts that are text, and the key of their text."""

_DROPPED = frozenset(
    {
        "compaction",
        "web_search_call",
        "file_search_call",
        "computer_call",
        "computer_call_output",
        "code_interpreter_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "tool_search_call",
        "tool_search_output",
    }
)
"""Traces of tools that this server does not run: the model is not shown them."""


def new_id(prefix: str) -> str:
    """An id of one object of this API."""
    return f"{prefix}_{uuid.uuid4().hex}"


def items_of(value: object) -> tuple[Item, ...]:
    """The input's items; a string is one message of the user.

    Raises:
        InvalidType, MissingParameter, InvalidParameter: with the place, as `input[0].role`.
        UnsupportedParameter: a part that is not text.
    """
    if isinstance(value, str):
        part = {"type": "input_text", "text": value}
        return ({"id": new_id("msg"), "type": "message", "role": "user", "content": [part]},)
    if not isinstance(value, list):
        raise InvalidType("input", "a string or an array", json_type(value))
    items = cast("list[object]", value)
    found = (_item(item, f"input[{i}]") for i, item in enumerate(items))
    return tuple(item for item in found if item is not None)


def resolved(items: Sequence[Item], known: Callable[[str], Item | None]) -> tuple[Item, ...]:
    """The items with references replaced by the items that they name.

    Raises:
        InvalidParameter: a reference to an item that is not kept.
    """
    result: list[Item] = []
    for place, item in enumerate(items):
        if item["type"] == "item_reference":
            found = known(item["id"])
            if found is None:
                raise InvalidParameter(f"input[{place}].id", item["id"], "no such item is kept.")
            item = found
        result.append(item)
    return tuple(result)


def _item(value: object, path: str) -> Item | None:
    fields = fields_of(value, path)
    kind = fields.get("type", "message" if "role" in fields else "item_reference")
    if not isinstance(kind, str):
        raise InvalidType(f"{path}.type", "a string", json_type(kind))
    if kind in _DROPPED:
        return None
    reader = _READERS.get(kind)
    if reader is None:
        raise InvalidParameter(path, kind, f"items of type {kind!r} are not known.")
    return reader(fields, path)


def _message(fields: Item, path: str) -> Item:
    role = _string(fields, "role", path)
    if role not in ROLES:
        raise InvalidParameter(f"{path}.role", role, f"expected one of {', '.join(ROLES)}.")
    kind = "output_text" if role == "assistant" else "input_text"
    content = _content(_needed(fields, "content", path), kind, f"{path}.content")
    return {"id": _id(fields, "msg"), "type": "message", "role": role, "content": content}


def _function_call(fields: Item, path: str) -> Item:
    arguments = fields.get("arguments", "")
    if not isinstance(arguments, str):
        raise InvalidType(f"{path}.arguments", "a string", json_type(arguments))
    return {
        "id": _id(fields, "fc"),
        "type": "function_call",
        "call_id": _string(fields, "call_id", path),
        "name": _string(fields, "name", path),
        "arguments": arguments,
        "status": "completed",
    }


def _custom_tool_call(fields: Item, path: str) -> Item:
    return {
        "id": _id(fields, "ctc"),
        "type": "custom_tool_call",
        "call_id": _string(fields, "call_id", path),
        "name": _string(fields, "name", path),
        "input": _string(fields, "input", path),
        "status": "completed",
    }


def _output(kind: str, prefix: str) -> Callable[[Item, str], Item]:
    def read(fields: Item, path: str) -> Item:
        output = _needed(fields, "output", path)
        if not isinstance(output, str):
            output = _content(output, "input_text", f"{path}.output")
        call_id = _string(fields, "call_id", path)
        return {"id": _id(fields, prefix), "type": kind, "call_id": call_id, "output": output}

    return read


def _reasoning(fields: Item, path: str) -> Item:
    item: Item = {"id": _id(fields, "rs"), "type": "reasoning"}
    for name, kind in (("summary", "summary_text"), ("content", "reasoning_text")):
        item[name] = _content(fields.get(name, []), kind, f"{path}.{name}")
    if isinstance(fields.get("encrypted_content"), str):
        item["encrypted_content"] = fields["encrypted_content"]
    return item


def _reference(fields: Item, path: str) -> Item:
    return {"type": "item_reference", "id": _string(fields, "id", path)}


_READERS: dict[str, Callable[[Item, str], Item]] = {
    "message": _message,
    "function_call": _function_call,
    "function_call_output": _output("function_call_output", "fco"),
    "custom_tool_call": _custom_tool_call,
    "custom_tool_call_output": _output("custom_tool_call_output", "cto"),
    "reasoning": _reasoning,
    "item_reference": _reference,
}


def _content(value: object, kind: str, path: str) -> list[Item]:
    if isinstance(value, str):
        return [{"type": kind, "text": value}]
    if not isinstance(value, list):
        raise InvalidType(path, "a string or an array of parts", json_type(value))
    parts = cast("list[object]", value)
    return [_part(part, f"{path}[{i}]") for i, part in enumerate(parts)]


def _part(value: object, path: str) -> Item:
    fields = fields_of(value, path)
    kind = fields.get("type")
    if kind is None:
        raise MissingParameter(f"{path}.type")
    if not isinstance(kind, str) or kind not in TEXT_PARTS:
        raise UnsupportedParameter(path, f"of type {kind!r} is not supported: text only.")
    key = TEXT_PARTS[kind]
    return {"type": kind, key: _string(fields, key, path)}


def _needed(fields: Item, name: str, path: str) -> object:
    if name not in fields:
        raise MissingParameter(f"{path}.{name}")
    return fields[name]


def _string(fields: Item, name: str, path: str) -> str:
    value = _needed(fields, name, path)
    if not isinstance(value, str):
        raise InvalidType(f"{path}.{name}", "a string", json_type(value))
    return value


def _id(fields: Item, prefix: str) -> str:
    given = fields.get("id")
    return given if isinstance(given, str) and given else new_id(prefix)
