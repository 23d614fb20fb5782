"""JSON schemas whose objects have no other properties than those declared.

JSON schema lets an object have any further properties unless it says otherwise; whoever writes a
schema for a model's answer means the declared ones, and so do the peers' servers. What fits the
closed schema fits the given one. Knows nothing of dialects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

_ONE = ("items", "additionalProperties")
_MANY = ("anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "$defs", "definitions")
_OPEN = {"additionalProperties", "unevaluatedProperties", "patternProperties", "$ref"}
"""Keywords by which an object says itself what else it may have."""


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with `additionalProperties: false` wherever properties are declared and nothing
    is said of others. A schema with `allOf` is left as it is: its parts describe one object."""
    return dict(schema) if _has_all_of(schema) else _closed(schema)


def _closed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    schema = dict(cast("dict[str, Any]", value))
    for key in (key for key in _ONE if key in schema):
        schema[key] = _closed(schema[key])
    for key in (key for key in _MANY if isinstance(schema.get(key), list)):
        schema[key] = [_closed(item) for item in schema[key]]
    for key in (key for key in _NAMED if isinstance(schema.get(key), dict)):
        schema[key] = {name: _closed(item) for name, item in schema[key].items()}
    if schema.get("properties") and not _OPEN & schema.keys():
        schema["additionalProperties"] = False
    return schema


def _has_all_of(value: object) -> bool:
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return "allOf" in fields or any(_has_all_of(item) for item in fields.values())
    return isinstance(value, list) and any(map(_has_all_of, cast("list[object]", value)))
