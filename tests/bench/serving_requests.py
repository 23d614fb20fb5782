"""The requests of `tests.bench.serving`: the same texts for every server and the engine alone."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.bench.load import Call, call
from tests.bench.shapes import model_directory

PROMPT_LETTERS = 128  # as many tokens for a byte vocabulary, fewer for the embedded one
SHARED_LETTERS, LONG_LETTERS = 512, 1024


def texts(count: int) -> list[str]:
    """Short prompts that share nothing."""
    letters = random.Random(count)
    return [_letters(letters, PROMPT_LETTERS) for _ in range(count)]


def texts_with_shared_beginning(count: int) -> list[str]:
    """Prompts that differ only after a long beginning, as behind one system text."""
    beginning = _letters(random.Random(0), SHARED_LETTERS)
    return [beginning + text for text in texts(count)]


def texts_with_long_ones(count: int) -> list[str]:
    """Every eighth prompt is long."""
    letters = random.Random(-count)
    return [
        _letters(letters, LONG_LETTERS) if number % 8 == 0 else text
        for number, text in enumerate(texts(count))
    ]


def calls(model: Path, prompts: list[str], new_tokens: int, host: str, *, ours: bool) -> list[Call]:
    """Streamed greedy completions; the peer refuses `ignore_eos`."""
    extra: dict[str, Any] = {"ignore_eos": True} if ours else {}
    body = {"max_tokens": new_tokens, "temperature": 0, "stream": True, **extra}
    name = served_name(model) if ours else str(model)
    return [
        call(host, "/v1/completions", {"model": name, "prompt": text, **body}) for text in prompts
    ]


def served_name(model: Path) -> str:
    """What our server calls the model."""
    return "diglot-mini" if model == model_directory("embedded") else model.name


def _letters(source: random.Random, count: int) -> str:
    return "".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=count))
