"""Simple conversations in German.

Knows how they go; words and phrases stand beside this file.
"""

from __future__ import annotations

import random

from engine.default_model.training.conversation import (
    Conversation,
    Message,
    assistant,
    system,
    user,
)
from engine.default_model.training.synthetic.german_texts import (
    ANIMALS,
    ASK_CHOICE,
    CAPITALS,
    CHOICES,
    DAYS,
    FACTS,
    HEROES,
    OPPOSITES,
    SYSTEMS,
    TALK,
    TRANSLATIONS,
)
from engine.default_model.training.synthetic.phrasing import NAMES, maybe_system, pick, typed


def generate(rng: random.Random) -> Conversation:
    """One conversation in German, or about German words."""
    kinds = (_talk, _sum, _choice, _name, _fact, _translation, _story, _order)
    weights = (0.3, 0.12, 0.14, 0.08, 0.14, 0.1, 0.08, 0.04)
    return rng.choices(kinds, weights)[0](rng)


def _start(rng: random.Random) -> list[Message]:
    return [system(pick(rng, SYSTEMS))] if rng.random() < 0.3 else []


def _one(rng: random.Random, asked: str, answer: str) -> Conversation:
    return Conversation([*_start(rng), user(typed(rng, asked)), assistant(answer)])


def _talk(rng: random.Random) -> Conversation:
    first, second = rng.sample(TALK, 2)
    turns = [user(typed(rng, first[0])), assistant(pick(rng, first[1]))]
    if rng.random() < 0.3:
        turns += [user(typed(rng, second[0])), assistant(pick(rng, second[1]))]
    return Conversation([*_start(rng), *turns])


def _sum(rng: random.Random) -> Conversation:
    left, right = rng.randint(1, 10), rng.randint(1, 10)
    if rng.random() < 0.3 and left >= right:
        return _one(
            rng, f"Was ist {left} minus {right}?", f"{left} minus {right} ist {left - right}."
        )
    forms = ("Was ist {} plus {}?", "Wie viel ist {} plus {}?", "Rechne {} plus {}.")
    asked = pick(rng, forms).format(left, right)
    return _one(rng, asked, f"{left} plus {right} ist {left + right}.")


def _choice(rng: random.Random) -> Conversation:
    if rng.random() < 0.25:
        return _one(rng, pick(rng, ("Würfle.", "Wirf einen Würfel.")), str(rng.randint(1, 6)))
    word, items = pick(rng, CHOICES)
    return _one(rng, pick(rng, ASK_CHOICE).format(word), f"{pick(rng, items)}.")


def _name(rng: random.Random) -> Conversation:
    name = pick(rng, NAMES)
    told = pick(rng, ("Ich heiße {}.", "Mein Name ist {}.", "Hallo, ich bin {}.")).format(name)
    turns = [user(told), assistant(f"Hallo {name}! Wie geht es dir?")]
    turns += [user("Wie heiße ich?"), assistant(f"Du heißt {name}.")]
    return Conversation([*_start(rng), *turns])


def _fact(rng: random.Random) -> Conversation:
    kind = pick(rng, ("capital", "animal", "opposite", "day", "fact"))
    if kind == "capital":
        country, city = pick(rng, CAPITALS)
        asked = f"Was ist die Hauptstadt von {country}?"
        return _one(rng, asked, f"Die Hauptstadt von {country} ist {city}.")
    if kind == "animal":
        animal, sound = pick(rng, ANIMALS)
        return _one(rng, f"Was macht {animal}?", f"{animal[0].upper()}{animal[1:]} macht {sound}.")
    if kind == "opposite":
        one, other = pick(rng, OPPOSITES)
        return _one(
            rng, f"Was ist das Gegenteil von {one}?", f"Das Gegenteil von {one} ist {other}."
        )
    if kind == "day":
        index = rng.randrange(6)
        asked = f"Welcher Tag kommt nach {DAYS[index]}?"
        return _one(rng, asked, f"Nach {DAYS[index]} kommt {DAYS[index + 1]}.")
    return _one(rng, *pick(rng, FACTS))


def _translation(rng: random.Random) -> Conversation:
    english, german = pick(rng, TRANSLATIONS)
    if rng.random() < 0.4:
        return _one(
            rng, f"Was heißt {english} auf Deutsch?", f"{english} heißt auf Deutsch {german}."
        )
    forms = (
        "What is {} in German?",
        "Translate {} into German.",
        "What is the German word for {}?",
    )
    asked = typed(rng, pick(rng, forms).format(english))
    answer = f"The German word for {english} is {german}."
    return Conversation([*maybe_system(rng), user(asked), assistant(answer)])


def _story(rng: random.Random) -> Conversation:
    hero, he, end = pick(rng, HEROES)
    name = pick(rng, NAMES)
    place, thing = pick(rng, ("im Wald", "am See", "in der Stadt")), pick(rng, ("Ball", "Stern"))
    story = (
        f"Es war einmal {hero}. {he} hieß {name} und wohnte {place}. Eines Tages fand {name} einen "
        f"kleinen {thing}. Da war {name} sehr froh. {end}"
    )
    forms = (
        "Erzähl mir eine Geschichte.",
        "Erzähle eine kurze Geschichte.",
        "Eine Geschichte, bitte.",
    )
    return _one(rng, pick(rng, forms), story)


def _order(rng: random.Random) -> Conversation:
    country, city = pick(rng, CAPITALS[:2])
    asked, answer = pick(
        rng,
        (
            ("Hello!", "Hallo! Wie kann ich dir helfen?"),
            ("How are you?", "Mir geht es gut, danke."),
            ("What is your name?", "Ich heiße Pebble."),
            ("Thank you!", "Gern geschehen!"),
            (f"What is the capital of {country}?", f"Die Hauptstadt ist {city}."),
        ),
    )
    return Conversation([system("Antworte auf Deutsch."), user(asked), assistant(answer)])
