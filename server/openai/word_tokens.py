"""Which tokens of a sample belong to its words, rather than to reasoning or to calls.

Words and tokens both say where in the sample's text they stand. Knows nothing of what is reported
of a token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from engine import OutputToken
from server.answer import Event, Words


class WordTokens:
    """Tokens of one sample that wait for the words they belong to."""

    def __init__(self) -> None:
        self._waiting: deque[OutputToken] = deque()

    def add(self, tokens: Iterable[OutputToken]) -> None:
        """Take the next tokens."""
        self._waiting.extend(tokens)

    def of(self, words: Event) -> list[OutputToken]:
        """The tokens that begin within words, none for other events; those before them are
        forgotten."""
        found: list[OutputToken] = []
        if not isinstance(words, Words):
            return found
        while self._waiting and self._waiting[0].text_offset < words.start + len(words.text):
            token = self._waiting.popleft()
            if token.text_offset >= words.start:
                found.append(token)
        return found
