"""What completions and chat have in common beside sampling: choices, streams, token details."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from engine import InvalidParameter
from server.openai.nested_fields import RESPONSE_FORMAT, Known
from server.openai.sampling import GRAMMAR_FIELDS, SamplingFields
from server.openai.structured_fields import ResponseFormat
from server.openai.wire import Body, Integer, names_of


class StreamOptions(Body):
    """How a stream reports usage. `include_obfuscation` is accepted; nothing is obfuscated."""

    include_usage: bool = False
    continuous_usage_stats: bool = False
    include_obfuscation: bool = False


class GenerationFields(SamplingFields):
    """The fields of both."""

    grammar_fields: ClassVar[tuple[str, ...]] = ("response_format", *GRAMMAR_FIELDS)
    aliases: ClassVar[Mapping[str, str]] = {
        **SamplingFields.aliases,
        "n_predict": "max_tokens",
    }

    nested: ClassVar[Mapping[str, Known]] = {
        "stream_options": names_of(StreamOptions),
        "response_format": RESPONSE_FORMAT,
    }

    n: Integer = Field(1, ge=1, le=128)
    max_tokens: Integer | None = None
    stream_options: StreamOptions | None = None
    response_format: ResponseFormat = None
    prompt_logprobs: Integer | None = Field(None, ge=0, le=20)
    return_token_ids: bool = False
    return_tokens_as_token_ids: bool = False

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def continuous_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.continuous_usage_stats


def check_stream_fields(fields: GenerationFields, body: Mapping[str, Any]) -> None:
    """Refuse what only a stream, or only a whole answer, can have.

    Raises:
        InvalidParameter: `stream_options` without `stream`, `prompt_logprobs` with it.
    """
    if body.get("stream_options") and not fields.stream:
        reason = "it is only allowed when 'stream' is true."
        raise InvalidParameter("stream_options", None, reason)
    if fields.prompt_logprobs is not None and fields.stream:
        reason = "it is not available with 'stream'."
        raise InvalidParameter("prompt_logprobs", fields.prompt_logprobs, reason)
