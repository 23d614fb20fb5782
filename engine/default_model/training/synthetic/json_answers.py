"""Answers that are one JSON value: free, by keys, or by a schema that the prompt shows.

Knows how one asks for JSON and where its values come from: a sentence of the user's, or lists.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from engine.default_model.training.conversation import Conversation, assistant, system, user
from engine.default_model.training.synthetic.choices import CHOICES
from engine.default_model.training.synthetic.phrasing import CITIES, NAMES, maybe_system, pick

KEYS = "name age city color animal job sport price count day place title food size owner".split()
HOBBIES = ("reading", "chess", "singing", "running", "painting", "cooking", "swimming", "music")
MOODS = (
    ("I love this book.", "positive"),
    ("This soup is terrible.", "negative"),
    ("What a wonderful day!", "positive"),
    ("The train was late again and I am angry.", "negative"),
    ("The film was great fun.", "positive"),
    ("The shoes broke after a day.", "negative"),
    ("The parcel came on Monday.", "neutral"),
    ("The room has two windows.", "neutral"),
)


@dataclass(frozen=True)
class Task:
    """A request in words, and the value that answers it."""

    asked: str
    value: Any


def generate(rng: random.Random) -> Conversation:
    """One conversation whose answer is JSON."""
    task = pick(rng, (_person, _person, _extract, _extract, _mood, _items, _event, _copy))(rng)
    ask = pick(rng, (_by_system, _by_words, _by_schema, _by_schema))
    return ask(rng, task)


def schema_of(value: Any) -> dict[str, Any]:
    """A JSON schema that the value fits: its types, all of its keys required."""
    if isinstance(value, dict):
        properties = {key: schema_of(item) for key, item in value.items()}
        return {"type": "object", "properties": properties, "required": list(value)}
    if isinstance(value, list):
        return {"type": "array", "items": schema_of(value[0])}
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return {"type": kinds[type(value)]}


def _written(value: Any, pretty: bool = False) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2 if pretty else None)


def _by_system(rng: random.Random, task: Task) -> Conversation:
    orders = ("Answer in JSON.", "You always answer with JSON.", "Reply only with a JSON object.")
    messages = [system(pick(rng, orders)), user(task.asked), assistant(_written(task.value))]
    return Conversation(messages)


def _by_words(rng: random.Random, task: Task) -> Conversation:
    pretty = rng.random() < 0.15
    asked = f"{task.asked} {pick(rng, ('Answer in JSON.', 'As JSON.', 'Give the answer as JSON.'))}"
    if isinstance(task.value, dict) and rng.random() < 0.5:
        asked = f"{task.asked} Answer in JSON with the keys {', '.join(task.value)}."
    asked += " Use indented JSON." if pretty else ""
    return Conversation([*maybe_system(rng), user(asked), assistant(_written(task.value, pretty))])


def _by_schema(rng: random.Random, task: Task) -> Conversation:
    schema = _written(schema_of(task.value))
    if rng.random() < 0.2:
        schema = _upper_types(schema)
    order = pick(
        rng,
        (
            f"Answer with JSON that follows this schema: {schema}",
            f"Reply only with JSON for this schema: {schema}",
            f"Use this JSON schema: {schema}",
        ),
    )
    answer = assistant(_written(task.value))
    if rng.random() < 0.5:
        return Conversation([system(order), user(task.asked), answer])
    return Conversation([*maybe_system(rng), user(f"{task.asked}\n{order}"), answer])


def _upper_types(schema: str) -> str:
    for kind in ("object", "array", "string", "integer", "number", "boolean"):
        schema = schema.replace(f'"type": "{kind}"', f'"type": "{kind.upper()}"')
    return schema


def _person(rng: random.Random) -> Task:
    whole = {
        "name": pick(rng, NAMES),
        "age": rng.randint(5, 90),
        "city": pick(rng, CITIES),
        "hobby": pick(rng, HOBBIES),
    }
    keys = ["name", *rng.sample(["age", "city", "hobby"], rng.randint(1, 3))]
    if len(keys) > 2:
        wanted = f"{', '.join(keys[:-1])} and {keys[-1]}"
    else:
        wanted = " and ".join(keys)
    forms = ("Make up a person with {}.", "Invent a person: {}.", "Give me a person with {}.")
    return Task(pick(rng, forms).format(wanted), {key: whole[key] for key in keys})


def _extract(rng: random.Random) -> Task:
    name, age, city = pick(rng, NAMES), rng.randint(5, 90), pick(rng, CITIES)
    forms = (
        "{n} is {a} and lives in {c}.",
        "My name is {n}, I am {a} years old and I come from {c}.",
        "{n} from {c} is {a} years old.",
        "In {c} lives {n}, aged {a}.",
    )
    sentence = pick(rng, forms).format(n=name, a=age, c=city)
    orders = ("Extract name, age and city: {}", "Find name, age and city in this: {}", "{}")
    return Task(pick(rng, orders).format(sentence), {"name": name, "age": age, "city": city})


def _mood(rng: random.Random) -> Task:
    sentence, mood = pick(rng, MOODS)
    forms = ('What is the sentiment of "{}"?', "Classify the sentiment: {}", "Sentiment: {}")
    return Task(pick(rng, forms).format(sentence), {"sentiment": mood})


def _items(rng: random.Random) -> Task:
    choice, count = pick(rng, CHOICES[:4]), rng.randint(2, 4)
    items = [item.lower() for item in rng.sample(choice.items, count)]
    words = {2: "two", 3: "three", 4: "four"}
    asked = f"{pick(rng, ('Name', 'List', 'Give me'))} {words[count]} {choice.word}s."
    return Task(asked, items if rng.random() < 0.5 else {f"{choice.word}s": items})


def _event(rng: random.Random) -> Task:
    what = pick(rng, ("a party", "a concert", "a meeting", "dinner", "a match", "a trip"))
    day, place = pick(rng, CHOICES[4].items), pick(rng, CITIES)
    forms = ("There is {w} on {d} in {p}.", "On {d} we have {w} in {p}.", "{p}, {d}: {w}")
    sentence = pick(rng, forms).format(w=what, d=day, p=place)
    event = {"event": what.removeprefix("a "), "day": day, "place": place}
    return Task(f"Extract event, day and place: {sentence}", event)


def _copy(rng: random.Random) -> Task:
    keys = rng.sample(KEYS, rng.randint(2, 3))
    values = [pick(rng, (*NAMES, *CITIES, *HOBBIES)) for _ in keys]
    pairs = ", ".join(f"{key} is {value}" for key, value in zip(keys, values, strict=True))
    return Task(f"The {pairs}.", dict(zip(keys, values, strict=True)))
