"""The sampling fields of all generating endpoints, and what each becomes for the engine.

Support table: field -> SamplingParams. What is not listed here is refused by name (`REFUSED`),
has no effect on what is generated (`IGNORED`), or is unknown.

    temperature, top_p, frequency_penalty, presence_penalty, seed      as they are
    stop, logit_bias, max_tokens                                       tuple, ids, max_new_tokens
    top_k (0 and -1 are off), min_p, repetition_penalty, min_tokens    extensions
    stop_token_ids, allowed_token_ids, ignore_eos                      extensions
    include_stop_str_in_output, skip_special_tokens                    include_stop, the same
    response_format, structured_outputs, guided_*                      grammar
    n_predict, repeat_penalty                                          other names of two of these
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, cast

from pydantic import BeforeValidator, Field, WithJsonSchema

from engine import Grammar, InvalidParameter, ModelCard, SamplingParams
from server.body import json_type
from server.errors import InvalidType
from server.openai.structured_fields import (
    GuidedChoice,
    GuidedGrammar,
    GuidedJson,
    GuidedRegex,
    LlamaSchema,
    StructuredOutputs,
)
from server.openai.wire import Body, Inert, Integer, above, below, empty

MAX_STOPS = 64
INT64 = 2**63

NAMES: Mapping[str, str] = {
    "max_new_tokens": "max_tokens",
    "include_stop": "include_stop_str_in_output",
}
"""Engine names that this dialect spells differently."""

REFUSED: Mapping[str, Inert] = {
    "grammar": empty,  # another server's own notation
    "bad_words": empty,  # of several tokens each: a ban that depends on what was drawn before
    "logits_processors": empty,
    "use_beam_search": empty,
    "length_penalty": lambda value: value == 1,
    "spaces_between_special_tokens": lambda value: value is True,
    "logprob_token_ids": empty,
    "n_probs": empty,
    "samplers": empty,
    "mirostat": empty,
    "typical_p": lambda value: value == 1,
    "xtc_probability": empty,
    "dry_multiplier": empty,
    "priority": empty,
    "cache_salt": empty,
}
"""Known fields whose effect this server cannot deliver, and the values that ask for none."""

IGNORED = frozenset(
    {
        "user",
        "store",
        "metadata",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        "cache_prompt",
        "id_slot",
        "request_id",
        "stream_interval",
        "kv_transfer_params",
    }
)
"""Fields about bookkeeping, accounts and caches: none of them changes what is generated."""


def _stops(value: object) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        raise InvalidType("stop", "a string or an array of strings", json_type(value))
    items = cast("list[object]", texts)
    for position, item in enumerate(items):
        if not isinstance(item, str):
            raise InvalidType(f"stop[{position}]", "a string", json_type(item))
        if not item:
            raise InvalidParameter("stop", item, "a stop string must not be empty.")
    if len(items) > MAX_STOPS:
        reason = f"expected at most {MAX_STOPS} stop strings, but got {len(items)}."
        raise InvalidParameter("stop", len(items), reason)
    return tuple(cast("list[str]", items))


def _biases(value: object) -> dict[int, float]:
    if not isinstance(value, dict):
        raise InvalidType("logit_bias", "an object", json_type(value))
    biases: dict[int, float] = {}
    for key, bias in cast("dict[str, object]", value).items():
        if not (key.isascii() and key.isdecimal() and len(key) < 12):
            raise InvalidParameter("logit_bias", key, "keys must be decimal token ids.")
        if isinstance(bias, bool) or not isinstance(bias, (int, float)):
            raise InvalidType(f"logit_bias.{key}", "a decimal", json_type(bias))
        if bias > 100:
            raise above("logit_bias", bias, 100.0)
        if not bias >= -100:
            raise below("logit_bias", bias, -100.0)
        biases[int(key)] = float(bias)
    return biases


GRAMMAR_FIELDS = (
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "json_schema",
)
"""Fields that say what the text must be, besides the endpoint's own."""

Stops = Annotated[
    tuple[str, ...],
    BeforeValidator(_stops),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1},
                    "maxItems": MAX_STOPS,
                },
            ]
        }
    ),
]
Biases = Annotated[
    dict[int, float],
    BeforeValidator(_biases),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
        }
    ),
]


