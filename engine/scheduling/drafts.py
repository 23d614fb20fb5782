"""Guesses at a text's next tokens, from the text itself: prompt lookup (Saxena, 2023), also known
as n-gram speculation.

What followed the last few tokens when they last stood in the text is proposed again. No model is
asked, and nothing here decides what is right. Knows nothing of sequences, plans or draws.
"""

from __future__ import annotations

from collections.abc import Iterable

_NGRAMS = (3, 2)
"""Tokens that must have occurred before; the longer n-gram is the better witness."""

_FIRST_LENGTH = 2

_LONGEST_PAUSE = 64


class DraftProposer:
    """The guesses for one sequence, as many as have been worth it lately.

    The length doubles when a whole guess was right, and is else one more than what was right of it.
    When nothing was, guessing pauses. A pause is twice the one before, or half of it when something
    was right in between: where most guesses are wholly wrong, guessing dies away. So a text that
    does not repeat itself costs next to nothing, and one that begins to is found out. Pauses are as
    many times longer as there are sequences in the step, all of which wait for its guesses.

    Args:
        most: tokens of a guess at most.
    """

    __slots__ = ("_length", "_most", "_next_pause", "_pause", "_places", "_text")

    def __init__(self, most: int) -> None:
        self._most = most
        self._length = min(_FIRST_LENGTH, most)
        self._pause = 0  # proposals to leave out
        self._next_pause = 1
        self._text: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}  # n-gram: where its latest follower stands

    @property
    def num_tokens(self) -> int:
        """How much of the text it knows."""
        return len(self._text)

    def extend(self, token_ids: Iterable[int]) -> None:
        """The text goes on with these. Takes a constant time for each."""
        text, places = self._text, self._places
        for token_id in token_ids:
            end = len(text)
            for length in _NGRAMS:
                if length <= end:
                    places[tuple(text[end - length :])] = end
            text.append(token_id)

    def propose(self, limit: int) -> tuple[int, ...]:
        """At most `limit` tokens that may come next; none when nothing speaks for any."""
        if self._pause:
            self.pass_over()
            return ()
        place = self._find()
        if place is None:
            return ()
        # A text that repeats itself up to its end goes round in that circle.
        text, period = self._text, len(self._text) - place
        return tuple([text[place + n % period] for n in range(min(self._length, limit))])

    def pass_over(self) -> None:
        """A step without a proposal, which counts for a pause."""
        self._pause = max(0, self._pause - 1)

    def learn(self, num_drafts: int, num_accepted: int, num_sequences: int = 1) -> None:
        """So many tokens of the last guess were right, in a step of so many sequences."""
        if not num_accepted:
            self._length = 1
            self._pause = self._next_pause * num_sequences
            self._next_pause = min(2 * self._next_pause, _LONGEST_PAUSE)
            return
        self._next_pause = max(1, self._next_pause // 2)
        whole = num_accepted == num_drafts
        self._length = min(2 * self._length, self._most) if whole else num_accepted + 1

    def _find(self) -> int | None:
        """Where the follower of the text's end stands, had it occurred before."""
        text = self._text
        for length in _NGRAMS:
            if length <= len(text):
                place = self._places.get(tuple(text[-length:]))
                if place is not None:
                    return place
        return None
