"""Responses with the official SDK against a real process. `test_f..` names a statement of the
wire contract."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest

from tests.e2e.conftest import start_server, stop_server

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather in a given city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The city"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
MODEL = "diglot-mini"


@pytest.fixture(scope="module")
def sdk(chat: openai.OpenAI) -> openai.OpenAI:
    return chat


def test_f65_create_retrieve_list_delete(sdk: openai.OpenAI) -> None:
    made = sdk.responses.create(model=MODEL, input="Hello!", temperature=0)
    assert made.output_text == "Hello! How can I help you?" and made.status == "completed"
    assert sdk.responses.retrieve(made.id).to_dict() == made.to_dict()
    [item] = sdk.responses.input_items.list(made.id).data
    assert item.type == "message"
    sdk.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(made.id)


def test_f68_the_stream_helper_accepts_every_event(sdk: openai.OpenAI) -> None:
    with sdk.responses.stream(model=MODEL, input="Hello!", temperature=0) as stream:
        told: list[Any] = [event.to_dict(warnings=False) for event in stream]
        final = stream.get_final_response()
    assert final.output_text == "Hello! How can I help you?"
    check_order(
        told,
        ["output_item.added", "content_part.added"],
        "output_text.delta",
        ["output_text.done", "content_part.done", "output_item.done"],
    )
    item: Any = final.output[0]
    ids = {event["item_id"] for event in told if "item_id" in event}
    assert ids == {item.id} == {e["item"]["id"] for e in told if "item" in e}
    assert {e["response"]["id"] for e in told if "response" in e} == {final.id}


def check_order(
    told: list[dict[str, Any]], before: list[str], delta: str, after: list[str]
) -> None:
    """The events of an answer of one item, numbered without a gap."""
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    kinds = [event["type"].removeprefix("response.") for event in told]
    begin = ["created", "in_progress", *before]
    deltas = kinds[len(begin) : -len(after) - 1]
    assert kinds == [*begin, *deltas, *after, "completed"]
    assert deltas and set(deltas) == {delta}


def test_f69_a_call_its_result_and_the_answer(sdk: openai.OpenAI) -> None:
    question = "What is the weather in Paris?"
    first = sdk.responses.create(model=MODEL, input=question, tools=[WEATHER], temperature=0)
    [call] = first.output
    assert call.type == "function_call" and json.loads(call.arguments) == {"city": "Paris"}
    result: Any = {
        "type": "function_call_output",
        "call_id": call.call_id,
        "output": '{"temperature": 18, "sky": "sunny"}',
    }
    second = sdk.responses.create(
        model=MODEL,
        input=[result],
        previous_response_id=first.id,
        tools=[WEATHER],
        temperature=0,
    )
    assert "18" in second.output_text


def test_f69_a_streamed_call_equals_the_whole_one(sdk: openai.OpenAI) -> None:
    options: Any = {
        "model": MODEL,
        "input": "Hello!",
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "get_weather"},
        "temperature": 1.5,
        "extra_body": {"seed": 5},
        "max_output_tokens": 200,
    }
    with sdk.responses.stream(**options) as stream:
        told: list[Any] = [event.to_dict(warnings=False) for event in stream]
    arguments = "function_call_arguments"
    check_order(
        told,
        ["output_item.added"],
        f"{arguments}.delta",
        [f"{arguments}.done", "output_item.done"],
    )
    pieces = [e["delta"] for e in told if e["type"].endswith("arguments.delta")]
    done = next(e for e in told if e["type"].endswith("arguments.done"))
    [call] = sdk.responses.create(**options).output
    assert call.type == "function_call" and call.arguments == "".join(pieces)
    assert (done["name"], done["arguments"]) == ("get_weather", call.arguments)
    items = [event["item"] for event in told if "item" in event]
    assert len({item["call_id"] for item in items}) == 1 and items[0]["arguments"] == ""


class City(pydantic.BaseModel):
    name: str
    people: int


def test_f73_parse_gives_an_object(sdk: openai.OpenAI) -> None:
    made = sdk.responses.parse(
        model=MODEL,
        input="A city, please.",
        text_format=City,
        temperature=0,
        max_output_tokens=100,
    )
    assert isinstance(made.output_parsed, City)
    chat_style: Any = {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": City.model_json_schema()},
    }
    with pytest.raises(openai.BadRequestError):
        sdk.responses.create(model=MODEL, input="A city.", text={"format": chat_style})


def test_responses_survive_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "responses.db")
    server = start_server("--response-store", path)
    sdk = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    made = sdk.responses.create(model=MODEL, input="My name is Anna.", temperature=0)
    assert stop_server(server) == 0
    server = start_server("--response-store", path)
    sdk = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    try:
        assert sdk.responses.retrieve(made.id).output_text == made.output_text
        again = sdk.responses.create(
            model=MODEL, input="And now?", previous_response_id=made.id, temperature=0
        )
        assert again.usage and made.usage
        assert again.usage.input_tokens > made.usage.total_tokens
    finally:
        stop_server(server)
