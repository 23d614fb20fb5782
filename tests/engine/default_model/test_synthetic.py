"""Conversations written by rules: right in themselves, repeatable, short enough."""

import json
import random
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from engine.default_model.training.conversation import Conversation
from engine.default_model.training.synthetic import choices, german, json_answers, manners, terms
from engine.default_model.training.synthetic.generators import GENERATORS, draw
from engine.default_model.training.synthetic.tools import generate as tool_conversation

DRAWS = 400
KINDS = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


def some(name: str) -> list[Conversation]:
    return [d for d in draw(name, DRAWS, seed=1) if isinstance(d, Conversation)]


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value fits the small part of JSON Schema that is used here."""
    kind = schema["type"].lower()
    if kind == "object":
        return value.keys() == schema["properties"].keys() and all(
            fits(value[key], schema["properties"][key]) for key in schema["required"]
        )
    if kind == "array":
        return all(fits(item, schema["items"]) for item in value)
    return isinstance(value, KINDS[kind]) and value in schema.get("enum", (value,))


def answers(conversation: Conversation) -> list[str]:
    return [m["content"] for m in conversation.messages if m["role"] == "assistant"]


@pytest.mark.parametrize("name", GENERATORS)
def test_draws_are_repeatable_and_differ(name: str) -> None:
    assert draw(name, 50, seed=1) == draw(name, 50, seed=1) != draw(name, 50, seed=2)
    assert len({repr(c) for c in some(name)}) > DRAWS / 4


@pytest.mark.parametrize("name", GENERATORS)
def test_turns_are_in_order_and_end_with_the_assistant(name: str) -> None:
    for conversation in some(name):
        roles = [message["role"] for message in conversation.messages]
        said = [role for role in roles if role != "system"]
        assert "system" not in roles[1:]
        assert said[0] == "user" and said[-1] == "assistant"
        assert all(a != "user" or b == "assistant" for a, b in zip(said, said[1:], strict=False))
        assert len(repr(conversation)) < 4000


def test_calls_fit_a_declared_tool_and_get_as_many_results() -> None:
    seen = Counter[int]()
    for conversation in some("tools"):
        declared = {t["function"]["name"]: t["function"]["parameters"] for t in conversation.tools}
        assert len(declared) == len(conversation.tools)
        for position, message in enumerate(conversation.messages):
            made = [call["function"] for call in message.get("tool_calls", ())]
            assert all(fits(call["arguments"], declared[call["name"]]) for call in made)
            seen[len(made)] += 1
            after = [m["role"] for m in conversation.messages[position + 1 :]][: len(made) + 1]
            assert not made or not after or after[: len(made)] == ["tool"] * len(made)
    assert seen[1] > DRAWS / 2 and seen[2] > 10


def test_sums_of_the_calculator_are_right() -> None:
    rng = random.Random(2)
    for _ in range(DRAWS):
        said = answers(tool_conversation(rng))[-1] or ""
        if found := re.fullmatch(r"(\d+) (plus|minus|times) (\d+) is (-?\d+)\.", said):
            left, word, right, value = found.groups()
            ways = {"plus": int.__add__, "minus": int.__sub__, "times": int.__mul__}
            assert ways[word](int(left), int(right)) == int(value)


def test_json_answers_parse_and_fit_the_schema_shown() -> None:
    with_schema = 0
    for conversation in some("json_answers"):
        prompt = "\n".join(m["content"] for m in conversation.messages[:-1])
        value = json.loads(answers(conversation)[-1])
        if found := re.search(r'\{"type".*', prompt):
            with_schema += 1
            assert fits(value, json.JSONDecoder().raw_decode(found[0])[0])
    assert with_schema > DRAWS / 4


def test_every_item_is_as_likely() -> None:
    rng, choice = random.Random(3), choices.CHOICES[0]
    counts = Counter(choices.draw_item(rng, choice) for _ in range(200 * len(choice.items)))
    assert counts.keys() == set(choice.items)
    assert all(130 < count < 270 for count in counts.values())  # five standard deviations


def test_personas_say_their_name() -> None:
    rng, asked = random.Random(4), 0
    for _ in range(2000):
        messages = manners.generate(rng).messages
        found = re.match(r"(?:You are|Answer as) (\w+), an? \w+ .*love", messages[0]["content"])
        for question, reply in zip(messages, messages[1:], strict=False):
            if found and question["content"] in ("What is your name?", "Who are you?"):
                asked += 1
                assert found[1] in reply["content"]
    assert asked > 20


def test_capital_letters_hold() -> None:
    rng, seen = random.Random(5), 0
    for _ in range(2000):
        conversation = manners.generate(rng)
        if "capital letters" in conversation.messages[0]["content"]:
            seen += 1
            assert all(answer.isupper() for answer in answers(conversation))
    assert seen > 20


def test_terms_have_words_in_both_languages() -> None:
    for term in terms.TERMS:
        assert len(term.english) >= 2 and len(term.german) >= 2
        assert not re.search("[äöüß]", "".join(term.english))


def test_german_sums_are_right() -> None:
    rng, seen = random.Random(6), 0
    for _ in range(1000):
        for said in answers(german.generate(rng)):
            if found := re.fullmatch(r"(\d+) (plus|minus) (\d+) ist (\d+)\.", said):
                seen += 1
                left, word, right, value = found.groups()
                sign = 1 if word == "plus" else -1
                assert int(left) + sign * int(right) == int(value)
    assert seen > 30


def test_schemas_are_of_the_value() -> None:
    assert json_answers.schema_of({"a": [1], "b": "x"}) == {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "integer"}},
            "b": {"type": "string"},
        },
        "required": ["a", "b"],
    }
