"""Closing objects that say nothing of further properties."""

from __future__ import annotations

from typing import Any

import pytest

from server.closed_schema import closed

A: dict[str, Any] = {"properties": {"a": {"type": "string"}}}
SHUT = {**A, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (A, SHUT),
        ({"items": A}, {"items": SHUT}),
        ({"anyOf": [A, True]}, {"anyOf": [SHUT, True]}),
        ({"$defs": {"x": A}, "$ref": "#/$defs/x"}, {"$defs": {"x": SHUT}, "$ref": "#/$defs/x"}),
        ({"additionalProperties": A}, {"additionalProperties": SHUT}),
    ],
)
def test_objects_are_closed_wherever_they_stand(
    schema: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert closed(schema) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {**A, "additionalProperties": True},
        {**A, "patternProperties": {}},
        {**A, "$ref": "#/x"},
        {"allOf": [A, A]},
        {"anyOf": [{"allOf": [A]}, A]},
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"enum": [A]},
        {"const": A},
    ],
)
def test_what_says_more_is_left_alone(schema: dict[str, Any]) -> None:
    assert closed(schema) == schema
