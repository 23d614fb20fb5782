"""Structured output from a real process, through the official SDK where it has a helper."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import openai
import pytest
from google import genai
from google.genai import types
from pydantic import BaseModel

SCHEMAS: dict[str, dict[str, Any]] = {
    "nested": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "pet": {
                "type": "object",
                "properties": {"kind": {"enum": ["cat", "dog"]}, "age": {"type": "integer"}},
                "required": ["kind", "age"],
                "additionalProperties": False,
            },
        },
        "required": ["name", "pet"],
        "additionalProperties": False,
    },
    "bounded array": {
        "type": "array",
        "items": {"type": "integer", "minimum": 1, "maximum": 6},
        "minItems": 2,
        "maxItems": 4,
    },
    "any of": {"anyOf": [{"type": "boolean"}, {"const": "maybe"}, {"type": "null"}]},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
    "recursive": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "v": {"enum": [0, 1]},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["v", "next"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
}


def model_name(chat: openai.OpenAI) -> str:
    return chat.models.list().data[0].id


def ask(chat: openai.OpenAI, content: str, **fields: Any) -> Any:
    messages: Any = [{"role": "user", "content": content}]
    model = model_name(chat)
    return chat.chat.completions.create(model=model, messages=messages, **fields)


@pytest.mark.parametrize("name", SCHEMAS)
def test_f44_whatever_is_complete_fits_the_schema(chat: openai.OpenAI, name: str) -> None:
    schema = SCHEMAS[name]
    form: Any = {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": schema, "strict": True},
    }
    answer = ask(
        chat, "Make one up.", response_format=form, n=10, seed=3, temperature=1.5, max_tokens=200
    )
    complete = [c.message.content for c in answer.choices if c.finish_reason == "stop"]
    assert complete
    for text in complete:
        jsonschema.validate(json.loads(text), schema)


class Person(BaseModel):
    """What the SDK's helper is asked to fill."""

    name: str
    age: int


def test_the_sdk_parses_what_it_asked_for(chat: openai.OpenAI) -> None:
    answer = chat.chat.completions.parse(
        model=model_name(chat),
        messages=[{"role": "user", "content": "Extract name and age: Anna is 31."}],
        response_format=Person,
        temperature=0,
        max_tokens=60,
    )
    assert isinstance(answer.choices[0].message.parsed, Person)


def test_f45_a_cut_answer_says_length(chat: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        chat.chat.completions.parse(
            model=model_name(chat),
            messages=[{"role": "user", "content": "Make up a person."}],
            response_format=Person,
            max_tokens=2,
        )


def test_streamed_equals_unstreamed(chat: openai.OpenAI) -> None:
    fields: Any = {"seed": 5, "max_tokens": 40, "extra_body": {"guided_regex": "(ab|cd){3,8}!"}}
    whole = ask(chat, "Go.", **fields).choices[0].message.content
    chunks = list(ask(chat, "Go.", stream=True, **fields))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole != ""


def test_a_choice_is_one_of_them(chat: openai.OpenAI) -> None:
    answer = ask(chat, "Pick.", n=8, extra_body={"guided_choice": ["left", "right"]})
    assert {choice.message.content for choice in answer.choices} <= {"left", "right"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_grammar_is_the_callers_fault(chat: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(chat, "Go.", stream=stream, extra_body={"guided_regex": "(a"})
    assert caught.value.param == "guided_regex"


def test_gemini_answers_fit_their_schema_in_its_order(gemini: genai.Client) -> None:
    schema: Any = {
        "type": "OBJECT",
        "properties": {
            "pet": {"type": "STRING", "enum": ["cat", "dog"]},
            "age": {"type": "INTEGER", "nullable": True},
        },
        "required": ["age", "pet"],
        "propertyOrdering": ["age", "pet"],
    }
    config = types.GenerateContentConfig(
        response_mime_type="application/json",
        response_schema=schema,
        candidate_count=8,
        temperature=1.5,
        seed=2,
        max_output_tokens=60,
    )
    answer = gemini.models.generate_content(model="diglot-mini", contents="Go.", config=config)
    assert answer.candidates
    for candidate in answer.candidates:
        assert candidate.content is not None and candidate.content.parts
        if candidate.finish_reason == types.FinishReason.STOP:
            value = json.loads(candidate.content.parts[0].text or "")
            assert list(value)[:2] == ["age", "pet"] and value["pet"] in ("cat", "dog")


def test_gemini_enum_is_bare(gemini: genai.Client) -> None:
    config = types.GenerateContentConfig(
        response_mime_type="text/x.enum",
        response_schema={"type": "STRING", "enum": ["left", "right"]},
    )
    answer = gemini.models.generate_content(model="diglot-mini", contents="Go.", config=config)
    assert answer.text in ("left", "right")


def test_the_same_grammar_gives_the_same_text_in_both_dialects(
    chat: openai.OpenAI, gemini: genai.Client
) -> None:
    schema: Any = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    mine = ask(chat, "Go.", response_format=form, seed=9, max_tokens=30).choices[0].message.content
    config = types.GenerateContentConfig(
        response_mime_type="application/json",
        response_json_schema=schema,
        seed=9,
        max_output_tokens=30,
    )
    theirs = gemini.models.generate_content(model="diglot-mini", contents="Go.", config=config)
    assert theirs.text == mine
