"""Streamed text to reasoning and the rest.

    <think> reasoning </think> the rest

The first mark may stand in the prompt already. White space around the marks belongs to them.
Knows nothing of dialects, and nothing of what the rest may be.
"""

from __future__ import annotations

import enum

from server.answer import Reasoning
from server.held_text import split_at

OPEN, CLOSE = "<think>", "</think>"


class Thinking(enum.Enum):
    """Where a sample stands when it begins."""

    NEVER = enum.auto()  # the model does not reason, or the prompt has ended it
    PERHAPS = enum.auto()  # the model may open its reasoning
    BEGUN = enum.auto()  # the prompt ends with the opening mark


def thinking_after(prompt: str) -> Thinking:
    """What the end of a rendered prompt means to a model that knows reasoning."""
    prompt = prompt.rstrip()
    if prompt.endswith(OPEN):
        return Thinking.BEGUN
    return Thinking.NEVER if prompt.endswith(CLOSE) else Thinking.PERHAPS


class ReasoningParser:
    """Reads one sample. However its text is cut into pieces, the outcome is the same."""

    def __init__(self, thinking: Thinking) -> None:
        self._state = thinking
        self._buffer = ""
        self._begun = False  # something of the reasoning is out: white space counts now
        self._after_mark = False  # white space after the mark is still dropped

    def feed(self, text: str, *, last: bool) -> tuple[list[Reasoning], str]:
        """Take the next piece: the reasoning in it, and what follows the reasoning."""
        self._buffer += text
        if self._state is Thinking.PERHAPS:
            self._state = self._judged(last)
        if self._state is Thinking.BEGUN:
            return self._inside(last)
        return [], self._rest(self._take()) if self._state is Thinking.NEVER else ""

    def _judged(self, last: bool) -> Thinking:
        """Whether the text begins with the mark, as far as that can be said."""
        begin = self._buffer.lstrip()
        if begin.startswith(OPEN):
            self._buffer = begin[len(OPEN) :]
            return Thinking.BEGUN
        return Thinking.NEVER if last or not OPEN.startswith(begin) else Thinking.PERHAPS

    def _inside(self, last: bool) -> tuple[list[Reasoning], str]:
        before, mark, held = split_at(self._buffer, CLOSE)
        if not mark and last:
            before, held = self._buffer, ""
        thought = before.rstrip()
        self._buffer = held if mark else before[len(thought) :] + held
        if not self._begun:
            thought = thought.lstrip()
        self._begun = self._begun or bool(thought)
        pieces = [Reasoning(thought)] if thought else []
        if not mark:
            return pieces, ""
        self._state, self._after_mark = Thinking.NEVER, True
        return pieces, self._rest(self._take())

    def _take(self) -> str:
        text, self._buffer = self._buffer, ""
        return text

    def _rest(self, text: str) -> str:
        if self._after_mark:
            text = text.lstrip()
            self._after_mark = not text
        return text
