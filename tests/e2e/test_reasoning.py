"""Reasoning from a real process, with templates that have a model think first.

The embedded model was never taught how to stop thinking, so that all it says is reasoning. What
follows reasoning is shown with a tiny model that recites both.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from google import genai
from google.genai import types

from engine import EMBEDDED_MODEL
from tests.e2e.conftest import start_server, stop_server
from tests.tiny_models import make_reciting_model

MODEL = "thinker"
GREEDY: dict[str, Any] = {"temperature": 0}
THOUGHT, ANSWER = "abc", "yz"
OPENED = "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}{# until </think> #}"


@pytest.fixture(scope="module")
def thinking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("model") / MODEL
    shutil.copytree(EMBEDDED_MODEL, folder)
    yield from serve(folder)


@pytest.fixture(scope="module")
def reciting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("model") / MODEL
    yield from serve(make_reciting_model(folder, f"{THOUGHT}</think> {ANSWER}"))


def serve(folder: Path) -> Iterator[str]:
    """Serve a model whose template opens its reasoning."""
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().rstrip() + OPENED)
    server = start_server("--model", str(folder))
    yield server.url
    stop_server(server)


def test_g54_thoughts_are_marked_counted_and_shown_only_to_who_asks(thinking_server: str) -> None:
    def ask(shown: bool) -> Any:
        config = types.GenerateContentConfig(
            thinking_config=types.ThinkingConfig(include_thoughts=shown),
            max_output_tokens=12,
            **GREEDY,
        )
        return client.models.generate_content(model=MODEL, contents="Hello!", config=config)

    with genai.Client(api_key="x", http_options={"base_url": thinking_server}) as client:
        shown, hidden = ask(True), ask(False)
    parts = shown.candidates[0].content.parts
    assert all(part.thought for part in parts) and parts[0].text and not shown.text
    assert not any(part.thought or part.text for part in hidden.candidates[0].content.parts)
    for usage in (shown.usage_metadata, hidden.usage_metadata):
        prompt, thoughts = usage.prompt_token_count, usage.thoughts_token_count
        said = usage.candidates_token_count or 0
        assert thoughts > 0 and thoughts + said <= 12
        assert usage.total_token_count == prompt + thoughts + said


def test_chat_and_responses_keep_reasoning_apart(thinking_server: str) -> None:
    with openai.OpenAI(base_url=f"{thinking_server}/v1", api_key="x") as sdk:
        chat = sdk.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Hello!"}],
            max_completion_tokens=12,
            **GREEDY,
        )
        made = sdk.responses.create(model=MODEL, input="Hello!", max_output_tokens=12, **GREEDY)
    message: Any = chat.choices[0].message
    assert message.content == "" and message.reasoning_content
    assert chat.usage and chat.usage.completion_tokens_details
    assert chat.usage.completion_tokens_details.reasoning_tokens
    [item] = made.output
    assert item.type == "reasoning" and item.content
    assert item.content[0].text == message.reasoning_content
    assert made.usage and made.usage.output_tokens_details.reasoning_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
def test_g54_what_follows_thoughts_is_the_answer(reciting_server: str, stream: bool) -> None:
    def ask(shown: bool) -> list[types.GenerateContentResponse]:
        config = types.GenerateContentConfig(
            thinking_config=types.ThinkingConfig(include_thoughts=shown)
        )
        fields: Any = {"model": MODEL, "contents": "Hello!", "config": config}
        if stream:
            return list(client.models.generate_content_stream(**fields))
        return [client.models.generate_content(**fields)]

    for shown in (True, False):
        with genai.Client(api_key="x", http_options={"base_url": reciting_server}) as client:
            chunks = ask(shown)
        parts: list[Any] = [
            part for chunk in chunks for part in (chunk.candidates or [])[0].content.parts or ()
        ]
        assert "".join(part.text for part in parts if part.thought) == (THOUGHT if shown else "")
        assert "".join(part.text for part in parts if not part.thought) == ANSWER
        usage: Any = chunks[-1].usage_metadata
        assert usage.thoughts_token_count == len(THOUGHT)
        prompt, said = usage.prompt_token_count, usage.candidates_token_count
        assert said > len(ANSWER)
        assert usage.total_token_count == prompt + said + usage.thoughts_token_count


def test_chat_and_responses_answer_after_reasoning(reciting_server: str) -> None:
    with openai.OpenAI(base_url=f"{reciting_server}/v1", api_key="x") as sdk:
        fields: Any = {"model": MODEL, "messages": [{"role": "user", "content": "Hello!"}]}
        message: Any = sdk.chat.completions.create(**fields).choices[0].message
        deltas: list[Any] = [
            chunk.choices[0].delta for chunk in sdk.chat.completions.create(stream=True, **fields)
        ]
        made = sdk.responses.create(model=MODEL, input="Hello!")
    assert (message.reasoning_content, message.content) == (THOUGHT, ANSWER)
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == THOUGHT
    assert "".join(delta.content or "" for delta in deltas) == ANSWER
    thought, answer = made.output
    assert thought.type == "reasoning" and thought.content
    assert (thought.content[0].text, made.output_text) == (THOUGHT, ANSWER)
    assert answer.type == "message" and made.status == "completed"
