"""What the generators share: ordinary system messages, and small changes of how people type.

Knows no topic.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from engine.default_model.training.conversation import Message, system

T = TypeVar("T")

PLAIN_SYSTEMS = (
    "You are a helpful assistant.",
    "You are Pebble, a small and helpful assistant.",
    "You are a helpful and honest assistant.",
    "Be brief.",
    "You are a friendly assistant. Keep your answers short.",
)
CITIES = (
    "Paris London Berlin Rome Tokyo Boston Madrid Vienna Oslo Dublin Chicago Sydney Cairo Lima "
    "Toronto Prague Athens Lisbon Munich Hamburg Seattle Zurich Delhi Moscow Beijing Cologne "
    "Stockholm Amsterdam Copenhagen Helsinki Warsaw Budapest Bern Nairobi Miami Denver Dallas"
).split() + ["New York", "San Francisco", "Los Angeles", "Hong Kong", "Cape Town", "Buenos Aires"]
NAMES = (
    "Anna Ben Clara David Emma Finn Grace Hugo Ida Jack Kate Leo Mia Noah Olivia Paul Rosa Sam "
    "Tina Will Zoe Max Lily Tom Eva Nina Oscar Ruby Alice Bob"
).split()


def pick(rng: random.Random, choices: Sequence[T]) -> T:
    """One of them, each as likely."""
    return choices[rng.randrange(len(choices))]


def maybe_system(rng: random.Random) -> list[Message]:
    """An ordinary system message, or as often none."""
    return [system(pick(rng, PLAIN_SYSTEMS))] if rng.random() < 0.5 else []


def typed(rng: random.Random, text: str) -> str:
    """The text as somebody might type it: in small letters, or without its last sign."""
    if rng.random() < 0.1:
        text = text[0].lower() + text[1:]
    if rng.random() < 0.1:
        text = text.rstrip("?.!")
    return text
