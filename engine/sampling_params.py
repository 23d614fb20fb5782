"""What a caller asks of one sample: intent only, with neutral defaults and checked ranges.

Knows nothing of dialects, models or tensors; ids are checked against a vocabulary later, and
grammars are compiled later, by whoever can.
"""

from __future__ import annotations

import math

import msgspec

from engine.errors import InvalidParameter

MAX_LOGPROBS = 20
GREEDY_TEMPERATURE = 1e-5
"""Below this a row is greedy: the argmax of the penalized, biased, masked logits."""


GRAMMAR_KINDS = ("json_object", "json_schema", "regex", "choice", "lark")
MAX_GRAMMAR_CHARACTERS = 2**17


class Grammar(msgspec.Struct, frozen=True):
    """What the text must be.

    `kind` says how to read `text`:
        json_object   any JSON object; `text` is empty
        json_schema   a JSON schema, as JSON text. A keyword or format that cannot be enforced is
                      refused, unless the schema has `"x-guidance": {"lenient": true}` at its top
        regex         a regular expression for the whole text, without look-around
        choice        a JSON array of strings, one of which is the whole text
        lark          a grammar in llguidance's dialect of Lark

    With `after` any text may come first, up to the first occurrence of that string: so a model
    that reasons aloud is bound only once it has ended its reasoning.

    Raises:
        InvalidParameter: no such kind, or `text` is too long or no Unicode. What else is wrong
            with it shows when it is compiled, before the sample's first delta.
    """

    kind: str
    text: str = ""
    after: str = ""

    def __post_init__(self) -> None:
        if self.kind not in GRAMMAR_KINDS:
            kinds = ", ".join(GRAMMAR_KINDS)
            raise InvalidParameter("grammar", self.kind, f"its kind must be one of {kinds}.")
        length = len(self.text)
        if length > MAX_GRAMMAR_CHARACTERS:
            reason = f"of {length} characters is too long; {MAX_GRAMMAR_CHARACTERS} are allowed."
            raise InvalidParameter("grammar", length, reason, maximum=MAX_GRAMMAR_CHARACTERS)
        try:
            self.text.encode()
        except UnicodeEncodeError as error:
            reason = f"its text has a lone surrogate at character {error.start}."
            raise InvalidParameter("grammar", error.start, reason) from error


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The controls of one sample. The defaults leave the model's distribution as it is.

    Raises:
        InvalidParameter: a value is outside its range (the ranges stand in `_RANGES`).
    """

    max_new_tokens: int | None = None  # None: until the context is full
    min_tokens: int = 0
    temperature: float = 1.0  # 0 is greedy
    top_k: int = 0  # 0 is off
    top_p: float = 1.0  # 0 keeps the single best token
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = msgspec.field(default_factory=dict[int, float])
    allowed_token_ids: tuple[int, ...] | None = None
    grammar: Grammar | None = None  # None: any text
    seed: int | None = None  # None: fresh entropy; any 64-bit integer otherwise
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop: bool = False  # keep the matched stop string in the text
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    logprobs: int | None = None  # None: none; k: the chosen token's and the top k
    prompt_logprobs: int | None = None  # the same for the prompt's tokens

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None:
                _check_range(name, value, low, high)
        if self.repetition_penalty <= 0:
            raise InvalidParameter(
                "repetition_penalty", self.repetition_penalty, "must be above 0.", minimum=0
            )
        for bias in self.logit_bias.values():
            _check_range("logit_bias", bias, -100, 100)
        if any(not text for text in self.stop):
            raise InvalidParameter("stop", self.stop, "a stop string must not be empty.")
        if self.allowed_token_ids is not None and not self.allowed_token_ids:
            raise InvalidParameter("allowed_token_ids", (), "must name at least one token.")

    @property
    def greedy(self) -> bool:
        """True when the draw is an argmax and truncation has no effect."""
        return self.temperature < GREEDY_TEMPERATURE

    @property
    def uses_penalties(self) -> bool:
        """Whether any penalty differs from neutral, so that a draw depends on the tokens so far
        in another way than through the model."""
        return (
            self.frequency_penalty != 0
            or self.presence_penalty != 0
            or self.repetition_penalty != 1
        )


_RANGES: dict[str, tuple[float, float]] = {
    "max_new_tokens": (0, math.inf),
    "min_tokens": (0, math.inf),
    "temperature": (0, 2),
    "top_k": (0, math.inf),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "repetition_penalty": (0, math.inf),
    "seed": (-(2**63), 2**63 - 1),
    "logprobs": (0, MAX_LOGPROBS),
    "prompt_logprobs": (0, MAX_LOGPROBS),
}


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if math.isnan(value):
        raise InvalidParameter(name, value, "must be a number, but got NaN.")
    kind = "integer" if isinstance(value, int) else "decimal"
    if value < low:
        reason = f"{kind} below minimum value. Expected a value >= {low:g}, but got {value}"
        raise InvalidParameter(name, value, f"{reason} instead.", minimum=low)
    if value > high:
        reason = f"{kind} above maximum value. Expected a value <= {high:g}, but got {value}"
        raise InvalidParameter(name, value, f"{reason} instead.", maximum=high)
