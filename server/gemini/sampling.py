"""generationConfig -> SamplingParams: one table, and the rules Gemini adds to it.

Knows nothing of the model or the prompt, except how many tokens still fit.
"""

from __future__ import annotations

import msgspec

from engine import ContextLengthExceeded, InvalidRequest, SamplingParams, UnsupportedParameter
from server.gemini.schema import (
    GenerationConfig,
    Modality,
)
from server.gemini.structured import grammar_of

MAX_CANDIDATES = 8
MAX_STOP_SEQUENCES = 5

PARAMETER_NAMES = {
    "max_output_tokens": "max_new_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "stop_sequences": "stop",
    "logprobs": "logprobs",
    "logit_bias": "logit_bias",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "ignore_eos": "ignore_eos",
    "min_tokens": "min_tokens",
}
"""generationConfig field -> SamplingParams field."""

FIELD_PATHS = {
    **{internal: f"generation_config.{name}" for name, internal in PARAMETER_NAMES.items()},
    "n": "generation_config.candidate_count",
    "prompt": "contents",
    "messages": "contents",
}
"""The engine's and the shared server's names of things -> their paths in a Gemini request."""


def sampling_params(config: GenerationConfig) -> SamplingParams:
    """The controls of one candidate; fields that are not set keep the engine's defaults.

    Raises:
        InvalidRequest: a value is out of range or two fields contradict each other; its
            `parameter` is a Gemini path or a key of `FIELD_PATHS`.
    """
    _check_counts(config)
    values: dict[str, object] = {"grammar": grammar_of(config)}
    for name, internal in PARAMETER_NAMES.items():
        value = getattr(config, name)
        if value is not None:
            values[internal] = value
    if config.response_logprobs:
        values.setdefault("logprobs", 0)  # the chosen tokens only
    elif config.logprobs is not None:
        raise InvalidRequest(
            "Invalid value at 'generation_config.logprobs': it needs response_logprobs to be true.",
            "generation_config.logprobs",
        )
    return msgspec.structs.replace(SamplingParams(), **values)


def fit(params: SamplingParams, prompt_tokens: int, max_model_len: int) -> SamplingParams:
    """`params` wanting no more new tokens than the context still has room for.

    Raises:
        ContextLengthExceeded: there is no room for even one.
    """
    room = max_model_len - prompt_tokens
    if room < 1:
        raise ContextLengthExceeded(max_model_len, prompt_tokens, int(room == 0))
    if params.max_new_tokens is None or params.max_new_tokens <= room:
        return params
    return msgspec.structs.replace(params, max_new_tokens=room)


def _check_counts(config: GenerationConfig) -> None:
    _check_range("candidate_count", config.candidate_count, 1, MAX_CANDIDATES)
    _check_range("max_output_tokens", config.max_output_tokens, 1, None)
    if len(config.stop_sequences) > MAX_STOP_SEQUENCES:
        raise InvalidRequest(
            f"Invalid value at 'generation_config.stop_sequences': at most {MAX_STOP_SEQUENCES} "
            f"stop sequences are allowed, but got {len(config.stop_sequences)}.",
            "generation_config.stop_sequences",
        )


def _check_range(name: str, value: int | None, low: int, high: int | None) -> None:
    if value is None or (value >= low and (high is None or value <= high)):
        return
    path = f"generation_config.{name}"
    wanted = f"at least {low}" if high is None else f"from {low} to {high}"
    raise InvalidRequest(f"Invalid value at '{path}': must be {wanted}, but got {value}.", path)


def check_output_kind(config: GenerationConfig) -> None:
    """Raises `UnsupportedParameter` when anything but text is wanted."""
    for modality in config.response_modalities:
        if modality not in (Modality.TEXT, Modality.MODALITY_UNSPECIFIED):
            raise UnsupportedParameter(
                "generation_config.response_modalities",
                f"'{modality.name}' is not supported: this model answers in text.",
            )
