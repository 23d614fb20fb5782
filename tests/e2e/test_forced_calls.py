"""Calls that must come, and arguments that must fit, in both dialects against a real process.

At temperature 1.5 the embedded model would write nonsense if it could. `test_f..` and `test_g..`
name statements of the wire contracts.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import openai
import pytest
from google import genai
from google.genai import errors, types

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["city", "days", "unit", "tags"],
    "additionalProperties": False,
}
FORECAST = {"name": "forecast", "description": "The weather to come", "parameters": SCHEMA}
CLOCK = {"name": "clock", "description": "The time"}
SCHEMAS = {"forecast": SCHEMA, "clock": {"type": "object", "maxProperties": 0}}
TOOLS: Any = [{"type": "function", "function": f} for f in ({**FORECAST, "strict": True}, CLOCK)]
SEEDS = range(100)


def ask(chat: openai.OpenAI, seed: int, **fields: Any) -> Any:
    return chat.chat.completions.create(
        model="diglot-mini",
        messages=[{"role": "user", "content": "Hello!"}],
        tools=TOOLS,
        temperature=1.5,
        seed=seed,
        max_tokens=250,
        **fields,
    )


def check(name: str, arguments: object) -> None:
    jsonschema.validate(arguments, SCHEMAS[name])


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", {"forecast", "clock"}),
        ({"type": "function", "function": {"name": "forecast"}}, {"forecast"}),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [TOOLS[0]]},
            },
            {"forecast"},
        ),
    ],
)
def test_f42_f44_forced_calls_are_always_valid(
    chat: openai.OpenAI, choice: Any, names: set[str]
) -> None:
    def one(seed: int) -> None:
        answer = ask(chat, seed, tool_choice=choice, parallel_tool_calls=seed % 2 == 0).choices[0]
        assert not answer.message.content
        if answer.finish_reason == "length":
            return
        calls = answer.message.tool_calls
        assert calls and {call.function.name for call in calls} <= names
        assert seed % 2 == 0 or len(calls) == 1
        for call in calls:
            check(call.function.name, json.loads(call.function.arguments))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, SEEDS))


def test_f42_calls_left_to_the_model_are_valid_too(chat: openai.OpenAI) -> None:
    def one(seed: int) -> int:
        answer = ask(chat, seed).choices[0]
        calls = answer.message.tool_calls or []
        for call in calls[: None if answer.finish_reason == "tool_calls" else 0]:
            check(call.function.name, json.loads(call.function.arguments))
        return len(calls)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(30)))


def test_f39_streamed_forced_calls_equal_unstreamed(chat: openai.OpenAI) -> None:
    for seed in range(4):
        whole = ask(chat, seed, tool_choice="required").choices[0]
        texts: dict[int, str] = {}
        for chunk in ask(chat, seed, tool_choice="required", stream=True):
            for part in chunk.choices[0].delta.tool_calls or ():
                texts[part.index] = texts.get(part.index, "") + (part.function.arguments or "")
        assert list(texts.values()) == [c.function.arguments for c in whole.message.tool_calls]


def test_g48_any_always_calls(gemini: genai.Client) -> None:
    def one(seed: int) -> None:
        calling = types.FunctionCallingConfig(
            mode=types.FunctionCallingConfigMode.ANY,
            allowed_function_names=["forecast"] if seed % 2 else None,
        )
        answer = gemini.models.generate_content(
            model="diglot-mini",
            contents="Hello!",
            config=types.GenerateContentConfig(
                tools=[DECLARED],
                tool_config=types.ToolConfig(function_calling_config=calling),
                temperature=1.5,
                seed=seed,
                max_output_tokens=250,
            ),
        )
        candidate = (answer.candidates or [])[0]
        if candidate.finish_reason == types.FinishReason.MAX_TOKENS:
            return
        calls = answer.function_calls
        assert calls and not answer.text
        for call in calls:
            assert call.name and (seed % 2 == 0 or call.name == "forecast")
            check(call.name, call.args)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, SEEDS))


DECLARED = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="forecast", description="The weather to come", parameters_json_schema=SCHEMA
        ),
        types.FunctionDeclaration(name="clock", description="The time"),
    ]
)


BAD: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}


@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_schema_is_named_by_its_place(chat: openai.OpenAI, stream: bool) -> None:
    function = {"name": "bad", "parameters": BAD, "strict": True}
    tools: Any = [*TOOLS, {"type": "function", "function": function}]
    with pytest.raises(openai.BadRequestError) as caught:
        chat.chat.completions.create(
            model="diglot-mini",
            messages=[{"role": "user", "content": "Hello!"}],
            tools=tools,
            stream=stream,
        )
    assert caught.value.param == "tools[2].function.parameters"
    assert "unclosed group" in caught.value.message
    flat: Any = [{"type": "function", "name": "clock"}, {"type": "function", **function}]
    with pytest.raises(openai.BadRequestError) as caught:
        chat.responses.create(model="diglot-mini", input="Hello!", tools=flat, stream=stream)
    assert caught.value.param == "tools[1].parameters"
    form: Any = {"type": "json_schema", "name": "x", "schema": BAD, "strict": True}
    with pytest.raises(openai.BadRequestError) as caught:
        chat.responses.create(
            model="diglot-mini", input="Hello!", text={"format": form}, stream=stream
        )
    assert caught.value.param == "text.format.schema"


def test_a_bad_schema_of_gemini_is_named_by_its_place(gemini: genai.Client) -> None:
    bad = types.FunctionDeclaration(name="bad", parameters_json_schema=BAD)
    tools: Any = [DECLARED, types.Tool(function_declarations=[bad])]
    with pytest.raises(errors.ClientError) as caught:
        gemini.models.generate_content(
            model="diglot-mini",
            contents="Hello!",
            config=types.GenerateContentConfig(tools=tools),
        )
    details: Any = caught.value.details
    [violation] = details["error"]["details"][0]["fieldViolations"]
    # The SDK puts all declarations into one tool.
    assert violation["field"] == "tools[0].function_declarations[2].parameters_json_schema"


def test_g50_g51_a_call_its_result_and_the_answer(gemini: genai.Client) -> None:
    def get_weather(city: str) -> dict[str, object]:
        """Get the current weather in a given city."""
        return {"temperature": 18, "sky": "sunny", "city": city}

    config = types.GenerateContentConfig(tools=[get_weather], temperature=0)
    contents = "What is the weather in Paris?"
    answer = gemini.models.generate_content(model="diglot-mini", contents=contents, config=config)
    history = answer.automatic_function_calling_history or []
    assert history[1].parts and history[1].parts[0].function_call
    assert history[1].parts[0].function_call.args == {"city": "Paris"}
    assert answer.text and "18" in answer.text
