"""What an answer must be: the fields that say it, and how the engine's objections are named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine import Grammar, InvalidParameter
from tests.fakes import ScriptedEngine
from tests.server.client import Client

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "additionalProperties": False,
}
LENIENT = {**SCHEMA, "x-guidance": {"lenient": True}}


def grammar(**fields: Any) -> Grammar | None:
    client = Client()
    assert client.chat(**fields).status == 200
    return client.engine.requests[0].params.grammar


def schema(**fields: Any) -> Any:
    found = grammar(**fields)
    assert found is not None and found.kind == "json_schema"
    return json.loads(found.text)


def json_schema(**inner: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", **inner}}


def test_text_is_no_grammar() -> None:
    assert grammar(response_format={"type": "text"}) is None
    assert grammar(response_format=None) is None


def test_any_object() -> None:
    assert grammar(response_format={"type": "json_object"}) == Grammar("json_object")
    assert grammar(structured_outputs={"json_object": True}) == Grammar("json_object")


def test_f46_an_object_of_a_schema() -> None:
    assert schema(response_format={"type": "json_object", "schema": SCHEMA}) == LENIENT


def test_only_strict_schemas_are_compiled_strictly() -> None:
    assert schema(response_format=json_schema(schema=SCHEMA, strict=True)) == SCHEMA
    assert schema(response_format=json_schema(schema=SCHEMA)) == LENIENT
    mine = {**SCHEMA, "x-guidance": {"lenient": True}}
    assert schema(response_format=json_schema(schema=mine, strict=True)) == SCHEMA


@pytest.mark.parametrize(("key", "value"), [("strict", "yes"), ("strict", 1), ("name", 5)])
def test_a_schema_s_companions_have_their_types(key: str, value: object) -> None:
    form = json_schema(schema=SCHEMA) | {"json_schema": {"schema": SCHEMA, key: value}}
    error = Client().chat(response_format=form).error
    assert (error["code"], error["param"]) == (
        "invalid_type",
        f"response_format.json_schema.{key}",
    )


@pytest.mark.parametrize("name", ["guided_json", "json_schema"])
def test_schemas_may_be_objects_or_text(name: str) -> None:
    assert schema(**{name: SCHEMA}) == schema(**{name: json.dumps(SCHEMA)}) == SCHEMA
    assert schema(structured_outputs={"json": SCHEMA, "regex": None}) == SCHEMA


@pytest.mark.parametrize(
    ("kind", "guided", "value", "expected"),
    [
        ("regex", "guided_regex", "a+", Grammar("regex", "a+")),
        ("choice", "guided_choice", ["a", "b"], Grammar("choice", '["a","b"]')),
        ("grammar", "guided_grammar", 'start: "a"', Grammar("lark", 'start: "a"')),
    ],
)
def test_both_spellings(kind: str, guided: str, value: object, expected: Grammar) -> None:
    assert grammar(**{guided: value}) == grammar(structured_outputs={kind: value}) == expected


def test_plain_completions_have_the_same_fields() -> None:
    client = Client()
    client.complete(guided_regex="a+")
    assert client.engine.requests[0].params.grammar == Grammar("regex", "a+")


TOOL = {"function": {"name": "f"}}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"response_format": 1}, "invalid_type", "response_format"),
        ({"response_format": {}}, "missing_required_parameter", "response_format.type"),
        ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
        (
            {"response_format": {"type": "json_schema"}},
            "missing_required_parameter",
            "response_format.json_schema",
        ),
        (
            {"response_format": json_schema(schema=[])},
            "invalid_type",
            "response_format.json_schema.schema",
        ),
        ({"guided_json": "{"}, "invalid_value", "guided_json"),
        ({"guided_json": 1}, "invalid_type", "guided_json"),
        ({"guided_regex": 1}, "invalid_type", "guided_regex"),
        ({"guided_regex": "a" * 200_000}, "invalid_value", "guided_regex"),
        ({"guided_choice": []}, "invalid_value", "guided_choice"),
        ({"guided_choice": ["a", 1]}, "invalid_type", "guided_choice[1]"),
        ({"structured_outputs": {}}, "invalid_value", "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "json": {}}}, "invalid_value", "structured_outputs"),
        (
            {"structured_outputs": {"structural_tag": {}}},
            "unsupported_parameter",
            "structured_outputs.structural_tag",
        ),
        ({"guided_regex": "a", "guided_json": {}}, "invalid_value", "guided_regex"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], code: str, param: str) -> None:
    error = Client().chat(**fields).json["error"]
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_engine_objects_to_is_said_of_the_callers_field(stream: bool) -> None:
    engine = ScriptedEngine(refuse_with=InvalidParameter("grammar", "(", "it does not close."))
    for name, value in (("guided_regex", "("), ("response_format", {"type": "json_object"})):
        reply = Client(engine).chat(stream=stream, **{name: value})
        error = reply.json["error"]
        assert reply.status == 400 and error["param"] == name
        assert error["message"] == f"Invalid '{name}': it does not close."


def test_a_format_binds_the_words_beside_calls() -> None:
    engine = ScriptedEngine(tool_call_format="hermes")
    assert Client(engine).chat(tools=[TOOL], guided_regex="a/b").status == 200
    grammar = engine.requests[0].params.grammar
    assert grammar is not None and "answer: /a\\/b/" in grammar.text
    assert Client(engine).chat(tools=[TOOL], response_format={"type": "text"}).status == 200
    error = Client(engine).chat(tools=[TOOL], guided_grammar="start: /a/").json["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", "guided_grammar")
