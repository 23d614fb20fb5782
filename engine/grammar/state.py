"""Where one sequence stands in its grammar.

Advanced by every token of its sequence, in order, wherever that token came from. Knows nothing of
logits, of draws, or of other sequences.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from llguidance import LLMatcher

from engine.errors import InvalidParameter
from engine.grammar.bits import Bits
from engine.grammar.lowering import refusal
from engine.grammar.matcher import complaint
from engine.grammar.rules import TokenRules

_EVERYTHING = -1  # a word with all bits set


class GrammarState:
    """One sequence's own matcher, with what else restricts the sequence's tokens.

    A *forced* token is one that nothing else can stand in place of. Where the grammar leaves one
    text only, that text is cut into tokens once, the way the tokenizer cuts it, and those become
    the mask of the coming steps one by one. Whether a step then draws each of them, or they are
    appended without a step, the tokens are the same: cutting what is left anew after each token
    could give others.

    `complete` and `failure` are what a mask can find: no token is left, because the text is
    complete or because the grammar, or the caller's other wishes, make it impossible to go on.
    The token drawn under such a mask does not count.
    """

    def __init__(self, matcher: LLMatcher, rules: TokenRules, forced: Iterable[int]) -> None:
        """`forced` are the tokens that the grammar begins with."""
        self.complete = False
        self.failure: InvalidParameter | None = None
        self._matcher = matcher
        self._rules = rules
        self._num_tokens = 0
        self._forced = deque(forced)

    @property
    def num_words(self) -> int:
        """Words of a mask."""
        return self._rules.num_words

    @property
    def forced_token(self) -> int | None:
        """The only token that may come next, when that is certain without a mask.

        At the end of the text that is the end-of-sequence id, where the model has just one.
        """
        if self.failure is not None:
            return None
        if self._forced:
            token, allowed = self._forced[0], self._rules.allowed_ids
            return token if allowed is None or token in allowed else None
        return self._rules.only_end if self._matcher.is_stopped() else None

    @property
    def matcher(self) -> LLMatcher:
        """For whoever has masks computed, many at a time."""
        return self._matcher

    def advance(self, token_id: int) -> None:
        """The sequence goes on with this token. Sets `failure` when the matcher cannot follow."""
        self._num_tokens += 1
        if self._forced:
            expected = self._forced.popleft()
            assert token_id == expected, "nothing else was legal"
        if not self._matcher.consume_token(token_id):
            self.failure = refusal(complaint(self._matcher))
        elif not self._forced:
            self._forced.extend(self._matcher.compute_ff_tokens())

    def restrict(self, mask: Bits) -> None:
        """Join the grammar's mask of the next token, int32 [words], with the other rules.

        Never leaves it empty: see `complete` and `failure`.
        """
        rules = self._rules
        mask &= rules.never
        if rules.allowed is not None:
            mask &= rules.allowed
        if rules.ends is not None and self._num_tokens < rules.min_tokens:
            longer = mask & rules.ends
            if longer.any():
                mask[:] = longer
        if self._matcher.is_error() or not mask.any():
            self._give_up()
            mask[:] = _EVERYTHING

    def _give_up(self) -> None:
        reason = complaint(self._matcher)
        if reason:
            self.failure = refusal(reason)
        elif self._matcher.is_accepting():
            self.complete = True
        else:
            reason = "leaves no token that the grammar allows here."
            self.failure = InvalidParameter("allowed_token_ids", None, reason)
