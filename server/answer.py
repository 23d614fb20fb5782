"""What a model's text comes to: reasoning, words for the reader, and calls of tools.

A sample is read as events, in the order of the text; a whole answer is the events added up, so
that streamed and unstreamed answers cannot differ. Knows neither how models mark these things nor
how a dialect writes them.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Reasoning(msgspec.Struct, frozen=True):
    """A piece of what the model thinks before it answers."""

    text: str


class Words(msgspec.Struct, frozen=True):
    """A piece of the answer; `start` is its place in the sample's text, in code points."""

    text: str
    start: int


class CallOpened(msgspec.Struct, frozen=True):
    """A call begins."""

    name: str


class CallArguments(msgspec.Struct, frozen=True):
    """A piece of the open call's arguments, a JSON object as the model writes it."""

    text: str


class CallClosed(msgspec.Struct, frozen=True):
    """The open call has all its arguments. A call that never gets here was cut off."""


Event = Reasoning | Words | CallOpened | CallArguments | CallClosed


class Call(msgspec.Struct):
    """One call of a whole answer."""

    name: str
    arguments: str = ""
    complete: bool = False


class Answer(msgspec.Struct):
    """A whole answer."""

    reasoning: str = ""
    text: str = ""
    calls: list[Call] = []


def collect(events: Iterable[Event]) -> Answer:
    """The events added up."""
    reasoning: list[str] = []
    words: list[str] = []
    calls: list[Call] = []
    for event in events:
        match event:
            case Reasoning(text):
                reasoning.append(text)
            case Words(text):
                words.append(text)
            case CallOpened(name):
                calls.append(Call(name))
            case CallArguments(text):
                calls[-1].arguments += text
            case CallClosed():
                calls[-1].complete = True
    return Answer("".join(reasoning), "".join(words), calls)
