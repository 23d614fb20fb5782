"""Libraries, unmodified: a plain turn, a streamed one, a call, an object."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.clients.conftest import run_program
from tests.e2e.conftest import Server

PROGRAMS = [
    ("openai_python.py",),
    ("google_python.py",),
    ("langchain_client.py", "openai"),
    ("langchain_client.py", "google"),
    ("litellm_client.py", "openai"),
    ("litellm_client.py", "gemini"),
    ("pydantic_ai_client.py", "openai"),
    ("pydantic_ai_client.py", "google"),
    ("instructor_client.py",),
    ("openai_node.mjs",),
    ("google_node.mjs",),
    ("ai_sdk.mjs", "openai-chat"),
    ("ai_sdk.mjs", "openai-responses"),
    ("ai_sdk.mjs", "google"),
]
HELLO = "Hello! How can I help you?"
ANNA = {"name": "Anna", "age": 31}


def decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


@pytest.mark.parametrize("program", PROGRAMS, ids=" ".join)
def test_a_client_is_served(
    server: Server, program: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    found = run_program(server, *program)
    with capsys.disabled():
        sys.stdout.write(f"\n{' '.join(program)}: {json.dumps(found)}")
    for name in ("plain", "responses"):
        assert found.get(name, HELLO) == HELLO
    assert found["streamed"] == HELLO or "Anna" in found["streamed"]
    assert decoded(found.get("call", {"city": "Paris"})) == {"city": "Paris"}
    assert found.get("broken", "raised") == "raised"
    assert found.get("forced", "get_weather") == "get_weather"
    for name in ("person", "by_schema"):
        assert decoded(found.get(name, ANNA)) == ANNA
