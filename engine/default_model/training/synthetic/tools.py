"""Conversations with tools: calls, results, answers, and when not to call.

Knows how such a conversation goes; what tools there are stands in the catalogue.
"""

from __future__ import annotations

import random
from typing import Any

from engine.default_model.training.conversation import (
    Conversation,
    Message,
    Tool,
    assistant,
    calls,
    result,
    user,
)
from engine.default_model.training.synthetic.phrasing import CITIES, maybe_system, pick, typed
from engine.default_model.training.synthetic.tool_catalogue import SKILLS, Skill, declare, use

CHATTER = (
    ("Hello!", "Hello! How can I help you?"),
    ("Hi", "Hi! What can I do for you?"),
    ("Thank you!", "You are welcome!"),
    ("How are you?", "I am fine, thank you. How can I help?"),
    ("What is your name?", "My name is Pebble."),
    ("What day comes after Monday?", "Tuesday comes after Monday."),
    ("What sound does a cow make?", 'A cow says "moo".'),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Say hello.", "Hello!"),
    ("Good morning!", "Good morning! What can I do for you?"),
)
FAILURES = ("not found", "no connection", "timeout", "service unavailable")


def generate(rng: random.Random) -> Conversation:
    """One conversation in which tools are declared (or, rarely, missing)."""
    kinds = (_answered, _called, _chatter, _missing, _parallel, _failed, _second, _no_tools)
    weights = (0.36, 0.2, 0.12, 0.08, 0.08, 0.05, 0.07, 0.04)
    return rng.choices(kinds, weights)[0](rng)


def _offer(rng: random.Random, skill: Skill) -> tuple[Tool, list[Tool]]:
    """The skill's tool, and all tools offered: it and up to two others, in any order."""
    wanted = declare(rng, skill)
    others = rng.sample([s for s in SKILLS if s is not skill], pick(rng, (0, 0, 1, 2)))
    tools = [wanted, *(declare(rng, other) for other in others)]
    tools = list({t["function"]["name"]: t for t in reversed(tools)}.values())
    rng.shuffle(tools)
    return wanted, tools


def _call(wanted: Tool, values: list[Any]) -> tuple[str, dict[str, Any]]:
    function = wanted["function"]
    return function["name"], dict(zip(function["parameters"]["properties"], values, strict=True))


def _exchange(rng: random.Random, skill: Skill, wanted: Tool) -> list[Message]:
    asked, values, given, answer = use(rng, skill)
    call = calls(_call(wanted, values))
    return [user(typed(rng, asked)), call, result(given), assistant(answer)]


def _answered(rng: random.Random) -> Conversation:
    skill = pick(rng, SKILLS)
    wanted, tools = _offer(rng, skill)
    return Conversation([*maybe_system(rng), *_exchange(rng, skill, wanted)], tools)


def _called(rng: random.Random) -> Conversation:
    conversation = _answered(rng)
    return Conversation(conversation.messages[:-2], conversation.tools)


def _chatter(rng: random.Random) -> Conversation:
    _, tools = _offer(rng, pick(rng, SKILLS))
    asked, answer = pick(rng, CHATTER)
    return Conversation([*maybe_system(rng), user(typed(rng, asked)), assistant(answer)], tools)


def _missing(rng: random.Random) -> Conversation:
    skill = pick(rng, [s for s in SKILLS if len(s.parameters) == 1])
    wanted, tools = _offer(rng, skill)
    _, values, given, answer = use(rng, skill)
    said = [user(typed(rng, skill.vague)), assistant(skill.ask_for), user(str(values[0]))]
    done = [calls(_call(wanted, values)), result(given), assistant(answer)]
    return Conversation([*maybe_system(rng), *said, *done], tools)


def _parallel(rng: random.Random) -> Conversation:
    skill, what = pick(rng, ((SKILLS[0], "weather"), (SKILLS[2], "time")))
    wanted, tools = _offer(rng, skill)
    first, second = rng.sample(CITIES, 2)
    forms = ("What is the {} in {} and {}?", "Tell me the {} in {} and in {}.", "{} in {} and {}")
    asked = pick(rng, forms).format(what, first, second)
    both = calls(_call(wanted, [first]), _call(wanted, [second]))
    values = [pick(rng, ("12:30", "sunny", "18:05", "cloudy", "rain", "07:45")) for _ in range(2)]
    answer = f"{first}: {values[0]}. {second}: {values[1]}."
    given = [result({what: value}) for value in values]
    return Conversation([*maybe_system(rng), user(asked), both, *given, assistant(answer)], tools)


def _failed(rng: random.Random) -> Conversation:
    conversation, error = _answered(rng), pick(rng, FAILURES)
    answer = pick(rng, ("I am sorry, that did not work: {}.", "That failed: {}.")).format(error)
    done = [result({"error": error}), assistant(answer)]
    return Conversation([*conversation.messages[:-2], *done], conversation.tools)


def _second(rng: random.Random) -> Conversation:
    skill = pick(rng, SKILLS)
    wanted, tools = _offer(rng, skill)
    twice = [*_exchange(rng, skill, wanted), *_exchange(rng, skill, wanted)]
    return Conversation([*maybe_system(rng), *twice], tools)


def _no_tools(rng: random.Random) -> Conversation:
    asked, *_ = use(rng, pick(rng, (SKILLS[0], SKILLS[2], SKILLS[3])))
    answer = pick(
        rng, ("I cannot look that up without a tool.", "I do not know. I have no tool for that.")
    )
    return Conversation([*maybe_system(rng), user(typed(rng, asked)), assistant(answer)])
