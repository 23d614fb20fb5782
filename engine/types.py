"""The small frozen things that go into the engine and come out of it, the same in every dialect.

Knows nothing of HTTP, tensors or scheduling.
"""

from __future__ import annotations

import enum

import msgspec

from engine.sampling_params import SamplingParams


class FinishReason(enum.StrEnum):
    """Why a sample ended. A fault is never a finish reason: it is raised."""

    STOP = "stop"  # end-of-sequence id, stop id, or stop string
    LENGTH = "length"  # max_new_tokens reached, or the context is full


class TextPrompt(msgspec.Struct, frozen=True):
    """Plain text; `add_special_tokens` lets the tokenizer put its BOS in front."""

    text: str
    add_special_tokens: bool = True


class TokenPrompt(msgspec.Struct, frozen=True):
    """Token ids, used exactly as they are."""

    token_ids: tuple[int, ...]


class ChatPrompt(msgspec.Struct, frozen=True):
    """A conversation for the model's chat template.

    `messages` are plain dicts with `role` and `content` (a string), as Hugging Face templates
    expect them. `continue_final` renders the last message as an unfinished one.
    """

    messages: tuple[dict[str, object], ...]
    add_generation_prompt: bool = True
    continue_final: bool = False
    add_special_tokens: bool = False
    template_args: dict[str, object] = msgspec.field(default_factory=dict[str, object])


Prompt = TextPrompt | TokenPrompt | ChatPrompt


class GenerationRequest(msgspec.Struct, frozen=True):
    """One sample to generate. `request_id` is unique among open requests.

    Deltas hold their tokens when `want_tokens` or `params.logprobs` asks for them.
    """

    request_id: str
    prompt_token_ids: tuple[int, ...]
    params: SamplingParams
    want_tokens: bool = False


class TokenLogprob(msgspec.Struct, frozen=True, gc=False):
    """One position's log-probabilities: log-softmax of the model's raw logits, in nats.

    `top` holds the most likely (id, logprob) pairs, best first; it need not contain the chosen
    token. When it does, both values are the same float.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class OutputToken(msgspec.Struct, frozen=True, gc=False):
    """One generated token as the caller sees it.

    `text_offset` counts code points from the start of the generated text to where the token's
    first character begins. `special` tokens have no text of their own in the output.
    """

    token_id: int
    text_offset: int
    special: bool
    logprob: TokenLogprob | None = None


class TextDelta(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one engine step added to one sample.

    The counters are cumulative, so the last delta alone gives the usage. `prompt_logprobs` comes
    once, with the first delta, when asked for: one entry per prompt token, None for the first.
    `stop_reason` is the stop string or stop id that ended the sample; None for end-of-sequence.
    """

    text: str = ""
    tokens: tuple[OutputToken, ...] = ()
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_generated_tokens: int = 0
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """What the server tells the world about the served model."""

    id: str
    created: int  # Unix seconds
    max_model_len: int
    vocab_size: int
    fingerprint: str  # changes whenever the numerics may change
    eos_token_ids: tuple[int, ...] = ()
    tool_call_format: str | None = None  # how the chat template writes tool calls; None: not at all
    bos_token: str | None = None
    eos_token: str | None = None
    chat_template: str | None = None  # its source
    reasons: bool = False  # the chat template knows reasoning, between <think> and </think>


class EngineStats(msgspec.Struct, frozen=True, kw_only=True):
    """Gauges and running totals after a step; totals count from the engine's start."""

    running: int = 0
    waiting: int = 0
    blocks_used: int = 0  # referenced by a live sequence
    blocks_total: int = 0
    steps: int = 0
    preemptions: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generated_tokens: int = 0
    draft_tokens: int = 0  # guessed, and computed
    accepted_draft_tokens: int = 0  # of these, those that were then drawn
