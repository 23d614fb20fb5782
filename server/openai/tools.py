"""`tools` and `tool_choice` of a request, and calls as chat writes them.

Chat puts a function's fields under `function`, Responses beside the type; both are read here.
Knows the wire's shapes. How a model writes a call is `server.tool_formats`' business.
"""

from __future__ import annotations

import re
import uuid
from typing import Any, Literal, cast

import msgspec

from engine import InvalidParameter, UnsupportedParameter
from server.answer import Call
from server.body import json_type
from server.errors import InvalidType, MissingParameter
from server.tools import (
    Tool,
    ToolUse,
    all_of,
    custom_input,
    no_arguments,
    some_of,
    text_argument,
)

NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


class ToolChoice(msgspec.Struct, frozen=True):
    """What the caller wants of the tools; `names` are the only ones allowed, None allows all."""

    mode: Literal["none", "auto", "required"] = "auto"
    names: tuple[str, ...] | None = None
    named: bool = False


def tools_of(value: object) -> tuple[Tool, ...]:
    """The tools of a chat request.

    Raises:
        InvalidType, MissingParameter, InvalidParameter: with the place, as `tools[0].function`.
        UnsupportedParameter: a kind of tool that is not offered.
    """
    if not isinstance(value, list):
        raise InvalidType("tools", "an array", json_type(value))
    items = cast("list[object]", value)
    return tuple(_tool(item, f"tools[{i}]") for i, item in enumerate(items))


def flat_tools_of(value: object) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """The tools of a Responses request, and the types of those that other servers would run.

    Raises:
        InvalidType, MissingParameter, InvalidParameter, UnsupportedParameter: as `tools_of`.
    """
    if not isinstance(value, list):
        raise InvalidType("tools", "an array", json_type(value))
    tools: list[Tool] = []
    hosted: list[str] = []
    for place, item in enumerate(cast("list[object]", value)):
        path = f"tools[{place}]"
        fields = fields_of(item, path)
        kind = fields.get("type", "function")
        if kind == "function":
            tools.append(function_of(fields, path))
        elif kind == "custom":
            tools.append(_custom(fields, path))
        elif isinstance(kind, str):
            hosted.append(kind)
        else:
            raise InvalidType(f"{path}.type", "a string", json_type(kind))
    return tuple(tools), tuple(hosted)


def _tool(value: object, path: str) -> Tool:
    fields = fields_of(value, path)
    kind = fields.get("type", "function")
    if kind not in ("function", "custom"):
        reason = "other than 'function' and 'custom' is not supported."
        raise UnsupportedParameter(f"{path}.type", reason)
    if kind not in fields:
        raise MissingParameter(f"{path}.{kind}")
    if kind == "custom":
        return _custom(fields_of(fields["custom"], f"{path}.custom"), f"{path}.custom")
    return function_of(fields["function"], f"{path}.function")


def _custom(fields: dict[str, Any], path: str) -> Tool:
    """A tool that takes a text; inside of a call's JSON no grammar of it can be enforced."""
    form = fields_of(fields.get("format", {"type": "text"}), f"{path}.format")
    if form.get("type") != "text":
        raise UnsupportedParameter(f"{path}.format", "other than text is not supported.")
    description = fields.get("description", "")
    if not isinstance(description, str):
        raise InvalidType(f"{path}.description", "a string", json_type(description))
    return Tool(_name(fields, path), description, text_argument(), custom=True)


def function_of(value: object, path: str) -> Tool:
    """One function's declaration. Raises as `tools_of`."""
    fields = fields_of(value, path)
    name = _name(fields, path)
    description = fields.get("description", "")
    if not isinstance(description, str):
        raise InvalidType(f"{path}.description", "a string", json_type(description))
    strict = fields.get("strict", False)
    if not isinstance(strict, bool):
        raise InvalidType(f"{path}.strict", "a boolean", json_type(strict))
    schema = fields_of(fields.get("parameters", no_arguments()), f"{path}.parameters")
    return Tool(name, description, schema, strict, field=f"{path}.parameters")


