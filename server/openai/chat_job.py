"""One chat request, understood, and what whole answers and streams share. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from engine import Engine, FinishReason, TextPrompt
from server.answer_plan import AnswerPlan
from server.generation import Generation
from server.openai.chat_schema import ChatRequest


@dataclass(frozen=True)
class ChatJob:
    """The request: its fields, its prompt as ids, how its answer is read, its generation, and where
    in it the lines of its grammar come from."""

    engine: Engine
    fields: ChatRequest
    head: dict[str, object]
    prompt: tuple[int, ...]
    plan: AnswerPlan
    generation: Generation
    fields_by_line: dict[int, str]

    def finish(self, reason: FinishReason, *, called: bool) -> str:
        """The finish reason as this dialect says it; a call that the caller named is no news."""
        if called and reason is FinishReason.STOP and not self.plan.use.named:
            return "tool_calls"
        return reason.value


def count_tokens(engine: Engine, text: str) -> int:
    """How many tokens a piece of the answer is, by encoding it again."""
    return len(engine.encode(TextPrompt(text, add_special_tokens=False))) if text else 0
