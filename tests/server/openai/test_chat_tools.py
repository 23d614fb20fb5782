"""Tools in chat, against a scripted engine. `test_f..` names a statement of the wire contract."""

from __future__ import annotations

import json
from typing import Any

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


def test_streamed_logprobs_cover_every_token_of_a_call() -> None:
    whole = choice(logprobs=True)["logprobs"]["content"]
    parts = streamed(logprobs=True)
    pieces = [entry for c in parts for entry in (c["logprobs"] or {"content": []})["content"]]
    assert pieces == whole
