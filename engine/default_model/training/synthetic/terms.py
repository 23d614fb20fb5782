"""The project's own terms, explained in a few simple words, in English and in German.

Knows how questions about terms are worded; the explanations stand beside this file.
"""

from __future__ import annotations

import random

from engine.default_model.training.conversation import Conversation, Message, assistant, user
from engine.default_model.training.synthetic.phrasing import maybe_system, pick, typed
from engine.default_model.training.synthetic.term_texts import QUESTIONS, TERMS, Term

ENGLISH = (
    "What is {}?",
    "Explain {}.",
    "What does {} do?",
    "What does {} mean?",
    "Explain {} in one sentence.",
    "Tell me about {}.",
    "{}?",
    "Can you explain {}?",
)
GERMAN = (
    "Was ist {}?",
    "Erkläre {}.",
    "Was macht {}?",
    "Was bedeutet {}?",
    "Kannst du {} erklären?",
    "Was ist {} bei einem Sprachmodell?",
    "Erkläre mir {} bitte.",
    "{}?",
)


def generate(rng: random.Random) -> Conversation:
    """One conversation about one or two terms."""
    if rng.random() < 0.15:
        asked, answer = pick(rng, QUESTIONS)
        return Conversation([*maybe_system(rng), user(typed(rng, asked)), assistant(answer)])
    german = rng.random() < 0.35
    first, second = rng.sample(TERMS, 2)
    messages = [*maybe_system(rng), *ask(rng, first, german)]
    if rng.random() < 0.2:
        messages += _follow_up(rng, first, second, german)
    return Conversation(messages)


def ask(rng: random.Random, term: Term, german: bool) -> list[Message]:
    """A question about a term and its answer."""
    name = pick(rng, term.german_names if german else term.names)
    asked = pick(rng, GERMAN if german else ENGLISH).format(name)
    answer = pick(rng, term.german if german else term.english)
    return [user(typed(rng, asked[0].upper() + asked[1:])), assistant(answer)]


def _follow_up(rng: random.Random, first: Term, second: Term, german: bool) -> list[Message]:
    if rng.random() < 0.4:
        asked = "Auf Englisch, bitte." if german else "Can you say it in German?"
        return [user(asked), assistant(pick(rng, first.english if german else first.german))]
    name = pick(rng, second.german_names if german else second.names)
    asked = f"Und {name}?" if german else f"And {name}?"
    return [user(asked), assistant(pick(rng, second.german if german else second.english))]
