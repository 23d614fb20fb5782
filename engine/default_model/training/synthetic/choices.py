"""Choices among many equals: every answer is as likely as any other.

Knows the lists and how one asks. One question has one form of answer, so that the next token's
distribution really is even.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from engine.default_model.training.conversation import Conversation, assistant, user
from engine.default_model.training.synthetic.phrasing import (
    CITIES,
    NAMES,
    maybe_system,
    pick,
    typed,
)


@dataclass(frozen=True)
class Choice:
    """What may be named: its word, and the items, each as likely."""

    word: str
    items: tuple[str, ...]


def _choice(word: str, items: str) -> Choice:
    return Choice(word, tuple(items.split()))


CHOICES = (
    _choice("color", "Red Orange Yellow Green Blue Purple Pink Brown Black White Gray Gold Silver"),
    _choice(
        "animal",
        "Cat Dog Horse Cow Pig Sheep Goat Duck Hen Mouse Rabbit Fox Wolf Bear Lion Tiger Elephant "
        "Monkey Owl Eagle Frog Snake Fish Whale Dolphin Penguin Deer Bee Ant Spider",
    ),
    _choice("fruit", "Apple Pear Banana Plum Grape Cherry Lemon Orange Peach Fig Mango Kiwi"),
    _choice("vegetable", "Carrot Onion Potato Tomato Pea Bean Cabbage Pumpkin Leek Spinach"),
    _choice("day of the week", "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    _choice(
        "month",
        "January February March April May June July August September October November December",
    ),
    _choice("season", "Spring Summer Autumn Winter"),
    _choice("planet", "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune"),
    _choice("letter", "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z"),
    _choice("sport", "Football Tennis Running Swimming Skating Hockey Rowing Boxing Judo Golf"),
    _choice("instrument", "Piano Violin Flute Drum Guitar Trumpet Harp Cello Organ Horn"),
    _choice("tree", "Oak Pine Birch Maple Willow Ash Elm Beech Fir Cedar"),
    _choice("shape", "Circle Square Triangle Star Oval Cube Cone Ring"),
    _choice("drink", "Water Tea Coffee Milk Juice Cocoa Lemonade"),
    _choice("job", "Baker Teacher Doctor Farmer Pilot Nurse Writer Driver Cook Painter Builder"),
    Choice("city", tuple(CITIES)),
    Choice("name", tuple(NAMES)),
)
ASKED = ("Pick a {}.", "Name a {}.", "Choose a {}.", "Give me a {}.", "Tell me a {}.", "Say a {}.")
RANGES = ((1, 3), (1, 5), (1, 6), (1, 10), (0, 9), (1, 20), (1, 100))
THINGS = (
    "tea coffee cats dogs soup salad red blue summer winter chess tennis cake bread apples".split()
)


def draw_item(rng: random.Random, choice: Choice) -> str:
    """An item, each as likely."""
    return pick(rng, choice.items)


def generate(rng: random.Random) -> Conversation:
    """One conversation that asks for a choice, sometimes twice."""
    kinds = (_named, _number, _die, _coin, _option, _three)
    asked, answer = rng.choices(kinds, (0.45, 0.12, 0.13, 0.1, 0.12, 0.08))[0](rng)
    messages = [*maybe_system(rng), user(typed(rng, asked)), assistant(answer)]
    return Conversation(messages)


def _with_article(text: str, word: str) -> str:
    return text.format(word).replace(" a a", " an a").replace(" a i", " an i")


def _named(rng: random.Random) -> tuple[str, str]:
    choice = pick(rng, CHOICES)
    word = "colour" if choice.word == "color" and rng.random() < 0.5 else choice.word
    return _with_article(pick(rng, ASKED), word), f"{draw_item(rng, choice)}."


def _number(rng: random.Random) -> tuple[str, str]:
    low, high = pick(rng, RANGES)
    forms = (
        "Pick a number between {} and {}.",
        "Choose a number from {} to {}.",
        "Give me a random number between {} and {}.",
        "Pick a number from {} to {}",
    )
    return pick(rng, forms).format(low, high), str(rng.randint(low, high))


def _die(rng: random.Random) -> tuple[str, str]:
    forms = ("Roll a die.", "Roll a dice.", "Throw a die.", "Roll the die!", "Roll a die")
    return pick(rng, forms), str(rng.randint(1, 6))


def _coin(rng: random.Random) -> tuple[str, str]:
    forms = ("Flip a coin.", "Toss a coin.", "Heads or tails?", "Throw a coin.")
    return pick(rng, forms), pick(rng, ("Heads.", "Tails."))


def _option(rng: random.Random) -> tuple[str, str]:
    one, two = rng.sample(THINGS, 2)
    forms = ("{} or {}?", "Choose: {} or {}?", "Choose between {} and {}.", "Which one: {} or {}?")
    asked = pick(rng, forms).format(one, two)
    return asked[0].upper() + asked[1:], f"{pick(rng, (one, two)).capitalize()}."


def _three(rng: random.Random) -> tuple[str, str]:
    choice = pick(rng, CHOICES[1:4])
    one, two, three = rng.sample(choice.items, 3)
    return f"Name three {choice.word}s.", f"{one}, {two.lower()} and {three.lower()}."
