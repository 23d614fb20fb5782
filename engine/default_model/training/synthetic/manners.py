"""How the assistant behaves: it does not guess, asks back, keeps a persona and a format.

Knows the kinds of conversation; lists of phrases stand beside this file.
"""

from __future__ import annotations

import random

from engine.default_model.training.conversation import Conversation, assistant, system, user
from engine.default_model.training.synthetic.manner_texts import (
    ADJECTIVES,
    FACTS,
    FOLLOW_UPS,
    FORMATS,
    GREETINGS,
    HARM,
    LOVES,
    NO_GUESS,
    ROLES,
    SMALL_TALK,
    STORIES,
    UNKNOWN,
)
from engine.default_model.training.synthetic.phrasing import NAMES, maybe_system, pick, typed


def generate(rng: random.Random) -> Conversation:
    """One conversation that shows a manner."""
    kinds = (_unknown, _follow_up, _persona, _format, _small_talk, _story)
    return rng.choices(kinds, (0.18, 0.08, 0.3, 0.2, 0.18, 0.06))[0](rng)


def _unknown(rng: random.Random) -> Conversation:
    if rng.random() < 0.15:
        asked, answer = pick(rng, HARM), "I cannot help with that."
    else:
        asked, answer = pick(rng, UNKNOWN), pick(rng, NO_GUESS)
    return Conversation([*maybe_system(rng), user(typed(rng, asked)), assistant(answer)])


def _follow_up(rng: random.Random) -> Conversation:
    asked, back, told, answer = pick(rng, FOLLOW_UPS)
    said = [user(typed(rng, asked)), assistant(back), user(told), assistant(answer)]
    return Conversation([*maybe_system(rng), *said[: pick(rng, (2, 4))]])


def _persona(rng: random.Random) -> Conversation:
    role, catch = pick(rng, ROLES)
    name, adjective, love = pick(rng, NAMES), pick(rng, ADJECTIVES), pick(rng, LOVES)
    article = "an" if adjective[0] in "aeiou" else "a"
    order = pick(
        rng,
        (
            f"You are {name}, {article} {adjective} {role} who loves {love}.",
            f"You are {name}, {article} {adjective} {role}. You love {love}.",
            f"Answer as {name}, {article} {adjective} {role} who loves {love}.",
        ),
    )
    fact, told = pick(rng, FACTS)
    exchanges = (
        (pick(rng, ("Who are you?", "Tell me about yourself.", "Introduce yourself.")),
         f"{catch} I am {name}, {article} {adjective} {role}."),
        (pick(rng, ("What is your name?", "What's your name?", "Your name?")),
         f"{catch} My name is {name}."),
        (pick(rng, ("What do you like?", "What do you love?", "What do you like to do?")),
         f"{catch} I love {love}."),
        (pick(rng, GREETINGS), f"{catch} Hello! I am {name}."),
        (pick(rng, ("What is your job?", "What are you?")),
         f"{catch} I am {article} {adjective} {role}."),
        (fact, f"{catch} {told}"),
    )  # fmt: skip
    chosen = rng.sample(exchanges, rng.randint(1, 3))
    turns = [turn for asked, answer in chosen for turn in (user(asked), assistant(answer))]
    return Conversation([system(order), *turns])


def _format(rng: random.Random) -> Conversation:
    order, shape = pick(rng, FORMATS)
    chosen = rng.sample(FACTS, rng.randint(1, 2))
    turns = [t for asked, told in chosen for t in (user(asked), assistant(shape(told)))]
    return Conversation([system(order), *turns])


def _small_talk(rng: random.Random) -> Conversation:
    asked, answers = pick(rng, SMALL_TALK)
    turns = [user(typed(rng, asked)), assistant(pick(rng, answers))]
    if rng.random() < 0.2:
        turns = [user("Hello!"), assistant("Hello! How can I help you?"), *turns]
    return Conversation([*maybe_system(rng), *turns])


def _story(rng: random.Random) -> Conversation:
    asked, answer = pick(rng, STORIES)
    slots = {"name": pick(rng, NAMES), "thing": pick(rng, LOVES)}
    return Conversation(
        [*maybe_system(rng), user(asked.format(**slots)), assistant(answer.format(**slots))]
    )
