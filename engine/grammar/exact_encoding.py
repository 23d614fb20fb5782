"""Text to ids whose bytes are that text and nothing else.

A tokenizer may put a space in front, or change characters; where a grammar forces a text, its
tokens must spell it byte for byte. Knows no vocabulary format.
"""

from __future__ import annotations

from engine.errors import InvalidParameter
from engine.grammar.token_table import GrammarTokenizer, TokenTable

_LEAD = "\n"


class ExactEncoding:
    """The tokenizer's own way to write a text, as far as that is exact; else longest matches."""

    def __init__(self, tokenizer: GrammarTokenizer, table: TokenTable) -> None:
        self._tokenizer = tokenizer
        self._tokens = table.tokens
        self._longest_match = LongestMatch(table)

    def __call__(self, text: bytes) -> list[int]:
        """Ids of UTF-8 text. Special tokens' names are ordinary text."""
        try:
            ids = self._encode(text.decode())
            if self._spell(ids, text):
                return ids
            # A sentencepiece tokenizer puts its space in front of a first line only.
            ids = self._without_lead(self._encode(_LEAD + text.decode()))
        except InvalidParameter:  # this text cannot be tokenized
            return self._longest_match(text)
        return ids if self._spell(ids, text) else self._longest_match(text)

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False, parse_special=False)

    def _spell(self, ids: list[int], text: bytes) -> bool:
        if max(ids, default=0) >= len(self._tokens):
            return False
        return b"".join(map(self._tokens.__getitem__, ids)) == text

    def _without_lead(self, ids: list[int]) -> list[int]:
        lead = b""
        for count, token_id in enumerate(ids):
            if lead.lstrip(b" ") == _LEAD.encode():
                return ids[count:]
            lead += self._tokenizer.token_bytes(token_id)
        return []


class LongestMatch:
    """Always the longest token that fits, byte after byte: exact in any vocabulary of bytes."""

    def __init__(self, table: TokenTable) -> None:
        special = set(table.special_ids)
        self._ids = {
            token: token_id
            for token_id, token in enumerate(table.tokens)
            if token and token_id not in special
        }
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: bytes) -> list[int]:
        """Ids of the text, up to a byte that no token begins with."""
        ids: list[int] = []
        start = 0
        while start < len(text):
            for length in range(min(self._longest, len(text) - start), 0, -1):
                token_id = self._ids.get(text[start : start + length])
                if token_id is not None:
                    ids.append(token_id)
                    start += length
                    break
            else:
                return ids
        return ids
