"""Chat messages as clients send them, into the plain dicts that chat templates read.

Text of every role is understood; parts other than text are refused by place. Knows nothing of
templates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from engine import InvalidParameter, UnsupportedParameter
from server.body import json_type
from server.errors import InvalidType, MissingParameter

ROLES = ("developer", "system", "user", "assistant", "tool", "function")
_TEXT_PARTS = {"text": "text", "refusal": "refusal"}
_NO_CONTENT_NEEDED = ("tool_calls", "function_call", "refusal")


def messages_of(value: object) -> tuple[dict[str, object], ...]:
    """The conversation.

    Raises:
        MissingParameter, InvalidType, InvalidParameter: with the place, as `messages[0].role`.
        UnsupportedParameter: a part that is not text.
    """
    if not isinstance(value, list):
        raise InvalidType("messages", "an array", json_type(value))
    items = cast("list[object]", value)
    if not items:
        raise InvalidParameter("messages", items, "expected at least one message.")
    return tuple(_message(item, f"messages[{i}]") for i, item in enumerate(items))


def _message(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidType(path, "an object", json_type(value))
    fields = {k: v for k, v in cast("dict[str, Any]", value).items() if v is not None}
    role = _role(fields, path)
    message: dict[str, object] = {"role": "system" if role == "developer" else role}
    message["content"] = _content(fields, role, path)
    if fields.get("audio"):
        raise UnsupportedParameter(f"{path}.audio", "is not supported: the model knows text only.")
    if role == "tool" and "tool_call_id" not in fields:
        raise MissingParameter(f"{path}.tool_call_id")
    for name in ("name", "tool_call_id"):
        if name in fields:
            message[name] = _string(fields[name], f"{path}.{name}")
    if role == "assistant":
        message |= _assistant_extras(fields, path)
    return message


def _role(fields: dict[str, Any], path: str) -> str:
    if "role" not in fields:
        raise MissingParameter(f"{path}.role")
    role = _string(fields["role"], f"{path}.role")
    if role not in ROLES:
        raise InvalidParameter(f"{path}.role", role, f"expected one of {', '.join(ROLES)}.")
    return role


def _content(fields: dict[str, Any], role: str, path: str) -> str:
    if "content" not in fields:
        if role == "assistant" and any(fields.get(name) for name in _NO_CONTENT_NEEDED):
            return str(fields.get("refusal", ""))
        if role == "function":
            return ""
        raise MissingParameter(f"{path}.content")
    content = fields["content"]
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        got = json_type(content)
        raise InvalidType(f"{path}.content", "a string or an array of parts", got)
    parts = cast("list[object]", content)
    return "".join(_part(part, f"{path}.content[{i}]") for i, part in enumerate(parts))


def _part(part: object, path: str) -> str:
    if isinstance(part, str):  # templates take bare strings, and some clients send them
        return part
    if not isinstance(part, dict):
        raise InvalidType(path, "an object", json_type(part))
    fields = cast("dict[str, Any]", part)
    kind = fields.get("type", "text" if "text" in fields else None)
    if kind is None:
        raise MissingParameter(f"{path}.type")
    if not isinstance(kind, str) or kind not in _TEXT_PARTS:
        raise UnsupportedParameter(path, f"of type {kind!r} is not supported: text only.")
    name = _TEXT_PARTS[kind]
    if fields.get(name) is None:
        raise MissingParameter(f"{path}.{name}")
    return _string(fields[name], f"{path}.{name}")


def _assistant_extras(fields: dict[str, Any], path: str) -> dict[str, object]:
    extras: dict[str, object] = {}
    reasoning = fields.get("reasoning_content") or fields.get("reasoning")
    if reasoning:
        extras["reasoning_content"] = _string(reasoning, f"{path}.reasoning_content")
    if fields.get("tool_calls"):
        calls = _each(fields["tool_calls"], f"{path}.tool_calls", _tool_call)
        extras["tool_calls"] = calls
    elif fields.get("function_call"):
        call = _function(fields["function_call"], f"{path}.function_call")
        extras["tool_calls"] = [{"type": "function", "function": call}]
    return extras


def _each(
    value: object, path: str, read: Callable[[object, str], dict[str, object]]
) -> list[dict[str, object]]:
    if not isinstance(value, list):
        raise InvalidType(path, "an array", json_type(value))
    items = cast("list[object]", value)
    return [read(item, f"{path}[{i}]") for i, item in enumerate(items)]


def _tool_call(value: object, path: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise InvalidType(path, "an object", json_type(value))
    fields = cast("dict[str, Any]", value)
    kind = fields.get("type", "function")
    call: dict[str, object] = {"type": "function"}
    if fields.get("id") is not None:
        call["id"] = _string(fields["id"], f"{path}.id")
    if kind == "custom":
        call["function"] = _custom(fields.get("custom"), f"{path}.custom")
    elif kind == "function":
        call["function"] = _function(fields.get("function"), f"{path}.function")
    else:
        reason = "other than 'function' and 'custom' is not supported."
        raise UnsupportedParameter(f"{path}.type", reason)
    return call


def _custom(value: object, path: str) -> dict[str, object]:
    """A call with a text, as the call of a function with that text."""
    if not isinstance(value, dict):
        raise InvalidType(path, "an object", json_type(value))
    fields = cast("dict[str, Any]", value)
    for key in ("name", "input"):
        if fields.get(key) is None:
            raise MissingParameter(f"{path}.{key}")
    text = _string(fields["input"], f"{path}.input")
    return {"name": _string(fields["name"], f"{path}.name"), "arguments": {"input": text}}


def _function(value: object, path: str) -> dict[str, object]:
    """Arguments are a JSON string on the wire and an object in templates, where they parse."""
    if value is None:
        raise MissingParameter(path)
    if not isinstance(value, dict):
        raise InvalidType(path, "an object", json_type(value))
    fields = cast("dict[str, Any]", value)
    if fields.get("name") is None:
        raise MissingParameter(f"{path}.name")
    arguments = fields.get("arguments") or "{}"
    if isinstance(arguments, str):
        try:
            arguments = msgspec.json.decode(arguments)
        except (msgspec.DecodeError, RecursionError):
            pass  # not JSON: the template gets the string
    return {"name": _string(fields["name"], f"{path}.name"), "arguments": arguments}


def _string(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise InvalidType(path, "a string", json_type(value))
    return value
