"""A model's tokens as llguidance wants them: exact bytes, special ids, end ids.

Knows nothing of how text is cut into tokens beyond asking the tokenizer, and nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

import msgspec
from llguidance import LLTokenizer, TokenizerWrapper


class GrammarTokenizer(Protocol):
    """The part of a tokenizer that grammars need; see `engine.text.tokenizer.Tokenizer`."""

    def encode(
        self, text: str, *, add_special_tokens: bool = True, parse_special: bool = True
    ) -> list[int]: ...

    def token_bytes(self, token_id: int) -> bytes: ...

    def is_special(self, token_id: int) -> bool: ...


class TokenTable(msgspec.Struct, frozen=True):
    """`tokens[id]` are the bytes of each id of the model, none for ids that stand for no token.

    A model that ends its texts by no token at all has one id more here, which no text can have:
    llguidance must have some way to say that a text may end.
    """

    tokens: list[bytes]
    special_ids: list[int]
    end_ids: list[int]

    @classmethod
    def of(
        cls, tokenizer: GrammarTokenizer, vocab_size: int, end_ids: Collection[int]
    ) -> TokenTable:
        """The table of a model with `vocab_size` logits; `end_ids` end its texts, any of them."""
        tokens = [tokenizer.token_bytes(token_id) for token_id in range(vocab_size)]
        special = {token_id for token_id in range(vocab_size) if tokenizer.is_special(token_id)}
        ends = sorted(end_ids)
        if not ends:
            ends = [vocab_size]
            tokens.append(b"")
        return cls(tokens, sorted(special.union(ends)), ends)

    @property
    def num_words(self) -> int:
        """32-bit words of a mask with a bit for each id."""
        return (len(self.tokens) + 31) // 32

    @property
    def blank_ids(self) -> list[int]:
        """Ids without a token. llguidance lets some grammars have them; no text may."""
        return [token_id for token_id, token in enumerate(self.tokens) if not token]

    def llguidance_tokenizer(self, encode: Callable[[bytes], list[int]]) -> LLTokenizer:
        """What matchers are made for.

        `encode` cuts UTF-8 text, and says how text that a grammar forces is written; its ids
        must have the text's exact bytes.
        """
        return LLTokenizer(TokenizerWrapper(_Tokens(self, encode)), eos_token=self.end_ids)


class _Tokens:
    """The object that `TokenizerWrapper` wraps."""

    def __init__(self, table: TokenTable, encode: Callable[[bytes], list[int]]) -> None:
        self.tokens = table.tokens
        self.special_token_ids = table.special_ids
        self.eos_token_id = table.end_ids[0]
        self.bos_token_id = None
        self._encode = encode

    def __call__(self, text: bytes) -> list[int]:
        return self._encode(text)
