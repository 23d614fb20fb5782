from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher

from engine.grammar.bits import pack
from engine.grammar.exact_encoding import ExactEncoding, LongestMatch
from engine.grammar.token_table import GrammarTokenizer, TokenTable
from tests.engine.grammar.samples import (
    END,
    OTHER_END,
    SPECIAL,
    VOCAB_SIZE,
    ByteTokenizer,
    members,
    table,
)
from tests.engine.text.samples import byte_level, metaspace, tiktoken_in


def legal(ids: TokenTable, grammar: str, text: str = "") -> set[int]:
    """What may follow `text`, as llguidance says it."""
    tokenizer = ids.llguidance_tokenizer(LongestMatch(ids))
    matcher = LLMatcher(tokenizer, grammar, log_level=0)
    assert matcher.consume_tokens(list(text.encode())), matcher.get_error()
    mask = matcher.compute_bitmask()
    return {i for i in range(len(mask) * 8) if mask[i // 8] >> (i % 8) & 1}


def test_every_end_id_is_legal_when_a_text_is_complete_and_no_other_special_one() -> None:
    anything = LLMatcher.grammar_from_regex("(?s:.*)")
    assert legal(table(), anything) & set(SPECIAL) == {END, OTHER_END}
    assert legal(table(), LLMatcher.grammar_from_regex("ab"), "a") == {ord("b")}
    assert legal(table(), LLMatcher.grammar_from_regex("ab"), "ab") == {END, OTHER_END}


def test_ids_without_a_token_are_known() -> None:
    assert table().blank_ids == list(range(259, VOCAB_SIZE))
    assert table().num_words == 9


def test_a_model_without_end_ids_has_one_that_no_text_can_have() -> None:
    ids = table(ends=())
    assert ids.end_ids == [VOCAB_SIZE] and VOCAB_SIZE in ids.blank_ids
    assert legal(ids, LLMatcher.grammar_from_regex("a"), "a") == {VOCAB_SIZE}


@pytest.fixture(params=["tiktoken", "hugging face", "metaspace"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> GrammarTokenizer:
    if request.param == "tiktoken":
        return tiktoken_in(tmp_path)
    return byte_level() if request.param == "hugging face" else metaspace()


def encodings(tokenizer: GrammarTokenizer) -> tuple[TokenTable, ExactEncoding]:
    ids = TokenTable.of(tokenizer, 400, [])
    return ids, ExactEncoding(tokenizer, ids)


def spelled(ids: TokenTable, token_ids: Sequence[int]) -> bytes:
    return b"".join(ids.tokens[token_id] for token_id in token_ids)


@pytest.mark.parametrize("text", ["the cat", "hello", " hello", "", "é😀\n\n", "<eos></s><|turn|>"])
def test_forced_text_is_spelled_exactly_by_ordinary_tokens(
    tokenizer: GrammarTokenizer, text: str
) -> None:
    ids, encode = encodings(tokenizer)
    token_ids = encode(text.encode())
    assert spelled(ids, token_ids) == text.encode()
    assert not set(token_ids) & set(ids.special_ids)


def test_forced_text_is_cut_as_the_tokenizer_cuts_it() -> None:
    _, encode = encodings(byte_level())
    text = "the cat sat on"
    assert encode(text.encode()) == byte_level().encode(text, add_special_tokens=False)
    ids, encode = encodings(metaspace())
    assert [ids.tokens[token_id] for token_id in encode(b"hello")] == [b"hello"]


@given(st.binary(max_size=20))
def test_longest_matches_spell_any_bytes(text: bytes) -> None:
    ids = TokenTable.of(byte_level(), 400, [])
    assert spelled(ids, LongestMatch(ids)(text)) == text


def test_a_tokenizer_with_more_ids_than_the_model_is_cut() -> None:
    ids = TokenTable.of(ByteTokenizer(), 100, [])
    assert len(ids.tokens) == 101
    assert ExactEncoding(ByteTokenizer(), ids)(b"12") == [49, 50]
    assert ExactEncoding(ByteTokenizer(), ids)(b"1z2") == [49]  # what there is of it


def test_the_helpers_of_these_tests_agree() -> None:
    assert members(pack([0, 31, 32, 69, 500], 3)) == {0, 31, 32, 69}
