"""How the text of one request's answer is to be bound and read.

Chooses by the model's way of answering; what each way is stands elsewhere. Knows nothing of
dialects.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from engine import Engine, ModelCard, SamplingParams
from server.answer import Event
from server.harmony_plan import HARMONY, harmony_plan
from server.tagged_plan import TaggedPlan, tagged_plan
from server.tools import ToolUse


class AnswerReader(Protocol):
    """Reads one sample as events."""

    def feed(self, text: str, *, last: bool) -> Iterable[Event]:
        """Take the next piece of text."""
        ...


class AnswerPlan(Protocol):
    """What a sample's text can hold."""

    @property
    def use(self) -> ToolUse:
        """What the answer may do with tools."""
        ...

    @property
    def plain(self) -> bool:
        """Whether the text is the answer, as it is."""
        ...

    def bind(self, params: SamplingParams) -> SamplingParams:
        """The parameters with all that this plan asks of the text; their own grammar is what the
        answer's words must be.

        Raises:
            UnsupportedParameter: that `grammar` cannot be combined with tools.
        """
        ...

    def fields_by_line(self, params: SamplingParams, answer_field: str) -> dict[int, str]:
        """Where in the request the lines of the grammar in bound parameters come from, as far as
        tools are in it. `answer_field` says what the answer's words must be."""
        ...

    def reader(self) -> AnswerReader:
        """A reader of one sample."""
        ...


PLAIN: AnswerPlan = TaggedPlan()
"""Of a text without any marks."""


def plan_answer(
    engine: Engine, card: ModelCard, use: ToolUse, prompt: tuple[int, ...]
) -> AnswerPlan:
    """The plan for a prompt.

    Raises:
        UnsupportedParameter: `tools`, where the model's chat template has no calls known here.
    """
    if card.tool_call_format == HARMONY:
        return harmony_plan(engine, use, prompt)
    return tagged_plan(engine, card, use, prompt)
