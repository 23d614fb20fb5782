"""Gemini's two kinds of schema to one JSON schema.

`responseSchema` is a subset of OpenAPI's: types in capitals or as numbers, `nullable`, enums of
strings, `propertyOrdering`. `responseJsonSchema` is JSON schema, and clients put the others' habits
in there as well, so both are read alike. Keywords that are not known here are kept: whoever
compiles the schema passes over what it cannot enforce. Knows nothing of grammars.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from engine import InvalidRequest
from server.body import json_type

MAX_DEPTH = 64

_TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
_RENAMED = {
    "any_of": "anyOf",
    "one_of": "anyOf",
    "oneOf": "anyOf",
    "ref": "$ref",
    "defs": "$defs",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "prefix_items": "prefixItems",
    "property_ordering": "propertyOrdering",
    "additional_properties": "additionalProperties",
}
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_BOUNDS = ("minimum", "maximum")
_ONE = ("items", "additionalProperties")
_MANY = ("anyOf", "allOf", "prefixItems")
_DEFINITIONS = ("$defs", "definitions")
_NAMED = ("properties", *_DEFINITIONS)
_NAMES_AFTER = {**dict.fromkeys(_ONE, 0), **dict.fromkeys((*_MANY, *_NAMED), 1)}
"""Keyword of a pointer -> how many names or numbers stand between it and the next keyword."""
_BEYOND_TYPES = {"$ref", "anyOf", "allOf", "const"}
"""What holds whatever the type is, null included."""
_NOT_ENFORCED = ("example", "default", "title", "description", "$schema", "x-guidance")


def json_schema_of(value: object, path: str, depth: int = 0) -> dict[str, Any]:
    """The schema as JSON schema. `path` is its place in the request, for errors.

    Raises:
        InvalidRequest: a part of it has the wrong type, or it is nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise _invalid(path, f"it is nested more than {MAX_DEPTH} levels deep.")
    given = {_RENAMED.get(key, key): item for key, item in _object(value, path).items()}
    fields = {k: v for k, v in given.items() if v is not None and k not in _NOT_ENFORCED}
    ordering, nullable = fields.pop("propertyOrdering", ()), fields.pop("nullable", False)
    if "type" in fields:
        fields["type"] = _type(fields["type"], f"{path}.type")
        if fields["type"] is None:
            del fields["type"]
    _read_children(fields, path, depth + 1)
    for key in (key for key in _COUNTS if key in fields):
        fields[key] = _count(fields[key], f"{path}.{key}")
    for key in (key for key in _BOUNDS if key in fields):
        fields[key] = _number(fields[key], f"{path}.{key}")
    if isinstance(fields.get("$ref"), str):
        fields["$ref"] = _reference(fields["$ref"])
    if "enum" in fields:
        fields["enum"] = _enum(fields["enum"], fields.get("type"), f"{path}.enum")
    if "properties" in fields:
        fields["properties"] = _ordered(fields["properties"], ordering)
    return _or_null(fields) if nullable is True else fields


def _or_null(fields: dict[str, Any]) -> dict[str, Any]:
    """What has a type gets another one, so that references on their way through it still arrive.
    Else the definitions, at least, stay where references look for them."""
    if isinstance(fields.get("type"), str) and not _BEYOND_TYPES & fields.keys():
        either = {**fields, "type": [fields["type"], "null"]}
        return {**either, "enum": [*fields["enum"], None]} if "enum" in fields else either
    kept = {key: fields.pop(key) for key in _DEFINITIONS if key in fields}
    return {**kept, "anyOf": [fields, {"type": "null"}]}


def _read_children(fields: dict[str, Any], path: str, depth: int) -> None:
    def read(value: object, place: str) -> object:
        return value if isinstance(value, bool) else json_schema_of(value, place, depth)

    for key in (key for key in _ONE if key in fields):
        fields[key] = read(fields[key], f"{path}.{key}")
    for key in (key for key in _MANY if key in fields):
        fields[key] = _each(fields[key], f"{path}.{key}", read)
    for key in (key for key in _NAMED if key in fields):
        named = _object(fields[key], f"{path}.{key}")
        fields[key] = {name: read(item, f"{path}.{key}.{name}") for name, item in named.items()}


def _type(value: object, path: str) -> object:
    """A JSON schema type, or a list of them; None for "unspecified"."""
    if isinstance(value, list):
        return _each(cast("list[object]", value), path, _type)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= len(_TYPES):
        return _TYPES[value - 1] if value else None
    name = value.lower() if isinstance(value, str) else value
    if name == "type_unspecified":
        return None
    if name not in _TYPES:
        raise _invalid(path, f"expected one of {', '.join(_TYPES)}.")
    return name


def _enum(value: object, kind: object, path: str) -> list[object]:
    """Gemini spells the numbers of an enum as strings."""

    def read(item: object, place: str) -> object:
        if kind not in ("integer", "number") or not isinstance(item, str):
            return item
        try:
            return int(item) if kind == "integer" else _number(item, place)
        except ValueError as error:
            raise _invalid(place, f"expected a number, but got '{item}'.") from error

    return _each(value, path, read)


def _count(value: object, path: str) -> int:
    """A 64-bit integer, which ProtoJSON may spell as a string."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 19:
        return int(value)
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise _invalid(path, f"expected an integer, but got {json_type(value)}.")
    return int(cast("float", value))


def _number(value: object, path: str) -> float:
    """A number, which ProtoJSON may spell as a string."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _invalid(path, f"expected a number, but got {json_type(value)}.")
    if isinstance(value, int):
        return value
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _invalid(path, f"expected a finite number, but got '{str(value)[:60]}'.")
    return int(number) if number.is_integer() else number


def _reference(value: str) -> str:
    """A reference into the schema itself, with the keywords on its way renamed as they are there.
    Names of definitions and properties stay as they are, and so does all behind another keyword."""
    start, *steps = value.split("/")
    if start != "#":
        return value
    names = 0.0
    for place, step in enumerate(steps):
        if names:
            names -= 1
        else:
            steps[place] = _RENAMED.get(step, step)
            names = _NAMES_AFTER.get(steps[place], math.inf)
    return "/".join([start, *steps])


def _ordered(properties: Mapping[str, Any], ordering: object) -> dict[str, Any]:
    """The properties in the wanted order, which the answer follows; then those not named."""
    wanted = cast("list[object]", ordering) if isinstance(ordering, list) else []
    first = [name for name in wanted if isinstance(name, str) and name in properties]
    return {name: properties[name] for name in dict.fromkeys([*first, *properties])}


def _each(value: object, path: str, read: Callable[[object, str], object]) -> list[object]:
    if not isinstance(value, list):
        raise _invalid(path, f"expected an array, but got {json_type(value)}.")
    items = cast("list[object]", value)
    return [read(item, f"{path}[{position}]") for position, item in enumerate(items)]


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(path, f"expected an object, but got {json_type(value)}.")
    return cast("dict[str, Any]", value)


def _invalid(path: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value at '{path}': {reason}", path)
