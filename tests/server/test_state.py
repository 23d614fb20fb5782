"""Long prompts are tokenized beside the event loop, short ones in it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from engine import ChatPrompt, Prompt, TextPrompt, TokenPrompt
from server.settings import ServerSettings
from server.state import create_state
from tests.fakes import ScriptedEngine

LONG = "a" * 5000


@pytest.mark.parametrize(
    ("prompt", "beside"),
    [
        (TextPrompt("short"), False),
        (TextPrompt(LONG), True),
        (TokenPrompt((97,) * 5000), False),  # nothing to do
        (ChatPrompt(({"role": "user", "content": "short"},)), False),
        (ChatPrompt(({"role": "user", "content": "short"}, {"content": LONG, "role": "x"})), True),
        (ChatPrompt(({"role": "assistant", "content": None},)), False),
    ],
)
def test_only_long_prompts_leave_the_loop(prompt: Prompt, beside: bool) -> None:
    threads: list[int] = []

    class Watched(ScriptedEngine):
        def encode(self, prompt: Prompt) -> tuple[int, ...]:
            threads.append(threading.get_ident())
            return super().encode(prompt)

    engine = Watched()
    ids = asyncio.run(create_state(engine, ServerSettings()).encode(prompt))
    assert ids == ScriptedEngine().encode(prompt)
    assert (threads[0] != threading.get_ident()) is beside
