"""Statements of the OpenAI contract on chat, against a real process (numbers as there)."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import openai
import pydantic
import pytest

from tests.e2e.conformance.wire import CHAT, Api, chat_body, deltas

GREEDY = {"temperature": 0}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a given city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
        },
    },
}
QUESTION = "What is the weather in Paris?"


def test_f30_f36_f37_roles_first_and_empty_ends(api: Api) -> None:
    chunks = api.chat_chunks(n=2, seed=1, max_tokens=8)
    order = [choice["index"] for chunk in chunks for choice in chunk["choices"]]
    assert order[:2] == [0, 1]
    assert order[2:] not in (sorted(order[2:]), sorted(order[2:], reverse=True)), "interleaved"
    for index in (0, 1):
        said = deltas(chunks, index)
        assert said[0] == {"role": "assistant", "content": ""}
        assert sum("role" in delta for delta in said) == 1
        assert said[-1] == {}


def test_f38_f39_f40_f41_calls(api: Api) -> None:
    choice = api.chat(QUESTION, tools=[WEATHER], **GREEDY)["choices"][0]
    message = choice["message"]
    assert message["content"] is None and choice["finish_reason"] == "tool_calls"
    chunks = api.chat_chunks(QUESTION, tools=[WEATHER], **GREEDY)
    parts = [call for delta in deltas(chunks) for call in delta.get("tool_calls", ())]
    head, *rest = parts
    assert head["index"] == 0 and head["type"] == "function" and head["id"]
    assert head["function"]["name"] == "get_weather"
    assert all(part.keys() == {"index", "function"} for part in rest)
    joined = "".join(part["function"]["arguments"] for part in parts)
    assert joined == message["tool_calls"][0]["function"]["arguments"]
    plain = api.chat(tools=[WEATHER], **GREEDY)["choices"][0]["message"]
    assert "tool_calls" not in plain and plain["content"]


def test_f40_a_named_choice_ends_with_stop(api: Api) -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    choice = api.chat(tools=[WEATHER], tool_choice=named, max_tokens=200, seed=1)["choices"][0]
    assert choice["message"]["tool_calls"] and choice["finish_reason"] == "stop"


def test_f42_choices_that_forbid_and_choices_of_nothing(api: Api) -> None:
    for seed in range(8):
        fields = {"tools": [WEATHER], "tool_choice": "none", "seed": seed, "temperature": 1.5}
        choice = api.chat(QUESTION, max_tokens=60, **fields)["choices"][0]
        assert "tool_calls" not in choice["message"] and choice["finish_reason"] != "tool_calls"
    unknown = {"type": "function", "function": {"name": "get_time"}}
    error = api.error(CHAT, chat_body(tools=[WEATHER], tool_choice=unknown))
    assert error["param"] == "tool_choice"


def test_f43_f87_parallel_calls(api: Api) -> None:
    fields: dict[str, Any] = {
        "tools": [WEATHER],
        "tool_choice": "required",
        "temperature": 1.5,
        "min_tokens": 60,  # one call is over before that
        "max_tokens": 300,
    }
    several = 0
    for seed in range(12):
        chunks = api.chat_chunks(seed=seed, **fields)
        parts = [call for delta in deltas(chunks) for call in delta.get("tool_calls", ())]
        order = [part["index"] for part in parts]
        assert order == sorted(order), "a call is over before the next one begins"
        if chunks[-1]["choices"][0]["finish_reason"] != "tool_calls":
            continue
        several += order[-1] > 0
        for index in set(order):
            pieces = [p["function"]["arguments"] for p in parts if p["index"] == index]
            json.loads("".join(pieces))
        fields_of_one = {**fields, "parallel_tool_calls": False, "min_tokens": 0}
        single = api.chat(seed=seed, **fields_of_one)["choices"][0]
        assert len(single["message"]["tool_calls"]) == 1
    assert several, "some of the seeds call more than once"


class Person(pydantic.BaseModel):
    name: str
    age: int


def test_f45_a_cut_answer_does_not_parse(chat: openai.OpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        chat.chat.completions.parse(
            model="diglot-mini",
            messages=[{"role": "user", "content": "Who?"}],
            response_format=Person,
            max_tokens=3,
        )


def test_f46_a_json_object_with_a_schema(api: Api) -> None:
    schema = Person.model_json_schema()
    form = {"type": "json_object", "schema": schema}
    text = api.say("Who?", response_format=form, max_tokens=100)
    Person.model_validate_json(text)


def test_f47_logprobs(api: Api) -> None:
    choice = api.chat(logprobs=True, top_logprobs=3, **GREEDY)["choices"][0]
    entries = choice["logprobs"]["content"]
    assert (
        bytes(b for entry in entries for b in entry["bytes"]).decode()
        == (choice["message"]["content"])
    )
    for entry in entries:
        values = [top["logprob"] for top in entry["top_logprobs"]]
        assert len(values) == 3 and values == sorted(values, reverse=True)


def test_f48_emoji(api: Api) -> None:
    emoji = "🐶🎉"
    form = {"choice": [emoji]}
    choice = api.chat(structured_outputs=form, logprobs=True, max_tokens=40)["choices"][0]
    assert choice["message"]["content"] == emoji
    entries = choice["logprobs"]["content"]
    assert any(entry["token"].startswith("\\x") for entry in entries)
    assert bytes(b for entry in entries for b in entry["bytes"]).decode() == emoji


def test_f49_both_names_of_the_limit(api: Api) -> None:
    story = "Tell me a story about a girl named Lily."

    def count(**fields: int) -> int:
        return api.chat(story, **GREEDY, **fields)["usage"]["completion_tokens"]

    assert count(max_tokens=5) == count(max_completion_tokens=5) == 5
    assert count(max_tokens=9, max_completion_tokens=5) == 5


def test_f50_developers_and_parts(api: Api) -> None:
    persona = "You are Ruby, a brave pirate."
    question = {"role": "user", "content": "Who are you?"}

    def said(*messages: dict[str, Any]) -> str:
        body = {"model": "diglot-mini", "messages": list(messages), **GREEDY}
        return api.post(CHAT, body).json()["choices"][0]["message"]["content"]

    ruby = said({"role": "developer", "content": persona}, question)
    assert ruby == said({"role": "system", "content": persona}, question) != said(question)
    parts = [{"type": "text", "text": "Who are "}, {"type": "text", "text": "you?"}]
    assert api.say(parts) == said(question)


def test_f51_messages_as_the_sdk_dumps_them(chat: openai.OpenAI, api: Api) -> None:
    question: Any = {"role": "user", "content": "Hello!"}
    answer = chat.chat.completions.create(model="diglot-mini", messages=[question], temperature=0)
    dumped = answer.choices[0].message.model_dump()
    assert {"refusal", "audio", "function_call"} <= set(dumped)
    extra = {"annotations": [], "parsed": None}
    body = {"model": "diglot-mini", "messages": [question, {**dumped, **extra}, question]}
    assert api.post(CHAT, body).status_code == 200


def test_f85_the_role_comes_with_the_first_words(api: Api) -> None:
    long = "The cat and the dog went to the park. " * 60
    body = chat_body(long, stream=True, max_tokens=30, ignore_eos=True)
    arrivals: list[tuple[float, bytes]] = []
    with httpx.stream("POST", f"{api.url}{CHAT}", json=body, timeout=60) as answer:
        for data in answer.iter_raw():
            arrivals.append((time.monotonic(), data))
    first = arrivals[0][1]
    assert b'"role"' in first and first.count(b"data: ") >= 2, "role and words in one write"


def test_f86_accept_headers_decide_nothing(api: Api) -> None:
    streamed = api.post(CHAT, chat_body(stream=True), Accept="application/json")
    assert streamed.headers["content-type"].startswith("text/event-stream")
    whole = api.post(CHAT, chat_body(), Accept="text/event-stream")
    assert whole.headers["content-type"] == "application/json"
