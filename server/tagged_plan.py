"""The plan of an answer whose reasoning and calls stand between tags.

Joins the model's way of reasoning, its way of calling tools, and what the caller wants of both.
Knows nothing of dialects.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from engine import (
    Engine,
    Grammar,
    ModelCard,
    SamplingParams,
    UnsupportedParameter,
)
from server.answer import Event, Words
from server.marks import mark_id
from server.reasoning import CLOSE, ReasoningParser, Thinking, thinking_after
from server.tool_calls import ToolCallParser
from server.tool_formats import FORMATS, ToolFormat
from server.tool_grammar import UncombinableGrammar, calls_grammar, fields_by_line
from server.tools import ToolUse

_PROMPT_END = 16  # tokens that show whether a prompt opens or ends reasoning


class TaggedPlan(msgspec.Struct, frozen=True):
    """What a sample's text can hold. `form` is None without tools."""

    form: ToolFormat | None = None
    use: ToolUse = ToolUse()
    thinking: Thinking = Thinking.NEVER
    marker_id: int | None = None

    @property
    def plain(self) -> bool:
        """Whether the text is the answer, as it is."""
        return self.form is None and self.thinking is Thinking.NEVER

    def bind(self, params: SamplingParams) -> SamplingParams:
        """The parameters with all that this plan asks of the text; their own grammar is what the
        answer's words must be.

        Raises:
            UnsupportedParameter: that `grammar` cannot be combined with tools.
        """
        if self.plain:
            return params
        return msgspec.structs.replace(
            params,
            grammar=self._grammar(params.grammar),
            # A control token that marks calls must stay in the text to be found there.
            skip_special_tokens=params.skip_special_tokens and self.marker_id is None,
        )

    def _grammar(self, answer: Grammar | None) -> Grammar | None:
        if self.form is not None:
            try:
                answer = calls_grammar(self.form, self.use, answer, self.marker_id)
            except UncombinableGrammar:
                reason = "cannot be combined with tools."
                raise UnsupportedParameter("grammar", reason) from None
        if answer is None or self.thinking is Thinking.NEVER:
            return answer
        return msgspec.structs.replace(answer, after=CLOSE)

    def fields_by_line(self, params: SamplingParams, answer_field: str) -> dict[int, str]:
        """Where in the request the lines of the grammar in bound parameters come from, as far as
        tools are in it. `answer_field` says what the answer's words must be."""
        if self.form is None or params.grammar is None:
            return {}
        return fields_by_line(params.grammar, self.use, answer_field)

    def reader(self) -> TaggedReader:
        """A reader of one sample."""
        return TaggedReader(self)


class TaggedReader:
    """Reads one sample as events."""

    def __init__(self, plan: TaggedPlan) -> None:
        self._plan = plan
        self._reasoning = ReasoningParser(plan.thinking)
        self._calls: ToolCallParser | None = None
        self._position = 0  # characters that came in

    def feed(self, text: str, *, last: bool) -> Iterable[Event]:
        """Take the next piece of text."""
        self._position += len(text)
        thoughts, rest = self._reasoning.feed(text, last=last)
        return [*thoughts, *self._rest(rest, last)]

    def _rest(self, text: str, last: bool) -> Iterable[Event]:
        # What follows the reasoning reaches to the end of what has come in.
        start = self._position - len(text)
        if self._plan.form is None:
            return [Words(text, start)] if text else []
        if self._calls is None:
            if not text:
                return []
            use = self._plan.use
            self._calls = ToolCallParser(
                self._plan.form, use.names, parallel=use.parallel, start=start
            )
        return self._calls.feed(text, last=last)


def tagged_plan(
    engine: Engine, card: ModelCard, use: ToolUse, prompt: tuple[int, ...]
) -> TaggedPlan:
    """The plan for a prompt. Raises as `server.answer_plan.plan_answer`."""
    thinking = Thinking.NEVER
    if card.reasons:
        thinking = thinking_after(engine.decode(prompt[-_PROMPT_END:]))
    if not use.callable:
        return TaggedPlan(thinking=thinking)
    form = FORMATS.get(card.tool_call_format or "")
    if form is None:
        reason = "is not supported: the model's chat template has no tool calls known here."
        raise UnsupportedParameter("tools", reason)
    return TaggedPlan(form, use, thinking, mark_id(engine, form.opening) if form.opening else None)
