"""One chat request, understood, and what whole answers and streams share.

Knows how a sample's text divides into words and calls. Writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine import Engine, FinishReason
from server.generation import Generation
from server.openai.chat_schema import ChatRequest
from server.tool_calls import Parsed, ToolCallParser


@dataclass(frozen=True)
class ChatJob:
    """The request: its fields, its prompt as ids, its generation."""

    engine: Engine
    fields: ChatRequest
    head: dict[str, object]
    prompt: tuple[int, ...]
    generation: Generation


def parser_for(fields: ChatRequest) -> ToolCallParser | None:
    """A reader of one sample's calls, when it may have any."""
    return ToolCallParser(parallel=fields.parallel_tool_calls) if fields.calls_tools else None


def parsed_text(fields: ChatRequest, text: str) -> Parsed:
    """The words and calls of a whole sample."""
    parser = parser_for(fields)
    return Parsed(text) if parser is None else parser.read(text, last=True)


def finish_of(reason: FinishReason, *, called: bool) -> str:
    """The finish reason as this dialect says it."""
    return "tool_calls" if called and reason is FinishReason.STOP else reason.value
