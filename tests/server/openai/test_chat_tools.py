"""Tools in chat, against a scripted engine. `test_f..` names a statement of the wire contract."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine import ChatPrompt
from tests.fakes import ScriptedEngine
from tests.server.client import Client

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": False,
    },
}
PARIS = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
ROME = PARIS.replace("Paris", "Rome")


def client(reply: str = PARIS) -> Client:
    return Client(ScriptedEngine(reply=reply, tool_call_format="hermes"))


def choice(reply: str = PARIS, **fields: Any) -> dict[str, Any]:
    return client(reply).chat(tools=[WEATHER], **fields).json["choices"][0]


def streamed(reply: str = PARIS, **fields: Any) -> list[dict[str, Any]]:
    chunks = client(reply).chat(tools=[WEATHER], stream=True, **fields).chunks
    return [choice for chunk in chunks for choice in chunk["choices"]]


def test_f40_a_call_alone() -> None:
    answer = choice()
    [call] = answer["message"].pop("tool_calls")
    assert answer["message"]["content"] is None
    assert answer["finish_reason"] == "tool_calls"
    assert call.pop("id").startswith("call_")
    function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    assert call == {"type": "function", "function": function}


def test_words_before_a_call_are_content() -> None:
    message = choice(f"Let me see.\n{PARIS}")["message"]
    assert message["content"] == "Let me see." and len(message["tool_calls"]) == 1


def test_f41_words_alone_have_no_calls() -> None:
    answer = choice("Hello!")
    assert answer["message"]["content"] == "Hello!" and "tool_calls" not in answer["message"]
    assert answer["finish_reason"] == "stop"


def test_f42_none_yields_no_calls() -> None:
    one = client()
    answer = one.chat(tools=[WEATHER], tool_choice="none").json["choices"][0]
    assert answer["message"]["content"] == PARIS and answer["finish_reason"] == "stop"
    prompt = one.engine.prompts[0]
    assert isinstance(prompt, ChatPrompt) and "tools" not in prompt.template_args


def test_f43_at_most_one_call_when_they_may_not_be_parallel() -> None:
    reply = f"{PARIS}\n{ROME}"
    assert len(choice(reply)["message"]["tool_calls"]) == 2
    assert len(choice(reply, parallel_tool_calls=False)["message"]["tool_calls"]) == 1
    parts = [c["delta"] for c in streamed(reply, parallel_tool_calls=False)]
    assert {call["index"] for part in parts for call in part.get("tool_calls", ())} == {0}


def test_a_cut_call_is_text_and_length_says_so() -> None:
    answer = choice(max_tokens=20)
    assert answer["message"]["content"] == PARIS[:20] and answer["finish_reason"] == "length"


def test_the_template_gets_the_tools_in_order_and_without_strict() -> None:
    one = client()
    one.chat(tools=[WEATHER, {"function": {"name": "clock", "description": None}}])
    prompt = one.engine.prompts[0]
    assert isinstance(prompt, ChatPrompt)
    first, second = prompt.template_args["tools"]  # type: ignore[misc]
    assert list(first["function"]) == ["name", "description", "parameters"]
    empty = {"type": "object", "properties": {}}
    assert second["function"] == {"name": "clock", "description": "", "parameters": empty}


def test_f38_f39_streamed_calls() -> None:
    parts = streamed(f"Well.\n{PARIS}\n{ROME}")
    assert "".join(c["delta"].get("content") or "" for c in parts) == "Well."
    heads: dict[int, dict[str, Any]] = {}
    arguments: dict[int, str] = {}
    for part in parts:
        for call in part["delta"].get("tool_calls", ()):
            index = call["index"]
            if index not in heads:
                assert index == len(heads)
                heads[index] = call
            else:
                assert call.keys() == {"index", "function"}
                assert call["function"].keys() == {"arguments"}
            arguments[index] = arguments.get(index, "") + call["function"]["arguments"]
    assert [head["function"]["name"] for head in heads.values()] == ["get_weather"] * 2
    assert len({head["id"] for head in heads.values()}) == 2
    assert [json.loads(text) for text in arguments.values()] == [
        {"city": "Paris"},
        {"city": "Rome"},
    ]
    assert parts[-1]["delta"] == {} and parts[-1]["finish_reason"] == "tool_calls"


def test_logprobs_cover_the_words_and_not_the_calls() -> None:
    reply = f"Well.\n{PARIS}"
    whole = choice(reply, logprobs=True)["logprobs"]["content"]
    assert "".join(entry["token"] for entry in whole) == "Well."
    parts = streamed(reply, logprobs=True)
    pieces = [entry for c in parts for entry in (c["logprobs"] or {"content": []})["content"]]
    assert pieces == whole


def test_arguments_are_streamed_while_they_are_written() -> None:
    parts = streamed()
    fragments = [c for p in parts for c in p["delta"].get("tool_calls", ())][1:]
    assert len(fragments) == len('{"city": "Paris"}')


def grammar(**fields: Any) -> str:
    one = client()
    assert one.chat(tools=[WEATHER, CLOCK], **fields).status == 200
    found = one.engine.requests[0].params.grammar
    assert found is not None and found.kind == "lark"
    return found.text


CLOCK = {"type": "function", "function": {"name": "clock"}}
NAMED = {"type": "function", "function": {"name": "clock"}}
ALLOWED = {
    "type": "allowed_tools",
    "allowed_tools": {"mode": "required", "tools": [NAMED]},
}


def test_f42_a_call_can_be_required_and_named() -> None:
    assert "TEXT" in grammar()
    assert "TEXT" not in grammar(tool_choice="required")
    for one_tool in (NAMED, ALLOWED):
        text = grammar(tool_choice=one_tool)
        assert "clock" in text and "get_weather" not in text and "TEXT" not in text


def test_f40_a_named_call_ends_with_stop() -> None:
    named = {"type": "function", "function": {"name": "get_weather"}}
    assert choice(tool_choice=named)["finish_reason"] == "stop"
    assert streamed(tool_choice=named)[-1]["finish_reason"] == "stop"
    assert choice(tool_choice="required")["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "no"}}}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name"),
        ({"tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [CLOCK, CLOCK]}, "tools[1]"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"guided_grammar": "start: /a/"}, "guided_grammar"),
    ],
)
def test_f42_choices_that_make_no_sense_are_refused_by_name(
    fields: dict[str, Any], param: str
) -> None:
    answer = client().chat(**{"tools": [WEATHER], **fields})
    assert answer.status == 400 and answer.error["param"] == param


def test_a_model_without_calls_refuses_tools() -> None:
    answer = Client().chat(tools=[WEATHER])
    assert answer.status == 400 and answer.error["param"] == "tools"


SHOUT = {"type": "custom", "custom": {"name": "shout", "format": {"type": "text"}}}
HEY = '<tool_call>\n{"name": "shout", "arguments": {"input": "hey\\n"}}\n</tool_call>'


def test_a_custom_tool_is_called_with_a_text() -> None:
    one = client(HEY)
    [call] = one.chat(tools=[SHOUT]).json["choices"][0]["message"]["tool_calls"]
    assert (call["type"], call["custom"]) == ("custom", {"name": "shout", "input": "hey\n"})
    chunks = one.chat(tools=[SHOUT], stream=True).chunks
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    head, rest = (c for choice in choices for c in choice["delta"].get("tool_calls", ()))
    assert head["custom"] == {"name": "shout", "input": ""} and head["type"] == "custom"
    assert rest == {"index": 0, "custom": {"input": "hey\n"}}


def test_a_custom_call_is_replayed() -> None:
    one = client()
    call = {"id": "c1", "type": "custom", "custom": {"name": "shout", "input": "hey"}}
    messages = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "HEY"},
    ]
    one.post("/v1/chat/completions", {"model": "diglot-mini", "messages": messages})
    prompt = one.engine.prompts[0]
    assert isinstance(prompt, ChatPrompt)
    [made] = prompt.messages[0]["tool_calls"]  # type: ignore[misc]
    assert made["function"] == {"name": "shout", "arguments": {"input": "hey"}}
