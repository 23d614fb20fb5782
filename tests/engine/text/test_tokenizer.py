from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import EMBEDDED_MODEL
from engine.errors import ModelLoadError
from engine.text.hf_tokenizer import HfTokenizer
from engine.text.tiktoken_tokenizer import TiktokenTokenizer
from engine.text.tokenizer import Tokenizer, load_tokenizer
from tests.engine.text.samples import (
    byte_level,
    byte_level_definition,
    metaspace,
    tiktoken_in,
    write_tiktoken,
)


@pytest.fixture(params=["hugging face", "tiktoken"])
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Tokenizer:
    return byte_level() if request.param == "hugging face" else tiktoken_in(tmp_path)


def test_bos_only_when_asked(tokenizer: Tokenizer) -> None:
    with_bos = tokenizer.encode("the cat", add_special_tokens=True)
    assert with_bos == [
        tokenizer.bos_token_id,
        *tokenizer.encode("the cat", add_special_tokens=False),
    ]


def test_special_names_in_text_become_ids_only_when_parsed(tokenizer: Tokenizer) -> None:
    turn = tokenizer.special_tokens["<|turn|>"]
    text = "<|turn|>user"
    assert tokenizer.encode(text, add_special_tokens=False)[0] == turn
    literal = tokenizer.encode(text, add_special_tokens=False, parse_special=False)
    assert turn not in literal
    assert tokenizer.decode(literal) == text


def test_names_and_ids_of_special_tokens(tokenizer: Tokenizer) -> None:
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<bos>", "<eos>")
    assert tokenizer.eos_token_ids == (tokenizer.special_tokens["<eos>"],)
    assert tokenizer.is_special(tokenizer.special_tokens["<eos>"])
    assert not tokenizer.is_special(0)
    assert tokenizer.token_bytes(tokenizer.special_tokens["<eos>"]) == b"<eos>"


def test_specials_are_skipped_in_decoding_only_when_asked(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<|turn|>the cat<eos>")
    assert tokenizer.decode(ids, skip_special=True) == "the cat"
    assert tokenizer.decode(ids) == "<bos><|turn|>the cat<eos>"


def test_every_byte_has_a_token(tokenizer: Tokenizer) -> None:
    tokens = {tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)}
    assert {bytes((byte,)) for byte in range(256)} <= tokens


def test_ids_without_a_token_are_empty(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_bytes(tokenizer.vocab_size + 5) == b""
    assert not tokenizer.is_special(tokenizer.vocab_size + 5)
    assert tokenizer.decode([tokenizer.vocab_size + 5]) == ""


def test_lone_surrogates_become_replacement_characters(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a\ud800b", add_special_tokens=False)
    assert tokenizer.decode(ids) == "a\ufffdb"


def test_long_text_is_quick(tokenizer: Tokenizer) -> None:
    text = "the cat sat on the mat " * 5000
    started = time.perf_counter()
    tokenizer.encode(text)
    assert time.perf_counter() - started < 2


def test_a_million_spaces_can_be_encoded(tokenizer: Tokenizer) -> None:
    text = " " * 1_000_000 + "x<|turn|>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids[-1] == tokenizer.special_tokens["<|turn|>"]
    assert tokenizer.decode(ids) == text


@given(st.text())
def test_byte_level_text_survives_encoding(text: str) -> None:
    ids = byte_level().encode(text, add_special_tokens=False, parse_special=False)
    assert byte_level().decode(ids) == text


@given(st.text(alphabet="he lo▁é😀", max_size=12).filter(lambda text: "▁" not in text))
def test_metaspace_text_survives_encoding(text: str) -> None:
    ids = metaspace().encode(text, add_special_tokens=False)
    assert metaspace().decode(ids) == text


def test_metaspace_keeps_the_leading_space_of_a_continuation() -> None:
    tokenizer = metaspace()
    ids = tokenizer.encode("hello", add_special_tokens=False)
    assert tokenizer.decode(ids) == "hello"
    assert tokenizer.decode(ids, continuation=True) == " hello"


def test_metaspace_bytes() -> None:
    tokenizer = metaspace()
    ids = tokenizer.encode(" é", add_special_tokens=False)
    assert [tokenizer.token_bytes(i) for i in ids][-2:] == [b"\xc3", b"\xa9"]
    assert b" hello" in {tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)}


def test_added_tokens_that_are_not_special_are_text() -> None:
    tokenizer = byte_level()
    (think,) = tokenizer.encode("<think>", add_special_tokens=False)
    assert tokenizer.token_bytes(think) == b"<think>"
    assert not tokenizer.is_special(think)
    assert tokenizer.decode([think], skip_special=True) == "<think>"


def test_truncation_and_padding_of_the_file_are_ignored() -> None:
    definition = json.loads(byte_level_definition())
    definition["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    tokenizer = HfTokenizer(json.dumps(definition))
    assert len(tokenizer.encode("the cat sat on the mat")) > 2


def test_old_files_spell_tokens_as_objects(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(byte_level_definition())
    config = {"eos_token": {"content": "<eos>", "lstrip": False}, "bos_token": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.bos_token_id, tokenizer.eos_token) == (None, "<eos>")


def test_loader_prefers_tiktoken(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(byte_level_definition())
    assert isinstance(load_tokenizer(tmp_path), HfTokenizer)
    write_tiktoken(tmp_path)
    assert isinstance(load_tokenizer(str(tmp_path)), TiktokenTokenizer)


def test_loader_refuses_a_directory_without_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="neither"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"ranks": "missing"},
        {"pattern": 3},
        {"pattern": "("},
        {"bos_token": "<nowhere>"},
        {"special_tokens": {"<bos>": 5, "<eos>": 6}},
    ],
)
def test_broken_tiktoken_files_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    write_tiktoken(tmp_path, **changes)
    with pytest.raises(ModelLoadError):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("line", ["YQ==", "YQ== x", "*** 3", "YQ== 1 2"])
def test_broken_ranks_are_refused(tmp_path: Path, line: str) -> None:
    write_tiktoken(tmp_path)
    with (tmp_path / "ranks.tiktoken").open("a") as file:
        file.write(line)
    with pytest.raises(ModelLoadError, match="line"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "change", [{"decoder": {"type": "WordPiece"}}, {"decoder": None}, {"model": 1}]
)
def test_broken_or_foreign_tokenizer_json_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({**json.loads(byte_level_definition()), **change})
    )
    with pytest.raises(ModelLoadError):
        load_tokenizer(tmp_path)


@pytest.mark.skipif(
    not (EMBEDDED_MODEL / "tiktoken.json").is_file(), reason="the embedded model is not there"
)
def test_both_files_of_the_embedded_model_agree() -> None:
    fast, other = load_tokenizer(EMBEDDED_MODEL), HfTokenizer.load(EMBEDDED_MODEL)
    text = "<|im_start|>user\nOnce upon a time, 3 cafés 😀\r\n  x<|im_end|>\n"
    assert fast.encode(text) == other.encode(text)
    assert fast.vocab_size == other.vocab_size
    assert all(fast.token_bytes(i) == other.token_bytes(i) for i in range(fast.vocab_size))
    assert fast.special_tokens == other.special_tokens
