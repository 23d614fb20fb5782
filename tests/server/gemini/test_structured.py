"""What an answer must be: the fields that say it, and Gemini's schemas as JSON schema."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from engine import Grammar, InvalidParameter, InvalidRequest
from server.gemini.json_schema import MAX_DEPTH, json_schema_of
from tests.engine.grammar.samples import accepts
from tests.fakes import ScriptedEngine
from tests.server.gemini.conftest import Serve
from tests.server.gemini.helpers import GENERATE, STREAM, ask

CONFIG = "generation_config"
JSON = "application/json"


def grammar(serve: Serve, **config: Any) -> Grammar | None:
    engine = ScriptedEngine()
    assert serve(engine).post(GENERATE, json=ask(**config)).status_code == 200
    return engine.requests[0].params.grammar


def schema(serve: Serve, **config: Any) -> Any:
    found = grammar(serve, responseMimeType=JSON, **config)
    assert found is not None and found.kind == "json_schema"
    value = json.loads(found.text)
    assert value.pop("x-guidance") == {"lenient": True}
    return value


def test_plain_text_is_no_grammar(serve: Serve) -> None:
    assert grammar(serve) is None and grammar(serve, responseMimeType="text/plain") is None


def test_json_without_a_schema_is_any_value(serve: Serve) -> None:
    assert schema(serve) == {}


def test_both_kinds_of_schema(serve: Serve) -> None:
    expected = {"type": "array", "items": {"type": "string"}}
    assert schema(serve, responseSchema={"type": "ARRAY", "items": {"type": "STRING"}}) == expected
    assert schema(serve, responseJsonSchema=expected) == expected


def test_an_enum_is_a_choice_of_bare_strings(serve: Serve) -> None:
    config = {"responseSchema": {"type": "STRING", "enum": ["a", "b"]}}
    assert grammar(serve, responseMimeType="text/x.enum", **config) == Grammar(
        "choice", '["a","b"]'
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": 3}, {"type": "integer"}),
        ({"type": "TYPE_UNSPECIFIED"}, {}),
        ({"type": ["STRING", "null"]}, {"type": ["string", "null"]}),
        ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "STRING", "nullable": True, "enum": ["a"]},
         {"type": ["string", "null"], "enum": ["a", None]}),
        ({"type": "STRING", "nullable": True, "const": "a"},
         {"anyOf": [{"type": "string", "const": "a"}, {"type": "null"}]}),
        ({"type": "INTEGER", "enum": ["101"]}, {"type": "integer", "enum": [101]}),
        ({"type": "ARRAY", "min_items": "2"}, {"type": "array", "minItems": 2}),
        ({"any_of": [{"type": "NULL"}]}, {"anyOf": [{"type": "null"}]}),
        ({"oneOf": [{"type": "null"}]}, {"anyOf": [{"type": "null"}]}),
        ({"additionalProperties": False}, {"additionalProperties": False}),
        ({"$defs": {"a": {"type": "NULL"}}, "ref": "#/$defs/a"},
         {"$defs": {"a": {"type": "null"}}, "$ref": "#/$defs/a"}),
        ({"defs": {"a": {"type": "NULL"}}, "ref": "#/defs/a"},
         {"$defs": {"a": {"type": "null"}}, "$ref": "#/$defs/a"}),
        ({"properties": {"defs": {"any_of": [{"defs": {"defs": {"ref": "#/properties/defs/"
          "any_of/0/defs/defs"}}}]}}},
         {"properties": {"defs": {"anyOf": [{"$defs": {"defs": {"$ref": "#/properties/defs/"
          "anyOf/0/$defs/defs"}}}]}}}),
        ({"ref": "#/defs/any_of/items/additional_properties/enum/defs"},
         {"$ref": "#/$defs/any_of/items/additionalProperties/enum/defs"}),
        ({"ref": "https://example.org/#/defs/a"}, {"$ref": "https://example.org/#/defs/a"}),
        ({"ref": "#"}, {"$ref": "#"}),
        ({"type": "STRING", "enum": ["#/defs/a"], "const": {"ref": "#/defs/a"}},
         {"type": "string", "enum": ["#/defs/a"], "const": {"ref": "#/defs/a"}}),
        ({"type": "NUMBER", "minimum": "1", "maximum": "2.5"},
         {"type": "number", "minimum": 1, "maximum": 2.5}),
        ({"type": "STRING", "example": 1, "title": "x", "default": "y"}, {"type": "string"}),
        ({"type": "STRING", "x-guidance": {"lenient": True}}, {"type": "string"}),
    ],
)  # fmt: skip
def test_schemas_become_json_schema(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert json_schema_of(given, "s") == expected


def test_what_may_be_null_keeps_its_definitions_where_references_look() -> None:
    node = {"allOf": [{"properties": {"a": {"$ref": "#/$defs/x"}}}]}
    given = {**node, "nullable": True, "$defs": {"x": {"type": "INTEGER"}}}
    expected = {"$defs": {"x": {"type": "integer"}}, "anyOf": [node, {"type": "null"}]}
    assert json_schema_of(given, "s") == expected


def test_references_find_their_way_through_what_may_be_null() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "integer"}}, "required": ["b"]}
    other = {"$ref": "#/properties/a/properties/b"}
    given = {"type": "OBJECT", "properties": {"a": {**inner, "nullable": True}, "c": other}}
    found = json_schema_of(given, "s")
    assert found["properties"] == {"a": {**inner, "type": ["object", "null"]}, "c": other}
    grammar = Grammar("json_schema", json.dumps(found))
    for text in ('{"a": null, "c": 3}', '{"a": {"b": 1}, "c": 3}'):
        assert accepts(grammar, text)
    for text in ('{"a": {}, "c": 3}', '{"a": null, "c": "x"}'):
        assert not accepts(grammar, text)


def test_properties_come_in_the_wanted_order() -> None:
    properties = {"a": {"type": "STRING"}, "b": {"type": "STRING"}, "c": {"type": "STRING"}}
    for key in ("propertyOrdering", "property_ordering"):
        found = json_schema_of({"properties": properties, key: ["c", "x", "a"]}, "s")
        assert list(found["properties"]) == ["c", "a", "b"] and key not in found


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ([], "s"),
        ({"type": "THING"}, "s.type"),
        ({"type": True}, "s.type"),
        ({"items": []}, "s.items"),
        ({"properties": {"a": 1}}, "s.properties.a"),
        ({"anyOf": {}}, "s.anyOf"),
        ({"minItems": "x"}, "s.minItems"),
        ({"minimum": "x"}, "s.minimum"),
        ({"maximum": True}, "s.maximum"),
        ({"maximum": "NaN"}, "s.maximum"),
        ({"minItems": 1.5}, "s.minItems"),
        ({"maxItems": float("inf")}, "s.maxItems"),
        ({"maximum": float("inf")}, "s.maximum"),
        ({"type": "NUMBER", "enum": ["Infinity"]}, "s.enum[0]"),
        ({"type": "INTEGER", "enum": ["x"]}, "s.enum[0]"),
    ],
)
def test_malformed_schemas_are_named(given: Any, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        json_schema_of(given, "s")
    assert caught.value.parameter == path


def test_depth_is_limited() -> None:
    deep: dict[str, Any] = {"type": "STRING"}
    for _ in range(MAX_DEPTH + 1):
        deep = {"items": deep}
    with pytest.raises(InvalidRequest, match="nested"):
        json_schema_of(deep, "s")


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"responseSchema": {}}, "response_schema"),
        ({"responseMimeType": "text/html"}, "response_mime_type"),
        ({"responseMimeType": "text/x.enum", "responseSchema": {}}, "response_schema"),
        (
            {"responseMimeType": JSON, "responseSchema": {}, "responseJsonSchema": {}},
            "response_schema",
        ),
    ],
)
def test_contradictions_are_400(client: TestClient, config: dict[str, Any], path: str) -> None:
    answer = client.post(GENERATE, json=ask(**config))
    assert answer.status_code == 400 and f"{CONFIG}.{path}" in answer.text


@pytest.mark.parametrize("route", [GENERATE, STREAM])
def test_what_the_engine_objects_to_is_said_of_the_schema(serve: Serve, route: str) -> None:
    engine = ScriptedEngine(refuse_with=InvalidParameter("grammar", "", "it is too large."))
    config = {"responseMimeType": JSON, "responseJsonSchema": {"type": "object"}}
    answer = serve(engine).post(route, json=ask(**config))
    assert answer.status_code == 400
    assert f"{CONFIG}.response_json_schema" in answer.text and "too large" in answer.text