class SamplingFields(Body):
    """What all generating endpoints have in common."""

    grammar_fields: ClassVar[tuple[str, ...]] = GRAMMAR_FIELDS

    refused: ClassVar[Mapping[str, Inert]] = REFUSED
    ignored: ClassVar[frozenset[str]] = IGNORED
    aliases: ClassVar[Mapping[str, str]] = {"repeat_penalty": "repetition_penalty"}

    model: str
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, ge=0, le=1)
    presence_penalty: float = Field(0.0, ge=-2, le=2)
    frequency_penalty: float = Field(0.0, ge=-2, le=2)
    logit_bias: Biases = Field(default_factory=dict[int, float])
    stop: Stops = ()
    seed: Integer | None = Field(None, ge=-INT64, le=INT64 - 1)
    stream: bool = False

    structured_outputs: StructuredOutputs = None
    guided_json: GuidedJson = None
    guided_regex: GuidedRegex = None
    guided_choice: GuidedChoice = None
    guided_grammar: GuidedGrammar = None
    json_schema: LlamaSchema = None
    top_k: Integer = Field(0, ge=-1, le=2**31 - 1)
    min_p: float = Field(0.0, ge=0, le=1)
    repetition_penalty: float = Field(1.0, gt=0)
    ignore_eos: bool = False
    min_tokens: Integer = Field(0, ge=0, le=2**31 - 1)
    stop_token_ids: list[Integer] = Field(default_factory=list[int])
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    allowed_token_ids: list[Integer] | None = None

    @property
    def has_grammar(self) -> bool:
        """Whether some field says what the text must be."""
        return bool(_grammar_fields(self))

    @property
    def grammar_field(self) -> str:
        """The field that says what the text must be; the usual one when none does."""
        return next(iter(_grammar_fields(self)), self.grammar_fields[0])


def grammar_of(fields: SamplingFields) -> Grammar | None:
    """What the text must be. Raises `InvalidParameter` when two fields say it."""
    given = _grammar_fields(fields)
    if len(given) > 1:
        raise InvalidParameter(given[1], None, f"it cannot be set together with '{given[0]}'.")
    return getattr(fields, given[0]) if given else None


def _grammar_fields(fields: SamplingFields) -> list[str]:
    return [name for name in fields.grammar_fields if getattr(fields, name) is not None]


def sampling_params(
    fields: SamplingFields,
    card: ModelCard,
    *,
    max_new_tokens: int | None,
    logprobs: int | None,
    prompt_logprobs: int | None,
) -> SamplingParams:
    """The engine's view of the fields.

    Raises:
        InvalidParameter: a token id is outside the vocabulary, or the fields contradict.
    """
    _check_ids("logit_bias", fields.logit_bias, card)
    _check_ids("stop_token_ids", fields.stop_token_ids, card)
    _check_ids("allowed_token_ids", fields.allowed_token_ids or (), card)
    if max_new_tokens is not None and fields.min_tokens > max_new_tokens:
        reason = f"it is greater than the maximum number of tokens, {max_new_tokens}."
        raise InvalidParameter("min_tokens", fields.min_tokens, reason)
    allowed = fields.allowed_token_ids
    return SamplingParams(
        max_new_tokens=max_new_tokens,
        min_tokens=fields.min_tokens,
        temperature=fields.temperature,
        top_k=max(0, fields.top_k),
        top_p=fields.top_p,
        min_p=fields.min_p,
        frequency_penalty=fields.frequency_penalty,
        presence_penalty=fields.presence_penalty,
        repetition_penalty=fields.repetition_penalty,
        logit_bias=dict(fields.logit_bias),
        allowed_token_ids=None if allowed is None else tuple(allowed),
        grammar=grammar_of(fields),
        seed=fields.seed,
        stop=fields.stop,
        stop_token_ids=tuple(fields.stop_token_ids),
        include_stop=fields.include_stop_str_in_output,
        ignore_eos=fields.ignore_eos,
        skip_special_tokens=fields.skip_special_tokens,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
    )


def _check_ids(name: str, ids: Iterable[int], card: ModelCard) -> None:
    for token_id in ids:
        if not 0 <= token_id < card.vocab_size:
            reason = f"no token has the id {token_id}; the vocabulary has {card.vocab_size}."
            raise InvalidParameter(name, token_id, reason)
