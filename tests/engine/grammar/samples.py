"""A vocabulary of single bytes, grammars over it, and what the tests of this folder share."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher, LLTokenizer

from engine.errors import InvalidParameter
from engine.grammar.bits import Bits, pack
from engine.grammar.compiler import CompiledGrammar, GrammarCompiler
from engine.grammar.exact_encoding import ExactEncoding
from engine.grammar.lowering import lowered
from engine.grammar.matcher import compile_matcher, complaint
from engine.grammar.token_table import TokenTable
from engine.sampling_params import Grammar

END, OTHER_END, TURN = 256, 257, 258
VOCAB_SIZE = 270  # the last ten have no token
SPECIAL = {END: b"<end>", OTHER_END: b"<other>", TURN: b"<turn>"}
"""Names that are legal JSON text, byte by byte."""


class ByteTokenizer:
    """One token per byte, and the special ones."""

    def encode(
        self, text: str, *, add_special_tokens: bool = True, parse_special: bool = True
    ) -> list[int]:
        assert not add_special_tokens and not parse_special, "grammars force plain text"
        return list(text.encode())

    def token_bytes(self, token_id: int) -> bytes:
        return SPECIAL.get(token_id, bytes((token_id,)) if token_id < 256 else b"")

    def is_special(self, token_id: int) -> bool:
        return token_id in SPECIAL


def table(ends: Sequence[int] = (END, OTHER_END)) -> TokenTable:
    return TokenTable.of(ByteTokenizer(), VOCAB_SIZE, ends)


@lru_cache
def tokenizer() -> LLTokenizer:
    return table().llguidance_tokenizer(ExactEncoding(ByteTokenizer(), table()))


def byte_compiler() -> GrammarCompiler:
    return GrammarCompiler(ByteTokenizer, VOCAB_SIZE, (END, OTHER_END))


def matcher(grammar: Grammar) -> LLMatcher:
    """Compiled here and now, without a trial. Raises `InvalidParameter`."""
    made = compile_matcher(tokenizer(), lowered(grammar))
    if reason := complaint(made):
        raise InvalidParameter("grammar", None, reason)
    return made


def compiled(grammar: Grammar) -> CompiledGrammar:
    made, ids = matcher(grammar), table()
    forced = tuple(made.compute_ff_tokens())
    return CompiledGrammar(made, forced, ids, pack(ids.blank_ids, ids.num_words))


def accepts(grammar: Grammar, text: str) -> bool:
    """Whether the text may stand as it is, and then end."""
    ids = list(text.encode())
    walker = matcher(grammar)
    return walker.try_consume_tokens(ids) == len(ids) and walker.is_accepting()


def schema(**keywords: Any) -> Grammar:
    return Grammar("json_schema", json.dumps(keywords))


def regex(expression: str) -> Grammar:
    return Grammar("regex", expression)


def members(bits: Bits) -> set[int]:
    """The ids of a packed set, worked out one by one."""
    words = [int(word) & 0xFFFFFFFF for word in bits]
    return {i for i in range(len(words) * 32) if words[i // 32] >> (i % 32) & 1}


def text_of(token_ids: Collection[int]) -> str:
    return bytes(token_id for token_id in token_ids if token_id < 256).decode()
