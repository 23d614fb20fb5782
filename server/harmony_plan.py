"""The plan of an answer in the Harmony format, see `server.harmony`. Knows nothing of dialects."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from engine import Engine, Grammar, SamplingParams, UnsupportedParameter
from server import harmony
from server.harmony_grammar import harmony_grammar
from server.marks import mark_id
from server.tool_grammar import UncombinableGrammar, fields_by_line
from server.tools import ToolUse

HARMONY = "harmony"
"""What `ModelCard.tool_call_format` calls it."""


class HarmonyPlan(msgspec.Struct, frozen=True):
    """See `server.answer_plan.AnswerPlan`. `inside`: the prompt ends within a message's words."""

    use: ToolUse
    token_ids: Mapping[str, int]
    inside: bool

    @property
    def plain(self) -> bool:
        """Marks are in every answer."""
        return False

    def bind(self, params: SamplingParams) -> SamplingParams:
        """See `AnswerPlan`."""
        grammar = params.grammar if self.inside else self._grammar(params)
        return msgspec.structs.replace(params, grammar=grammar, skip_special_tokens=False)

    def _grammar(self, params: SamplingParams) -> Grammar | None:
        try:
            return harmony_grammar(self.use, params.grammar, self.token_ids)
        except UncombinableGrammar:
            reason = "cannot be combined with the channels in which this model answers."
            raise UnsupportedParameter("grammar", reason) from None

    def fields_by_line(self, params: SamplingParams, answer_field: str) -> dict[int, str]:
        """See `AnswerPlan`."""
        if params.grammar is None or self.inside:
            return {}
        return fields_by_line(params.grammar, self.use, answer_field)

    def reader(self) -> harmony.HarmonyReader:
        """See `AnswerPlan`."""
        use = self.use
        return harmony.HarmonyReader(use.names, parallel=use.parallel, inside=self.inside)


def harmony_plan(engine: Engine, use: ToolUse, prompt: tuple[int, ...]) -> HarmonyPlan:
    """The plan for a prompt."""
    ids = ((mark, mark_id(engine, mark)) for mark in harmony.MARKS)
    token_ids = {mark: token_id for mark, token_id in ids if token_id is not None}
    marks = set(token_ids.values())
    last = next((token_id for token_id in reversed(prompt) if token_id in marks), None)
    inside = last is not None and last == token_ids.get(harmony.MESSAGE)
    return HarmonyPlan(use, token_ids, inside)
