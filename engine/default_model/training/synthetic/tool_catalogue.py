"""Tools that conversations may hold: how one is declared, asked for, called, and answered.

Knows one `Skill` per kind of tool. Names and wording vary, so that a model learns to read the
declaration and not a fixed list.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.default_model.training.conversation import Tool, tool
from engine.default_model.training.synthetic.phrasing import CITIES, NAMES, pick


@dataclass(frozen=True)
class Parameter:
    """One argument: the names it may go by, what is said of it, and its JSON schema."""

    names: tuple[str, ...]
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Skill:
    """A kind of tool; `use` draws one request and what follows."""

    names: tuple[str, ...]
    descriptions: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    ask_for: str
    """What the assistant asks when the first argument is missing."""
    vague: str
    """A request without that argument."""
    slots: str
    """Name of the function below that draws a use."""


STRING = {"type": "string"}
SKILLS = (
    Skill(
        ("get_weather", "weather", "get_current_weather", "getWeather", "current_weather"),
        ("Get the current weather in a given city.", "Get the weather for a location.", "Weather"),
        (Parameter(("city", "location", "place"), "The city", STRING),),
        "For which city?",
        "What is the weather?",
        "weather",
    ),
    Skill(
        ("calculate", "calculator", "evaluate", "math"),
        ("Calculate an expression.", "Do a sum.", "A calculator"),
        (Parameter(("expression", "sum", "formula"), "The expression", STRING),),
        "What should I calculate?",
        "Can you calculate something?",
        "sums",
    ),
    Skill(
        ("get_time", "clock", "current_time", "getTime", "time_in"),
        ("Get the current time in a city.", "Tells the time.", "The time in a place"),
        (Parameter(("city", "place", "location", "timezone"), "The city", STRING),),
        "In which city?",
        "What time is it there?",
        "clock",
    ),
    Skill(
        ("search", "web_search", "search_web", "find", "lookup"),
        ("Search the web.", "Look something up.", "Find pages about a topic."),
        (Parameter(("query", "q", "text", "topic"), "What to look for", STRING),),
        "What should I search for?",
        "Search the web for me.",
        "search",
    ),
    Skill(
        ("set_timer", "timer", "start_timer", "setTimer"),
        ("Start a timer.", "Set a timer for some minutes."),
        (Parameter(("minutes", "duration"), "How many minutes", {"type": "integer"}),),
        "For how many minutes?",
        "Set a timer.",
        "timer",
    ),
    Skill(
        ("send_message", "send_email", "message", "sendMessage"),
        ("Send a message to somebody.", "Write to a person."),
        (
            Parameter(("to", "name", "recipient"), "Who gets it", STRING),
            Parameter(("text", "message", "body"), "What to say", STRING),
        ),
        "Who should get the message?",
        "Send a message.",
        "messages",
    ),
    Skill(
        ("set_light", "switch_light", "light", "setLight"),
        ("Turn a light on or off.", "Switch the lights in a room."),
        (
            Parameter(("room", "place"), "The room", STRING),
            Parameter(("state", "power"), "on or off", {"type": "string", "enum": ["on", "off"]}),
        ),
        "In which room?",
        "Turn on the light.",
        "light",
    ),
    Skill(
        ("play_music", "play", "music", "playSong"),
        ("Play music.", "Play a song by an artist or of a kind."),
        (Parameter(("title", "song", "query", "genre"), "What to play", STRING),),
        "What should I play?",
        "Play music.",
        "music",
    ),
    Skill(
        ("roll_dice", "roll", "dice", "rollDice"),
        ("Roll dice.", "Roll a number of dice."),
        (Parameter(("count", "dice", "number"), "How many dice", {"type": "integer"}),),
        "How many dice?",
        "Roll some dice.",
        "dice",
    ),
    Skill(
        ("translate", "translate_word", "translation"),
        ("Translate a word.", "Translate text into another language."),
        (
            Parameter(("text", "word"), "What to translate", STRING),
            Parameter(("language", "target", "to"), "The other language", STRING),
        ),
        "What should I translate?",
        "Can you translate something?",
        "translation",
    ),
)


def declare(rng: random.Random, skill: Skill) -> Tool:
    """The skill as a tool of a request, under some of its names."""
    chosen = {pick(rng, p.names): p for p in skill.parameters}
    described = rng.random() < 0.5
    properties = {
        name: {**p.schema, **({"description": p.description} if described else {})}
        for name, p in chosen.items()
    }
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": list(chosen)}
    if rng.random() < 0.3:
        schema["additionalProperties"] = False
    return tool(pick(rng, skill.names), pick(rng, skill.descriptions), schema)


def use(rng: random.Random, skill: Skill) -> tuple[str, list[Any], object, str]:
    """A request, the values of its arguments in order, the tool's result, and the answer."""
    return _SLOTS[skill.slots](rng)


