"""The fields that are known inside of a request's objects, for whoever looks for unknown ones.

A field that is said to be an object is one, or a list of them. What is inside of all others is free
(JSON schemas, arguments, metadata). Knows names only: what they mean and which types they have is
the readers' business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, cast


class Known(Protocol):
    """The names that an object may have, by its own fields; None leaves the object alone."""

    def __call__(self, fields: Mapping[str, Any], /) -> Mapping[str, Known | None] | None: ...


def names(*fields: str, **objects: Known) -> Known:
    """Objects with these fields, the latter of them objects or lists of objects."""
    table: Mapping[str, Known | None] = {**dict.fromkeys(fields), **objects}
    return lambda _fields: table


def unknown_in(value: object, known: Known, path: str) -> Iterator[str]:
    """The paths of the fields in an object, or in a list of objects, that are not known. Fields
    that are null are absent."""
    if isinstance(value, list):
        for position, item in enumerate(cast("list[object]", value)):
            yield from unknown_in(item, known, f"{path}[{position}]")
    elif isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        table = known(fields)
        if table is not None:
            yield from _unknown_among(fields, table, path)


def _unknown_among(
    fields: Mapping[str, Any], table: Mapping[str, Known | None], path: str
) -> Iterator[str]:
    for name, value in fields.items():
        if value is None:
            continue
        if name not in table:
            yield f"{path}.{name}"
        elif (inner := table[name]) is not None:
            yield from unknown_in(value, inner, f"{path}.{name}")


PARTS = names("type", "text", "refusal", "annotations", "logprobs", "prompt_cache_breakpoint")
_FUNCTION_CALL = names("name", "arguments", "parsed_arguments")  # the last as parsers dump it
_CUSTOM_CALL = names("name", "input")
_CALLS = names("id", "type", "index", function=_FUNCTION_CALL, custom=_CUSTOM_CALL)
MESSAGES = names(
    *("role", "name", "refusal", "tool_call_id", "reasoning_content", "reasoning"),
    *("annotations", "audio", "parsed"),
    content=PARTS,
    tool_calls=_CALLS,
    function_call=_FUNCTION_CALL,
)

_FUNCTION = ("name", "description", "parameters", "strict")
_FORMAT = names("type", grammar=names("syntax", "definition"))
_CUSTOM = names("name", "description", format=_FORMAT)
TOOLS = names("type", function=names(*_FUNCTION), custom=_CUSTOM)
_FLAT_TOOLS: Mapping[str, Known] = {
    "function": names("type", *_FUNCTION),
    "custom": names("type", "name", "description", format=_FORMAT),
}
TOOL_CHOICE = names(
    *("type", "name", "mode", "tools"),
    function=names("name"),
    custom=names("name"),
    allowed_tools=names("mode", "tools"),
)

_SCHEMA = ("name", "description", "schema", "strict")
RESPONSE_FORMAT = names("type", "schema", json_schema=names(*_SCHEMA))
TEXT = names("verbosity", format=names("type", *_SCHEMA))

_ITEM = ("type", "id", "status")
_ITEMS: Mapping[str, Known] = {
    "message": names(*_ITEM, "phase", "role", content=PARTS),
    "function_call": names(*_ITEM, "call_id", "namespace", "name", "arguments", "parsed_arguments"),
    "function_call_output": names(*_ITEM, "call_id", output=PARTS),
    "custom_tool_call": names(*_ITEM, "call_id", "namespace", "name", "input"),
    "custom_tool_call_output": names(*_ITEM, "call_id", output=PARTS),
    "reasoning": names(*_ITEM, "encrypted_content", summary=PARTS, content=PARTS),
    "item_reference": names(*_ITEM),
}


def flat_tools(tool: Mapping[str, Any], /) -> Mapping[str, Known | None] | None:
    """The fields of a tool of Responses; tools that other servers would run are left alone."""
    known = _FLAT_TOOLS.get(tool.get("type") or "function")
    return None if known is None else known(tool)


def items(item: Mapping[str, Any], /) -> Mapping[str, Known | None] | None:
    """The fields of an item of input; traces of tools that are not run here are left alone."""
    known = _ITEMS.get(item.get("type") or ("message" if "role" in item else "item_reference"))
    return None if known is None else known(item)
