"""Conversations as gpt-oss's template takes them: nothing of them is lost."""

from __future__ import annotations

from typing import Any

import pytest

from engine import ChatPrompt
from engine.errors import InvalidParameter
from engine.text.chat_template import ChatTemplate
from engine.text.harmony_messages import for_harmony

TEMPLATE = """
{%- if reasoning_effort is defined %}{{- 'Reasoning: ' + reasoning_effort }}{%- endif %}
{%- set rest = messages %}
{%- if messages[0].role in ('developer', 'system') %}
    {%- set rest = messages[1:] %}
    {{- '<|start|>developer<|message|>' + messages[0].content + '<|end|>' }}
{%- endif %}
{%- set last = namespace(name=none) %}
{%- for message in rest %}
    {%- if message.role == 'assistant' and 'tool_calls' in message %}
        {%- set call = message.tool_calls[0].function %}
        {%- if message.content and message.thinking %}
            {{- raise_exception('both content and thinking') }}
        {%- endif %}
        {%- set thought = message.content or message.thinking %}
        {%- if thought %}
            {{- '<|start|>assistant<|channel|>analysis<|message|>' + thought + '<|end|>' }}
        {%- endif %}
        {{- '<|start|>assistant to=functions.' + call.name + '<|channel|>commentary json' }}
        {{- '<|message|>' + call.arguments|tojson + '<|call|>' }}
        {%- set last.name = call.name %}
    {%- elif message.role == 'assistant' %}
        {{- '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|end|>' }}
    {%- elif message.role == 'tool' %}
        {{- '<|start|>functions.' + last.name + ' to=assistant<|channel|>commentary' }}
        {{- '<|message|>' + message.content|tojson + '<|end|>' }}
    {%- elif message.role == 'user' %}
        {{- '<|start|>user<|message|>' + message.content + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}
"""


def rendered(*messages: dict[str, Any], **options: Any) -> str:
    template = ChatTemplate(TEMPLATE)
    return template.render(ChatPrompt(messages, **options), bos_token=None, eos_token=None)


def user(text: str = "hi") -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(content: str | None, *calls: str, **more: Any) -> dict[str, Any]:
    made = [{"id": f"id-{name}", "function": {"name": name, "arguments": {}}} for name in calls]
    return {"role": "assistant", "content": content, "tool_calls": made, **more}


def gave(name: str, content: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"id-{name}", "content": content}


def test_what_the_template_is() -> None:
    template = ChatTemplate(TEMPLATE)
    assert template.tool_call_format == "harmony" and template.reasons


def test_all_instructions_at_the_beginning_are_shown() -> None:
    first = {"role": "system", "content": "Be kind."}
    second = {"role": "developer", "content": "Be brief."}
    begin = "<|start|>developer<|message|>Be kind.\n\nBe brief.<|end|><|start|>user<|message|>hi"
    assert rendered(first, second, user()).startswith(begin)


def test_later_instructions_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="after the first messages"):
        rendered(user(), {"role": "system", "content": "Be brief."})


def test_each_call_is_followed_by_what_it_gave() -> None:
    text = rendered(user(), said(None, "f", "g"), gave("g", "of g"), gave("f", "of f"), user("so"))
    places = [text.index(part) for part in ("to=functions.f", '"of f"', "to=functions.g", '"of g"')]
    assert places == sorted(places)
    assert '<|start|>functions.f to=assistant<|channel|>commentary<|message|>"of f"' in text
    assert text.endswith("<|start|>user<|message|>so<|end|><|start|>assistant")


def test_answers_without_their_call_stay() -> None:
    messages = [said(None, "f", "g"), gave("x", "of x"), gave("g", "of g")]
    f, g, *answers = for_harmony(messages)
    assert [f["tool_calls"], g["tool_calls"]] == [[call] for call in messages[0]["tool_calls"]]
    assert [message["content"] for message in answers] == ["of g", "of x"]


@pytest.mark.parametrize(
    ("content", "reasoning", "shown"),
    [(None, "hm", "hm"), ("Wait.", None, "Wait."), ("Wait.", "hm", "Wait."), (None, None, None)],
)
def test_reasoning_before_a_call(
    content: str | None, reasoning: str | None, shown: str | None
) -> None:
    text = rendered(user(), said(content, "f", reasoning_content=reasoning), gave("f", "1"))
    analysis = f"<|channel|>analysis<|message|>{shown}<|end|>"
    assert (analysis in text) == (shown is not None)


def test_a_final_message_can_be_continued() -> None:
    text = rendered(user(), {"role": "assistant", "content": "Once "}, continue_final=True)
    assert text.endswith("<|channel|>final<|message|>Once ")


def test_the_messages_of_the_caller_are_left_alone() -> None:
    messages = [said("a", "f", "g", reasoning_content="hm"), gave("f", "1")]
    before = repr(messages)
    for_harmony(messages)
    assert repr(messages) == before


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({}, ""),
        ({"enable_thinking": True}, ""),
        ({"enable_thinking": False}, "Reasoning: low"),
        ({"enable_thinking": False, "reasoning_effort": "none"}, "Reasoning: low"),
        ({"reasoning_effort": "minimal"}, "Reasoning: low"),
        ({"reasoning_effort": "medium"}, "Reasoning: medium"),
        ({"reasoning_effort": "max"}, "Reasoning: high"),
    ],
)
def test_efforts_are_those_that_the_model_knows(arguments: dict[str, object], shown: str) -> None:
    assert rendered(user(), template_args=arguments).startswith(f"{shown}<|start|>user")