def _weather(rng: random.Random) -> tuple[str, list[Any], object, str]:
    city, degrees = pick(rng, CITIES), rng.randint(-5, 35)
    sky = pick(rng, ("sunny", "cloudy", "rainy", "clear", "windy", "foggy"))
    forms = (
        "What is the weather in {}?",
        "What's the weather like in {} today?",
        "How is the weather in {}?",
        "What's the weather in {}?",
        "weather in {}",
        "Tell me the weather in {}, please.",
        "Is it cold in {}?",
        "Is it raining in {}?",
        "Do I need an umbrella in {}?",
    )
    answer = pick(rng, ("It is {d} degrees and {s} in {c}.", "In {c} it is {s}, {d} degrees."))
    result = {"temperature": degrees, "sky": sky}
    return pick(rng, forms).format(city), [city], result, answer.format(c=city, d=degrees, s=sky)


def _sums(rng: random.Random) -> tuple[str, list[Any], object, str]:
    left, right = rng.randint(2, 99), rng.randint(2, 99)
    word, sign, value = pick(
        rng,
        (
            ("plus", "+", left + right),
            ("minus", "-", left - right),
            ("times", "*", left * right),
        ),
    )
    forms = (f"What is {left} {word} {right}?", f"What is {left} {sign} {right}?")
    asked = pick(rng, (*forms, f"Calculate {left} {sign} {right}.", f"{left} {sign} {right}"))
    answer = f"{left} {word} {right} is {value}."
    return asked, [f"{left} {sign} {right}"], {"result": value}, answer


def _clock(rng: random.Random) -> tuple[str, list[Any], object, str]:
    city, time = pick(rng, CITIES), f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
    forms = (
        "What time is it in {}?",
        "Tell me the time in {}.",
        "time in {}",
        "How late is it in {}?",
    )
    return pick(rng, forms).format(city), [city], {"time": time}, f"It is {time} in {city}."


def _search(rng: random.Random) -> tuple[str, list[Any], object, str]:
    topics = (
        "cats,small boats,apple pie,old castles,the moon,train times,green tea,red pandas,"
        "paper hats,language models,garden birds,snow,"
        "good books,wooden toys,river fish,bread recipes,jazz"
    ).split(",")
    topic, site = pick(rng, topics), pick(rng, ("The Daily Pebble", "Open Notes", "Little Library"))
    forms = ("Search for {}.", "Find something about {}.", "Look up {}.", "Search the web for {}")
    answer = f'I found "All about {topic}" in {site}.'
    return (
        pick(rng, forms).format(topic),
        [topic],
        {"title": f"All about {topic}", "site": site},
        answer,
    )


def _timer(rng: random.Random) -> tuple[str, list[Any], object, str]:
    minutes = rng.randint(1, 60)
    forms = ("Set a timer for {} minutes.", "Start a timer: {} minutes", "timer {} minutes please")
    answer = f"The timer is set for {minutes} minutes."
    return pick(rng, forms).format(minutes), [minutes], {"ok": True}, answer


def _messages(rng: random.Random) -> tuple[str, list[Any], object, str]:
    name = pick(rng, NAMES)
    text = pick(rng, ("hello", "I am late", "happy birthday", "see you soon", "dinner is ready"))
    forms = ("Tell {n} that {t}.", 'Send "{t}" to {n}.', "Write to {n}: {t}", "Message {n}: {t}")
    return pick(rng, forms).format(n=name, t=text), [name, text], {"ok": True}, f"I told {name}."


def _light(rng: random.Random) -> tuple[str, list[Any], object, str]:
    room = pick(rng, ("kitchen", "bedroom", "hall", "bathroom", "garden", "office", "living room"))
    state = pick(rng, ("on", "off"))
    forms = ("Turn {s} the light in the {r}.", "Turn {s} the lights in the {r}", "{r} light {s}")
    answer = f"The light in the {room} is {state}."
    return pick(rng, forms).format(r=room, s=state), [room, state], {"ok": True}, answer


def _music(rng: random.Random) -> tuple[str, list[Any], object, str]:
    title = pick(rng, ("jazz", "piano music", "Happy Birthday", "Moonlight", "folk songs", "Bach"))
    forms = ("Play {}.", "Put on {}, please.", "I want to hear {}.")
    return pick(rng, forms).format(title), [title], {"playing": title}, f"Now playing {title}."


def _dice(rng: random.Random) -> tuple[str, list[Any], object, str]:
    count = rng.randint(2, 5)
    rolls = [rng.randint(1, 6) for _ in range(count)]
    forms = ("Roll {} dice.", "Throw {} dice for me.", "Please roll {} dice")
    answer = f"You rolled {', '.join(map(str, rolls))}."
    return pick(rng, forms).format(count), [count], {"rolls": rolls}, answer


def _translation(rng: random.Random) -> tuple[str, list[Any], object, str]:
    words = {"dog": "Hund", "cat": "Katze", "house": "Haus", "water": "Wasser", "tree": "Baum"}
    word = pick(rng, list(words))
    forms = ("Translate {} into German.", "What is {} in German?", "How do you say {} in German?")
    answer = f'"{word}" in German is "{words[word]}".'
    return pick(rng, forms).format(word), [word, "German"], {"translation": words[word]}, answer


_SLOTS = {
    "weather": _weather,
    "sums": _sums,
    "clock": _clock,
    "search": _search,
    "timer": _timer,
    "messages": _messages,
    "light": _light,
    "music": _music,
    "dice": _dice,
    "translation": _translation,
}
