"""Conversations written by rules, for what no corpus holds.

Knows the generators by name and how many conversations each gives. A generator draws one
conversation from a random source, and nothing else decides what it draws.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from engine.default_model.training.conversation import Conversation, Document
from engine.default_model.training.synthetic import (
    choices,
    german,
    json_answers,
    manners,
    terms,
    tools,
)

Generator = Callable[[random.Random], Conversation]

GENERATORS: Mapping[str, Generator] = {
    "tools": tools.generate,
    "json_answers": json_answers.generate,
    "manners": manners.generate,
    "choices": choices.generate,
    "terms": terms.generate,
    "german": german.generate,
}


def draw(name: str, count: int, seed: int) -> list[Document]:
    """`count` conversations of one generator; the same for the same seed."""
    rng = random.Random(f"{name} {seed}")
    return [GENERATORS[name](rng) for _ in range(count)]