def tool_choice_of(value: object) -> ToolChoice:
    """The caller's choice, of either endpoint's shape.

    Raises:
        InvalidType, MissingParameter, InvalidParameter: it is no choice.
        UnsupportedParameter: it forces a kind of tool that is not offered.
    """
    if value in ("none", "auto", "required"):
        return ToolChoice(value)
    if isinstance(value, str):
        raise InvalidParameter("tool_choice", value, "expected 'none', 'auto' or 'required'.")
    fields = fields_of(value, "tool_choice")
    kind = fields.get("type", "function")
    if kind in ("function", "custom"):
        name = _name(_inner(fields, kind), f"tool_choice.{kind}")
        return ToolChoice("required", (name,), named=True)
    if kind != "allowed_tools":
        raise UnsupportedParameter("tool_choice", f"of type {kind!r} is not supported.")
    return _allowed(_inner(fields, "allowed_tools"), "tool_choice.allowed_tools")


def _allowed(fields: dict[str, Any], path: str) -> ToolChoice:
    mode, items = fields.get("mode", "auto"), fields.get("tools")
    if mode not in ("auto", "required"):
        raise InvalidParameter(f"{path}.mode", mode, "expected 'auto' or 'required'.")
    if not isinstance(items, list):
        raise InvalidType(f"{path}.tools", "an array", json_type(items))
    places = enumerate(cast("list[object]", items))
    tools = [(fields_of(item, f"{path}.tools[{i}]"), f"{path}.tools[{i}]") for i, item in places]
    return ToolChoice(mode, tuple(_name(_any_inner(tool), place) for tool, place in tools))


def tool_use_of(tools: tuple[Tool, ...], choice: ToolChoice, *, parallel: bool) -> ToolUse:
    """What the answer may do with the tools.

    Raises:
        InvalidParameter: two tools of one name, or a choice of tools that are not there.
    """
    names = [tool.name for tool in tools]
    for position, name in enumerate(names):
        if name in names[:position]:
            reason = f"there are two tools named '{name}'."
            raise InvalidParameter(f"tools[{position}]", name, reason)
    for name in choice.names or ():
        if name not in names:
            raise InvalidParameter("tool_choice", name, f"there is no tool named '{name}'.")
    required = choice.mode == "required"
    if choice.mode == "none" or (not tools and not required):
        return ToolUse()
    if not tools:
        raise InvalidParameter("tool_choice", choice.mode, "it needs 'tools'.")
    if choice.names is None:
        return all_of(tools, required=required, parallel=parallel)
    parallel = parallel and not choice.named
    return some_of(tools, choice.names, required=required, parallel=parallel, named=choice.named)


def fields_of(value: object, path: str) -> dict[str, Any]:
    """An object's fields, without those that are null. Raises `InvalidType`."""
    if not isinstance(value, dict):
        raise InvalidType(path, "an object", json_type(value))
    return {k: v for k, v in cast("dict[str, Any]", value).items() if v is not None}


def _inner(fields: dict[str, Any], key: str) -> dict[str, Any]:
    return fields_of(fields[key], key) if key in fields else fields


def _any_inner(fields: dict[str, Any]) -> dict[str, Any]:
    return _inner(fields, "custom" if fields.get("type") == "custom" else "function")


def _name(fields: dict[str, Any], path: str) -> str:
    if "name" not in fields:
        raise MissingParameter(f"{path}.name")
    name = fields["name"]
    if not isinstance(name, str):
        raise InvalidType(f"{path}.name", "a string", json_type(name))
    if not NAME.fullmatch(name):
        reason = "expected up to 128 letters, digits, '_', '-', '.' or ':'."
        raise InvalidParameter(f"{path}.name", name, reason)
    return name


def new_call_id() -> str:
    """An id that the caller answers a call with."""
    return f"call_{uuid.uuid4().hex[:24]}"


def call_object(call: Call, *, custom: bool) -> dict[str, object]:
    """A call in a message."""
    if custom:
        made = {"name": call.name, "input": custom_input(call.arguments)}
        return {"id": new_call_id(), "type": "custom", "custom": made}
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": new_call_id(), "type": "function", "function": function}
