"""A model that answers in channels, through both dialects, against a scripted engine."""

from __future__ import annotations

from typing import Any

import pytest

from engine import Engine, Prompt, SamplingParams, TextPrompt
from engine.sampling_params import Grammar
from server.harmony import MARKS
from server.harmony_plan import harmony_plan
from server.tools import ToolUse
from tests.fakes import ScriptedEngine
from tests.server.client import Client

ANALYSIS = "<|channel|>analysis<|message|>Hm, hm.<|end|><|start|>assistant"
REPLY = f"{ANALYSIS}<|channel|>final<|message|>Yes."
CALL = f"{ANALYSIS}<|channel|>commentary to=functions.f <|constrain|>json<|message|>{{}}"
TOOL = {"type": "function", "function": {"name": "f"}}


def client(reply: str = REPLY) -> Client:
    return Client(ScriptedEngine(reply=reply, reasons=True, tool_call_format="harmony"))


def test_channels_are_divided() -> None:
    message = client().chat().json["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Hm, hm.", "Yes.")


def test_streamed_channels_equal_unstreamed() -> None:
    chunks = client().chat(stream=True).chunks
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "Hm, hm."
    assert "".join(delta.get("content") or "" for delta in deltas) == "Yes."


def test_log_probabilities_are_those_of_the_words() -> None:
    choice = client().chat(logprobs=True).json["choices"][0]
    assert "".join(entry["token"] for entry in choice["logprobs"]["content"]) == "Yes."


@pytest.mark.parametrize("tool_choice", ["auto", "required"])
def test_a_call(tool_choice: str) -> None:
    one = client(CALL)
    choice = one.chat(tools=[TOOL], tool_choice=tool_choice).json["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    [call] = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": "{}"}
    [request] = one.engine.requests
    assert request.params.grammar is not None and not request.params.skip_special_tokens
    assert ("final" in request.params.grammar.text.split("last:")[1]) == (tool_choice == "auto")


def test_gemini_has_thoughts_words_and_calls() -> None:
    path = "/v1beta/models/diglot-mini:generateContent"
    body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    thoughts = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    [thought, words] = parts_of(client().post(path, body | thoughts).json)
    assert thought == {"text": "Hm, hm.", "thought": True} and words == {"text": "Yes."}
    tools = {"tools": [{"functionDeclarations": [{"name": "f"}]}]}
    [call] = parts_of(client(CALL).post(path, body | tools).json)
    assert call["functionCall"]["name"] == "f" and call["functionCall"]["args"] == {}


def parts_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    return body["candidates"][0]["content"]["parts"]


def test_an_answer_is_bound_after_the_reasoning() -> None:
    one = client()
    one.chat(response_format={"type": "json_object"})
    grammar = one.engine.requests[0].params.grammar
    assert grammar is not None and 'answer: %json {"type": "object"}' in grammar.text


def test_a_grammar_of_the_callers_is_refused_by_name() -> None:
    answer = client().chat(expect=400, guided_grammar="start: /a/").json
    assert "channels" in answer["error"]["message"]


class Marked(ScriptedEngine):
    """Knows the marks as tokens, from 300 on."""

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        if isinstance(prompt, TextPrompt) and prompt.text in MARKS:
            return (300 + MARKS.index(prompt.text),)
        return super().encode(prompt)

    def is_special(self, token_id: int) -> bool:
        return token_id >= 300


@pytest.mark.parametrize(
    ("marks", "inside"),
    [
        (("<|start|>",), False),
        (("<|start|>", "<|message|>"), True),
        (("<|message|>", "<|end|>"), False),
        (("<|message|>", "<|return|>"), False),
        ((), False),
    ],
)
def test_where_the_prompt_ends(marks: tuple[str, ...], inside: bool) -> None:
    engine: Engine = Marked()
    prompt = tuple(token for mark in marks for token in (300 + MARKS.index(mark), *b"words"))
    plan = harmony_plan(engine, ToolUse(), prompt)
    assert plan.inside == inside
    number = SamplingParams(grammar=Grammar("json_schema", '{"type": "integer"}'))
    bound = plan.bind(number).grammar
    assert bound is not None and (bound == number.grammar) == inside
    assert inside or "<[301]>" in bound.text
