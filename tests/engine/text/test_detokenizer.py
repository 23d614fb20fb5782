from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.text.detokenizer import Detokenizer
from engine.text.tokenizer import Tokenizer
from tests.engine.text.samples import PiecesTokenizer, byte_level, metaspace

# Lead and continuation bytes of all lengths, surrogates, overlong forms, and never-valid bytes.
BYTES = st.sampled_from(b"a\x80\x8f\x90\x9f\xa0\xbf\xc0\xc3\xe0\xed\xef\xf0\x9f\x98\xf4\xf5\xff")
PIECES = st.lists(st.lists(BYTES, min_size=1, max_size=5).map(bytes), min_size=1, max_size=6)


def pushed(tokenizer: Tokenizer, ids: list[int], skip_special: bool) -> str:
    detokenizer = Detokenizer(tokenizer, skip_special)
    return "".join(map(detokenizer.push, ids)) + detokenizer.flush()


@given(PIECES, st.data(), st.booleans())
def test_pushes_give_what_decoding_all_gives(
    pieces: list[bytes], data: st.DataObject, skip: bool
) -> None:
    tokenizer = PiecesTokenizer(pieces, special_ids=(0,))
    ids = data.draw(st.lists(st.integers(0, len(pieces)), max_size=20))
    expected = tokenizer.decode(ids, skip_special=skip, continuation=True)
    assert pushed(tokenizer, ids, skip) == expected


@given(st.data(), st.booleans())
def test_real_vocabularies_do_so_too(data: st.DataObject, skip: bool) -> None:
    for tokenizer in (byte_level(), metaspace()):
        ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=20))
        expected = tokenizer.decode(ids, skip_special=skip, continuation=True)
        assert pushed(tokenizer, ids, skip) == expected


@given(st.text(min_size=1), st.integers(1, 4))
def test_valid_text_never_shows_a_replacement_character(text: str, size: int) -> None:
    data = text.encode()
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    detokenizer = Detokenizer(PiecesTokenizer(pieces))
    deltas = [detokenizer.push(i) for i in range(len(pieces))]
    assert "".join(deltas) == text
    assert detokenizer.flush() == ""


def test_a_character_comes_out_with_its_last_byte() -> None:
    detokenizer = Detokenizer(PiecesTokenizer([b"a\xf0\x9f", b"\x98", b"\x80b"]))
    assert [detokenizer.push(i) for i in range(3)] == ["a", "", "😀b"]


def test_incomplete_character_at_the_end_is_one_replacement_character() -> None:
    detokenizer = Detokenizer(PiecesTokenizer([b"\xf0\x9f\x98"]))
    assert detokenizer.push(0) == ""
    assert detokenizer.flush() == "\ufffd"
    assert detokenizer.flush() == ""


def test_generated_text_keeps_its_leading_space() -> None:
    tokenizer = metaspace()
    assert pushed(tokenizer, tokenizer.encode("hello", add_special_tokens=False), True) == " hello"
