"""Reasoning in chat, against a scripted engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine import ChatPrompt
from tests.fakes import ScriptedEngine
from tests.server.client import Client

REPLY = "<think>\nHm, hm.\n</think>\n\nYes."
TOOL = {"type": "function", "function": {"name": "f"}}
CALL = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'


def client(reply: str = REPLY) -> Client:
    return Client(ScriptedEngine(reply=reply, reasons=True, tool_call_format="hermes"))


def test_reasoning_is_divided_from_the_answer() -> None:
    body = client().chat().json
    message = body["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm, hm.", "Yes.")
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == len("Hm, hm.")


def test_streamed_reasoning_equals_unstreamed() -> None:
    chunks = client().chat(stream=True, stream_options={"include_usage": True}).chunks
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Hm, hm."
    assert "".join(delta.get("content", "") for delta in deltas) == "Yes."
    assert chunks[-1]["usage"] == client().chat().json["usage"]


def test_reasoning_can_be_left_out() -> None:
    message = client().chat(include_reasoning=False).json["choices"][0]["message"]
    assert "reasoning_content" not in message and message["content"] == "Yes."


def test_reasoning_then_a_call() -> None:
    reply = f"<think>Hm.</think>\n{CALL}"
    choice = client(reply).chat(tools=[TOOL], tool_choice="required").json["choices"][0]
    message = choice["message"]
    assert message["reasoning_content"] == "Hm." and message["content"] is None
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}


def test_a_grammar_binds_only_what_comes_after_reasoning() -> None:
    one = client()
    one.chat(response_format={"type": "json_object"})
    one.chat(tools=[TOOL], tool_choice="required")
    for request in one.engine.requests:
        assert request.params.grammar is not None and request.params.grammar.after == "</think>"


def test_a_prompt_that_ends_reasoning_has_none() -> None:
    one = client("<think> is a tag")
    body: dict[str, Any] = {
        "model": "diglot-mini",
        "messages": [{"role": "assistant", "content": "<think>\n\n</think>\n\n"}],
        "continue_final_message": True,
    }
    message = one.post("/v1/chat/completions", body).json["choices"][0]["message"]
    assert message["content"] == "<think> is a tag"


@pytest.mark.parametrize(
    ("effort", "thinks"), [("none", False), ("minimal", True), ("high", True), ("max", True)]
)
def test_the_effort_reaches_the_template(effort: str, thinks: bool) -> None:
    one = client()
    one.chat(reasoning_effort=effort)
    prompt = one.engine.prompts[0]
    assert isinstance(prompt, ChatPrompt)
    assert prompt.template_args == {"reasoning_effort": effort, "enable_thinking": thinks}


def test_the_callers_own_arguments_go_first() -> None:
    one = client()
    one.chat(reasoning_effort="high", chat_template_kwargs={"enable_thinking": False})
    prompt = one.engine.prompts[0]
    assert isinstance(prompt, ChatPrompt) and prompt.template_args["enable_thinking"] is False
    assert client().chat(reasoning_effort="some").error["param"] == "reasoning_effort"


def test_logprobs_cover_the_answer_only() -> None:
    content = client().chat(logprobs=True).json["choices"][0]["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == "Yes."
    assert bytes(b for entry in content for b in entry["bytes"]) == b"Yes."


def test_all_token_ids_of_a_reasoning_stream_come_last() -> None:
    chunks = client().chat(stream=True, return_token_ids=True).chunks
    last = chunks[-1]["choices"][0]
    assert bytes(i for i in last["token_ids"] if i < 256).decode() == REPLY
    assert json.dumps(chunks).count('"token_ids"') == 1
