"""The embedded model calls tools, seen through the official SDK against a real process."""

from __future__ import annotations

import json
from typing import Any

import openai

WEATHER: Any = {
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
QUESTION: Any = {"role": "user", "content": "What is the weather in Paris?"}


def ask(chat: openai.OpenAI, messages: list[Any], **fields: Any) -> Any:
    return chat.chat.completions.create(
        model=chat.models.list().data[0].id,
        messages=messages,
        tools=[WEATHER],
        tool_choice="auto",
        temperature=0,
        **fields,
    )


def test_a_call_and_the_answer_to_its_result(chat: openai.OpenAI) -> None:
    first = ask(chat, [QUESTION]).choices[0]
    assert first.finish_reason == "tool_calls"
    [call] = first.message.tool_calls
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    given = {
        "role": "tool",
        "tool_call_id": call.id,
        "content": '{"temperature": 18, "sky": "sunny"}',
    }
    second = ask(chat, [QUESTION, first.message, given]).choices[0]
    assert second.finish_reason == "stop" and "18" in second.message.content


def test_a_greeting_needs_no_call(chat: openai.OpenAI) -> None:
    answer = ask(chat, [{"role": "user", "content": "Hello!"}]).choices[0]
    assert answer.finish_reason == "stop" and answer.message.tool_calls is None


def test_streamed_calls_equal_unstreamed(chat: openai.OpenAI) -> None:
    [whole] = ask(chat, [QUESTION]).choices[0].message.tool_calls
    name, arguments, finish = "", "", None
    for chunk in ask(chat, [QUESTION], stream=True):
        finish = chunk.choices[0].finish_reason or finish
        for part in chunk.choices[0].delta.tool_calls or ():
            name += part.function.name or ""
            arguments += part.function.arguments or ""
    assert (name, arguments) == (whole.function.name, whole.function.arguments)
    assert finish == "tool_calls"
