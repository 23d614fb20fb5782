"""A lowered grammar to a matcher, within limits; and the matcher's complaints in one line.

Knows llguidance's limits and messages. Time and memory that these limits do not bound are the
business of `trial`.
"""

from __future__ import annotations

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

_MAX_REASON = 300  # characters

PARSER_LIMITS = LLParserLimits(
    step_lexer_fuel=100_000,  # some 7 ms of a step, during which its neighbours wait
    max_lexer_states=100_000,  # of 1 to 2 kB each
    verbose_errors=False,
)
"""Half of llguidance's own, where a matcher can cost its neighbours time or memory."""

_PLAIN_WORDS = {
    "NoExtensionBias": "nothing that the model can write satisfies it.",
}


def compile_matcher(tokenizer: LLTokenizer, lowered: str) -> LLMatcher:
    """A matcher at the beginning of a text; `complaint` says whether it is one at all.

    The first mask is made at once: it belongs to the costs, and shows whether there is any text.
    """
    matcher = LLMatcher(tokenizer, lowered, log_level=0, limits=PARSER_LIMITS)
    if not matcher.is_error():
        matcher.compute_bitmask()
    return matcher


def complaint(matcher: LLMatcher) -> str:
    """Why the matcher cannot go on, in one short line; empty when it can."""
    return shortened(matcher.get_error()) if matcher.is_error() else ""


def shortened(message: str) -> str:
    """The line of a message that tells the reason."""
    lines = message.splitlines() or ["unknown reason"]
    first = _PLAIN_WORDS.get(lines[0], lines[0])
    # Of a regular expression's parser the first line is but a heading.
    heading = "error: "
    detail = next((line for line in lines[1:] if line.startswith(heading)), heading)
    text = f"{first} {detail.removeprefix(heading)}".strip()
    return text if len(text) <= _MAX_REASON else f"{text[: _MAX_REASON - 4]} ..."
