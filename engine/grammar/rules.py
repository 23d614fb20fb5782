"""What else than its grammar restricts a sequence's tokens, as bits.

These restrictions are joined with the grammar here rather than in the sampler, because only
together do they show whether anything is left. Knows nothing of matchers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from engine.grammar.bits import Bits, pack
from engine.grammar.token_table import TokenTable
from engine.sampling_params import SamplingParams


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Bits are int32 [words], set for the ids that a rule leaves; None restricts nothing.

    `never` leaves out what cannot be drawn at all: ids without a token, and the model's end ids
    when the caller ignores them. `ends` leaves out the ids that end the sample; it counts until
    `min_tokens` tokens are out, and only while anything else can be drawn. `only_end` is the one
    end-of-sequence id that can be drawn, if there is just one.
    """

    num_words: int
    never: Bits
    allowed_ids: frozenset[int] | None
    allowed: Bits | None
    ends: Bits | None
    min_tokens: int
    only_end: int | None

    @classmethod
    def of(
        cls, params: SamplingParams, end_ids: Collection[int], table: TokenTable, blanks: Bits
    ) -> TokenRules:
        """The rules of one sample.

        `end_ids` are the end-of-sequence ids it heeds, `blanks` the set of `table.blank_ids`.
        """
        num_words, allowed = table.num_words, params.allowed_token_ids
        ignored = pack(set(table.end_ids).difference(end_ids), num_words)
        heeded = set(end_ids) if allowed is None else set(end_ids).intersection(allowed)
        ends = set(end_ids).union(params.stop_token_ids) if params.min_tokens else ()
        return cls(
            num_words=num_words,
            never=~(blanks | ignored),
            allowed_ids=None if allowed is None else frozenset(allowed),
            allowed=None if allowed is None else pack(allowed, num_words),
            ends=~pack(ends, num_words) if ends else None,
            min_tokens=params.min_tokens,
            only_end=heeded.pop() if len(heeded) == 1 else None,
        )
