"""The two official SDKs, unmodified but for the base URL, against a real process."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from google import genai
from google.genai import errors, types

PROMPT = "Tell me a short story about a dog."
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_tokens": 24}


def model_name(chat: openai.OpenAI) -> str:
    return chat.models.list().data[0].id


def test_openai_chat_streamed_equals_unstreamed(chat: openai.OpenAI) -> None:
    model = model_name(chat)
    messages: Any = [{"role": "user", "content": PROMPT}]
    whole = chat.chat.completions.create(model=model, messages=messages, **GREEDY)
    stream = chat.chat.completions.create(
        model=model,
        messages=messages,
        stream=True,
        stream_options={"include_usage": True},
        **GREEDY,
    )
    chunks: list[Any] = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert text
    streamed, usage = chunks[-1].usage, whole.usage
    assert usage is not None and usage.total_tokens == streamed.total_tokens
    assert usage.completion_tokens == streamed.completion_tokens


def test_openai_completions_streamed_equals_unstreamed(chat: openai.OpenAI) -> None:
    model = model_name(chat)
    whole = chat.completions.create(model=model, prompt="Once upon a time", **GREEDY)
    stream = chat.completions.create(model=model, prompt="Once upon a time", stream=True, **GREEDY)
    assert "".join(c.choices[0].text for c in stream) == whole.choices[0].text != ""


def test_openai_stream_helper_reads_two_choices(chat: openai.OpenAI) -> None:
    with chat.chat.completions.stream(
        model=model_name(chat),
        messages=[{"role": "user", "content": "Pick a color."}],
        n=2,
        seed=3,
        max_completion_tokens=8,
    ) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "chunk"]
    assert [choice.index for choice in snapshots[-1].choices] == [0, 1]
    assert all(choice.message.content for choice in snapshots[-1].choices)


def test_openai_errors_are_typed_and_named(chat: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        chat.models.retrieve("no-such-model")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        chat.completions.create(model=model_name(chat), prompt="a", temperature=2.5)
    assert wrong.value.param == "temperature"


def test_gemini_streamed_equals_unstreamed(gemini: genai.Client, chat: openai.OpenAI) -> None:
    model = model_name(chat)
    config = types.GenerateContentConfig(temperature=0, max_output_tokens=24)
    whole = gemini.models.generate_content(model=model, contents=PROMPT, config=config)
    stream = gemini.models.generate_content_stream(model=model, contents=PROMPT, config=config)
    chunks = list(stream)
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    assert whole.text
    streamed, usage = chunks[-1].usage_metadata, whole.usage_metadata
    assert streamed is not None and usage is not None
    assert streamed.total_token_count == usage.total_token_count


def test_gemini_chat_counts_models_and_errors(gemini: genai.Client, chat: openai.OpenAI) -> None:
    model = model_name(chat)
    conversation = gemini.chats.create(model=model)
    first = conversation.send_message("Hello! My name is Ann.")
    second = conversation.send_message("What is my name?")
    assert first.text is not None and second.text is not None
    counted = gemini.models.count_tokens(model=model, contents=PROMPT)
    answered = gemini.models.generate_content(
        model=model, contents=PROMPT, config=types.GenerateContentConfig(max_output_tokens=1)
    )
    assert answered.usage_metadata is not None
    assert counted.total_tokens == answered.usage_metadata.prompt_token_count
    assert model in [(listed.name or "").removeprefix("models/") for listed in gemini.models.list()]
    with pytest.raises(errors.ClientError) as wrong:
        gemini.models.generate_content(
            model=model, contents="a", config=types.GenerateContentConfig(temperature=2.5)
        )
    assert (wrong.value.code, wrong.value.status) == (400, "INVALID_ARGUMENT")


@pytest.mark.parametrize("seed", [None, 7])
def test_both_dialects_give_the_same_tokens(
    gemini: genai.Client, chat: openai.OpenAI, seed: int | None
) -> None:
    model, temperature = model_name(chat), 0.0 if seed is None else 1.3
    spoken = chat.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": PROMPT}],
        max_completion_tokens=32,
        temperature=temperature,
        top_p=0.9,
        frequency_penalty=0.5,
        seed=seed,
        extra_body={"top_k": 50},
    )
    generated = gemini.models.generate_content(
        model=model,
        contents=PROMPT,
        config=types.GenerateContentConfig(
            max_output_tokens=32,
            temperature=temperature,
            top_p=0.9,
            top_k=50,
            frequency_penalty=0.5,
            seed=seed,
        ),
    )
    assert generated.text == spoken.choices[0].message.content
