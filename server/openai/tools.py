"""`tools` and `tool_choice` of a chat request, and calls as this dialect writes them.

Knows the wire's shapes. How a model writes a call is `server.tool_calls`' business.
"""

from __future__ import annotations

import re
import uuid
from typing import Any, cast

from engine import InvalidParameter, ModelCard, UnsupportedParameter
from server.body import json_type
from server.errors import InvalidType, MissingParameter
from server.tool_calls import HERMES, ToolCall

NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
NO_PARAMETERS: dict[str, object] = {"type": "object", "properties": {}}


def tools_of(value: object) -> tuple[dict[str, object], ...]:
    """The function tools of a request, in the form that chat templates expect.

    Raises:
        InvalidType, MissingParameter, InvalidParameter: with the place, as `tools[0].function`.
        UnsupportedParameter: a tool that is no function, or strict arguments.
    """
    if not isinstance(value, list):
        raise InvalidType("tools", "an array", json_type(value))
    items = cast("list[object]", value)
    return tuple(_tool(item, f"tools[{i}]") for i, item in enumerate(items))


def _tool(value: object, path: str) -> dict[str, object]:
    fields = _object(value, path)
    if fields.get("type", "function") != "function":
        raise UnsupportedParameter(f"{path}.type", "other than 'function' is not supported.")
    if "function" not in fields:
        raise MissingParameter(f"{path}.function")
    return {"type": "function", "function": _function(fields["function"], f"{path}.function")}


def _function(value: object, path: str) -> dict[str, object]:
    fields = _object(value, path)
    if "name" not in fields:
        raise MissingParameter(f"{path}.name")
    name, description = fields["name"], fields.get("description", "")
    if not isinstance(name, str):
        raise InvalidType(f"{path}.name", "a string", json_type(name))
    if not NAME.fullmatch(name):
        reason = "expected up to 128 letters, digits, '_', '-', '.' or ':'."
        raise InvalidParameter(f"{path}.name", name, reason)
    if not isinstance(description, str):
        raise InvalidType(f"{path}.description", "a string", json_type(description))
    if fields.get("strict"):
        raise UnsupportedParameter(f"{path}.strict", "is not supported: arguments are not checked.")
    parameters = _object(fields.get("parameters", NO_PARAMETERS), f"{path}.parameters")
    return {"name": name, "description": description, "parameters": parameters}


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidType(path, "an object", json_type(value))
    return {k: v for k, v in cast("dict[str, Any]", value).items() if v is not None}


def tool_choice_of(value: object) -> str:
    """`auto` or `none`.

    Raises:
        UnsupportedParameter: a choice that forces a call.
        InvalidParameter: no choice at all.
    """
    if value in ("auto", "none"):
        return str(value)
    if value == "required" or isinstance(value, dict):
        reason = "can only be 'auto' or 'none': calls cannot be forced."
        raise UnsupportedParameter("tool_choice", reason)
    raise InvalidParameter("tool_choice", value, "expected 'auto' or 'none'.")


def check_model_calls(card: ModelCard) -> None:
    """Raises `UnsupportedParameter` when the served model's chat template knows no tool calls."""
    if card.tool_call_format != HERMES:
        reason = "is not supported: the model's chat template has no tool calls known here."
        raise UnsupportedParameter("tools", reason)


def call_object(call: ToolCall) -> dict[str, object]:
    """A call in a message."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function}


def call_deltas(call: ToolCall, index: int) -> tuple[dict[str, object], dict[str, object]]:
    """A call in a stream: its head without arguments, then the arguments."""
    head = call_object(ToolCall(call.name, ""))
    return (
        {"tool_calls": [{"index": index, **head}]},
        {"tool_calls": [{"index": index, "function": {"arguments": call.arguments}}]},
    )
