"""The body of a request for a response.

Beside the fields of the API it takes the sampling extensions of the other endpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

import msgspec
from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from engine import Grammar, InvalidParameter, UnsupportedParameter
from server.body import json_type
from server.errors import InvalidType, MissingParameter
from server.openai.chat_schema import Choice, ReasoningEffort
from server.openai.generation_fields import StreamOptions
from server.openai.nested_fields import TEXT, TOOL_CHOICE, Known, flat_tools, items
from server.openai.responses.input_items import Item, items_of
from server.openai.sampling import IGNORED, REFUSED, SamplingFields
from server.openai.structured import text_format_of
from server.openai.tools import ToolChoice, fields_of, flat_tools_of, tool_use_of
from server.openai.wire import Body, Inert, Integer, empty, names_of, never
from server.tools import Tool, ToolUse

MAX_METADATA, MAX_KEY, MAX_VALUE = 16, 64, 512


class ToolList(msgspec.Struct, frozen=True):
    """The functions of a request, its tools as they came, and the kinds that are not run here."""

    tools: tuple[Tool, ...] = ()
    given: tuple[dict[str, Any], ...] = ()
    dropped: tuple[str, ...] = ()


class TextFormat(msgspec.Struct, frozen=True):
    """What the words must be, and the object that said so."""

    grammar: Grammar | None = None
    given: dict[str, Any] = msgspec.field(default_factory=lambda: {"format": {"type": "text"}})


def _tools(value: object) -> ToolList:
    tools, dropped = flat_tools_of(value)
    return ToolList(tools, tuple(cast("list[dict[str, Any]]", value)), dropped)


def _text(value: object) -> TextFormat:
    fields = fields_of(value, "text")
    form = fields_of(fields.get("format", {"type": "text"}), "text.format")
    return TextFormat(text_format_of(form), {**fields, "format": form})


def _metadata(value: object) -> dict[str, str]:
    fields = fields_of(value, "metadata")
    if len(fields) > MAX_METADATA:
        raise InvalidParameter("metadata", len(fields), f"expected at most {MAX_METADATA} pairs.")
    for key, text in fields.items():
        if not isinstance(text, str):
            raise InvalidType(f"metadata.{key[:MAX_KEY]}", "a string", json_type(text))
        if len(key) > MAX_KEY or len(text) > MAX_VALUE:
            reason = f"keys have at most {MAX_KEY} characters and values {MAX_VALUE}."
            raise InvalidParameter("metadata", key[:MAX_KEY], reason)
    return fields


Input = Annotated[
    tuple[Item, ...],
    BeforeValidator(items_of),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]}),
]
Tools = Annotated[
    ToolList,
    PlainValidator(_tools),
    WithJsonSchema({"type": "array", "items": {"type": "object", "required": ["type"]}}),
]
Text = Annotated[TextFormat, PlainValidator(_text), WithJsonSchema({"type": "object"})]
Metadata = Annotated[
    dict[str, str],
    PlainValidator(_metadata),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]


class ReasoningOptions(Body):
    """How hard to think. Summaries are not made: the reasoning itself is returned."""

    ignored: ClassVar[frozenset[str]] = frozenset(
        {"summary", "generate_summary", "context", "mode"}
    )

    effort: ReasoningEffort | None = None


class ResponseRequest(SamplingFields):
    """`POST /v1/responses`."""

    refused: ClassVar[Mapping[str, Inert]] = {
        **REFUSED,
        "conversation": never,
        "prompt": never,
        "background": empty,
        "moderation": never,
        "n": lambda value: value == 1,
        "truncate_prompt_tokens": never,  # `truncation` leaves whole items out
        "truncation_side": never,
        **dict.fromkeys(("functions", "response_format", "logprobs", "echo"), empty),
    }
    ignored: ClassVar[frozenset[str]] = (IGNORED - {"store", "metadata"}) | {
        "stream_options",  # nothing is obfuscated, and usage always comes
        "max_tool_calls",  # counts calls of tools that run on the server
        "context_management",
        "client_metadata",
    }
    nested: ClassVar[Mapping[str, Known]] = {
        "input": items,
        "tools": flat_tools,
        "tool_choice": TOOL_CHOICE,
        "text": TEXT,
        "reasoning": names_of(ReasoningOptions),
        "stream_options": names_of(StreamOptions),
    }
    aliases: ClassVar[Mapping[str, str]] = {
        **SamplingFields.aliases,
        "max_completion_tokens": "max_output_tokens",
        "max_tokens": "max_output_tokens",
    }

    input: Input = ()
    instructions: str | None = None
    previous_response_id: str | None = None
    store: bool = True
    max_output_tokens: Integer | None = Field(None, ge=1, le=2**31 - 1)
    top_logprobs: Integer | None = Field(None, ge=0, le=20)
    include: list[str] = Field(default_factory=list[str])
    text: Text = Field(default_factory=TextFormat)
    tools: Tools = Field(default_factory=ToolList)
    tool_choice: Choice = Field(default_factory=ToolChoice)
    parallel_tool_calls: bool = True
    reasoning: ReasoningOptions | None = None
    truncation: Literal["auto", "disabled"] = "disabled"
    metadata: Metadata = Field(default_factory=dict[str, str])
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])

    @property
    def effort(self) -> ReasoningEffort | None:
        """How hard the model should think, if the caller says so."""
        return self.reasoning.effort if self.reasoning else None

    @property
    def logprob_count(self) -> int | None:
        """Alternatives per token, or None without log-probabilities."""
        wanted = "message.output_text.logprobs" in self.include
        return (self.top_logprobs or 0) if wanted else None

    @property
    def words_field(self) -> str:
        """The field that says what the words must be, for errors."""
        if self.has_grammar:
            return self.grammar_field
        has_schema = self.text.grammar is not None and self.text.grammar.kind == "json_schema"
        return "text.format.schema" if has_schema else "text.format"

    @property
    def grammar_or_tools_field(self) -> str:
        """The field that says what the answer must be, for errors."""
        if self.has_grammar or self.text.grammar:
            return self.words_field
        return self.tool_use().field

    def tool_use(self) -> ToolUse:
        """What the answer may do with the tools. Raises as `tool_use_of`."""
        choice, parallel = self.tool_choice, self.parallel_tool_calls
        return tool_use_of(self.tools.tools, choice, parallel=parallel)


def check_response(fields: ResponseRequest) -> None:
    """Refuse fields that contradict each other. Raises `InvalidRequest`."""
    if fields.text.grammar and fields.has_grammar:
        reason = "cannot be set together with 'text.format'."
        raise UnsupportedParameter(fields.grammar_field, reason)
    if not fields.input and fields.previous_response_id is None:
        raise MissingParameter("input")
