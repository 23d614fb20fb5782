"""A model that answers in channels, its marks real tokens, against a real process.

Its weights are random, so only what a grammar or a bias makes it say is certain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from google import genai

from server.harmony import MARKS
from tests.e2e.conftest import start_server, stop_server
from tests.engine.text.test_harmony_messages import TEMPLATE
from tests.tiny_models import SPECIAL_TOKENS, VOCAB_SIZE, make_tiny_model, write_byte_tokenizer

TOKENS = {mark: VOCAB_SIZE + place for place, mark in enumerate(MARKS)}
COLOUR = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}}
COLOUR |= {"required": ["colour"], "additionalProperties": False}
TOOL: Any = {"type": "function", "function": {"name": "paint", "parameters": COLOUR}}
HOW: Any = {
    "max_tokens": 300,
    "seed": 4,
    "logit_bias": {str(TOKENS["<|end|>"]): 8, str(ord("f")): 8},  # it thinks little
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = tmp_path_factory.mktemp("models") / "tiny-oss"
    make_tiny_model(model, "gpt_oss", vocab_size=VOCAB_SIZE + len(TOKENS))
    write_byte_tokenizer(model, SPECIAL_TOKENS | TOKENS, TEMPLATE)
    ends = [TOKENS["<|return|>"], TOKENS["<|call|>"]]
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    server = start_server("--model", str(model))
    yield server.url
    stop_server(server)


@pytest.fixture
def chat(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


def ask(chat: openai.OpenAI, messages: Any = None, **fields: Any) -> Any:
    messages = messages or [{"role": "user", "content": "Paint it."}]
    return chat.chat.completions.create(model="tiny-oss", messages=messages, **HOW, **fields)


def test_a_forced_call_and_its_answer(chat: openai.OpenAI) -> None:
    choice = ask(chat, tools=[TOOL], tool_choice="required").choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    [call] = choice.message.tool_calls
    assert json.loads(call.function.arguments)["colour"] in ("red", "blue")
    given = {"role": "tool", "tool_call_id": call.id, "content": "done"}
    user = {"role": "user", "content": "Paint it."}
    assert ask(chat, [user, choice.message, given]).choices[0].finish_reason in ("stop", "length")


def test_a_streamed_call_equals_the_unstreamed(chat: openai.OpenAI) -> None:
    message = ask(chat, tools=[TOOL], tool_choice="required").choices[0].message
    thoughts, arguments = "", ""
    for chunk in ask(chat, tools=[TOOL], tool_choice="required", stream=True):
        delta = chunk.choices[0].delta
        thoughts += getattr(delta, "reasoning_content", None) or ""
        arguments += "".join(call.function.arguments or "" for call in delta.tool_calls or [])
    assert arguments == message.tool_calls[0].function.arguments
    assert thoughts == (getattr(message, "reasoning_content", None) or "")


def test_an_answer_of_a_schema(chat: openai.OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "colour", "schema": COLOUR}}
    choice = ask(chat, response_format=form).choices[0]
    assert choice.finish_reason == "stop"
    assert json.loads(choice.message.content)["colour"] in ("red", "blue")


def test_gemini_calls_the_same_function(url: str, chat: openai.OpenAI) -> None:
    [call] = ask(chat, tools=[TOOL], tool_choice="required").choices[0].message.tool_calls
    config: Any = {
        "max_output_tokens": 300,
        "seed": 4,
        "temperature": 1,
        "tools": [{"function_declarations": [{"name": "paint", "parameters_json_schema": COLOUR}]}],
        "tool_config": {"function_calling_config": {"mode": "ANY"}},
        "http_options": {
            "extra_body": {"generationConfig": {"logitBias": HOW["logit_bias"]}},
        },
    }
    with genai.Client(api_key="x", http_options={"base_url": url}) as client:  # type: ignore[arg-type]
        answer = client.models.generate_content(
            model="tiny-oss", contents="Paint it.", config=config
        )
    assert answer.function_calls is not None
    assert answer.function_calls[0].args == json.loads(call.function.arguments)
