"""Reasoning from a real process: the embedded model with a template that has it think first.

It was never taught how to stop thinking, so that all it says is reasoning. Knows nothing of what
follows reasoning: `tests/server` shows that with scripted answers.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from google import genai
from google.genai import types

from engine import EMBEDDED_MODEL
from tests.e2e.conftest import start_server, stop_server

MODEL = "thinker"
GREEDY: dict[str, Any] = {"temperature": 0}


@pytest.fixture(scope="module")
def thinking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("model") / MODEL
    shutil.copytree(EMBEDDED_MODEL, folder)
    template = folder / "chat_template.jinja"
    opened = "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}{# until </think> #}"
    template.write_text(template.read_text().rstrip() + opened)
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
