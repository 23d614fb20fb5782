"""What completions and chat have in common beside sampling: choices, streams, token details."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from engine import InvalidParameter, ModelCard
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
    truncate_prompt_tokens: Integer | None = Field(None, ge=-1, le=2**31 - 1)
    truncation_side: Literal["left", "right"] = "left"
    return_token_ids: bool = False
    return_tokens_as_token_ids: bool = False

    def truncated(
        self, prompt: tuple[int, ...], new_tokens: int | None, card: ModelCard
    ) -> tuple[int, ...]:
        """What `truncate_prompt_tokens` leaves of a prompt: its last tokens, or its first ones
        where the right side is cut. -1 leaves what fits beside the new tokens; their number None
        leaves room for one."""
        kept = self.truncate_prompt_tokens
        if kept is None:
            return prompt
        if kept == -1:
            kept = max(1, card.max_model_len - (1 if new_tokens is None else new_tokens))
        return prompt[:kept] if self.truncation_side == "right" else prompt[-kept:]

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def continuous_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.continuous_usage_stats


def check_generation(fields: GenerationFields, body: Mapping[str, Any]) -> None:
    """Refuse fields that contradict each other, and a prompt cut down to nothing.

    Raises:
        InvalidParameter: `stream_options` without `stream`, `prompt_logprobs` with it,
            `truncate_prompt_tokens` of zero.
    """
    if fields.truncate_prompt_tokens == 0:
        reason = "expected a number of tokens, or -1 for what fits."
        raise InvalidParameter("truncate_prompt_tokens", 0, reason)
    if body.get("stream_options") and not fields.stream:
        reason = "it is only allowed when 'stream' is true."
        raise InvalidParameter("stream_options", None, reason)
    if fields.prompt_logprobs is not None and fields.stream:
        reason = "it is not available with 'stream'."
        raise InvalidParameter("prompt_logprobs", fields.prompt_logprobs, reason)
