from __future__ import annotations

from codecs import utf_8_decode
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sampling_params import SamplingParams
from engine.text.output import AssembledDelta, OutputAssembler
from engine.types import FinishReason, OutputToken, TokenLogprob
from tests.engine.text.samples import PiecesTokenizer

# 0 and 1 are special; the others cut characters anywhere, and some are not UTF-8 at all.
PIECES = (
    b"<s>",
    b"<e>",
    b"a",
    b"b",
    b"ab",
    b"ba",
    b"bc",
    b"\xf0\x9f",
    b"\x98",
    b"\x80a",
    b"\xc3\xa9",
)
TOKENIZER = PiecesTokenizer(PIECES, special_ids=(0, 1))
EOS = 1


@dataclass(frozen=True)
class Sample:
    """A whole output and how it ends; `cuts` divide the ids into pushes."""

    ids: list[int]
    cuts: list[int]
    params: SamplingParams
    finish: FinishReason


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    ids = draw(st.lists(st.integers(0, len(PIECES)), max_size=16))
    finish = draw(st.sampled_from(list(FinishReason)))
    if finish is FinishReason.STOP:
        ids.append(EOS)
    params = SamplingParams(
        stop=tuple(draw(st.lists(st.text("ab😀\ufffdc", min_size=1, max_size=4), max_size=3))),
        include_stop=draw(st.booleans()),
        skip_special_tokens=draw(st.booleans()),
        min_tokens=draw(st.integers(0, 6)),
        logprobs=0,
    )
    return Sample(ids, sorted(draw(st.sets(st.integers(1, 16)))), params, finish)


def pushes(sample: Sample, cuts: list[int]) -> list[AssembledDelta]:
    assembler = OutputAssembler(TOKENIZER, sample.params)
    cuts = [0, *(cut for cut in cuts if cut < len(sample.ids)), len(sample.ids)]
    deltas: list[AssembledDelta] = []
    for start, stop in zip(cuts, cuts[1:], strict=False):
        ids = sample.ids[start:stop]
        logprobs = [TokenLogprob(i, -float(i)) for i in ids]
        finish = sample.finish if stop == len(sample.ids) else None
        deltas.append(assembler.push(ids, logprobs, finish))
        if deltas[-1].stop_hit is not None:
            break
    return deltas


def joined(deltas: list[AssembledDelta]) -> tuple[str, tuple[OutputToken, ...], str | None, int]:
    text = "".join(delta.text for delta in deltas)
    tokens = tuple(token for delta in deltas for token in delta.tokens)
    return text, tokens, deltas[-1].stop_hit, sum(delta.num_tokens for delta in deltas)


def shown_bytes(sample: Sample) -> list[bytes]:
    """What each token adds to the text."""
    shown = [TOKENIZER.token_bytes(i) for i in sample.ids]
    if sample.params.skip_special_tokens:
        shown = [
            b"" if TOKENIZER.is_special(i) else b for i, b in zip(sample.ids, shown, strict=True)
        ]
    if sample.finish is FinishReason.STOP:
        shown[-1] = b""
    return shown


def character_starts(data: bytes) -> list[int]:
    """Where in the bytes each character of the decoded text begins."""
    starts: list[int] = []
    position = 0
    while position < len(data):
        starts.append(position)
        rest = data[position:]
        try:
            position += len(rest.decode()[0].encode())
        except UnicodeDecodeError as error:
            position += (
                error.end if error.start == 0 else len(rest[: error.start].decode()[0].encode())
            )
    return starts


def expected_cut(sample: Sample, text: str, shown: list[bytes]) -> tuple[int, str | None]:
    """By brute force: how much of the text stays, and the stop string."""
    early = b"".join(shown[: max(0, sample.params.min_tokens - 1)])
    if sample.params.min_tokens > len(shown):
        early = b"".join(shown) + b"\x00"  # beyond the end: nothing counts
    armed_from = len(utf_8_decode(early, "replace", False)[0])
    found = [
        (start, -len(stop), stop)
        for stop in sample.params.stop
        for start in range(len(text))
        if text.startswith(stop, start) and start + len(stop) > armed_from
    ]
    if not found:
        return len(text), None
    start, _, stop = min(found)
    return start + len(stop) * sample.params.include_stop, stop


def expected_tokens(
    sample: Sample, shown: list[bytes], cut: int, stop: str | None
) -> tuple[OutputToken, ...]:
    # A token without text may stand at the end, unless that is behind an included stop string.
    silent_cut = cut if stop is not None and sample.params.include_stop else cut + 1
    starts = character_starts(b"".join(shown))
    tokens: list[OutputToken] = []
    position = 0
    for token_id, data in zip(sample.ids, shown, strict=True):
        if data:
            offset = sum(start <= position for start in starts) - 1
        else:  # after the characters that are complete
            offset = len(utf_8_decode(b"".join(shown)[:position], "replace", False)[0])
        position += len(data)
        if offset >= (cut if data else silent_cut):
            break
        logprob = TokenLogprob(token_id, -float(token_id))
        tokens.append(OutputToken(token_id, offset, not data, logprob))
    return tuple(tokens)


@given(samples())
def test_text_and_tokens_are_right_however_the_ids_arrive(sample: Sample) -> None:
    shown = shown_bytes(sample)
    text = b"".join(shown).decode("utf-8", "replace")
    cut, stop = expected_cut(sample, text, shown)
    tokens = expected_tokens(sample, shown, cut, stop)
    one_by_one = joined(pushes(sample, list(range(1, len(sample.ids)))))
    assert one_by_one[:3] == (text[:cut], tokens, stop)
    assert joined(pushes(sample, sample.cuts)) == one_by_one
    assert joined(pushes(sample, [])) == one_by_one
    if stop is None:
        assert one_by_one[3] == len(sample.ids)


@given(samples())
def test_an_entry_travels_with_its_first_character(sample: Sample) -> None:
    length = 0
    for delta in pushes(sample, sample.cuts):
        before, length = length, length + len(delta.text)
        for token in delta.tokens:
            if token.special:
                assert token.text_offset <= length
            else:
                assert before <= token.text_offset < length


@given(samples())
def test_without_entries_the_text_is_the_same(sample: Sample) -> None:
    assembler = OutputAssembler(TOKENIZER, with_no_logprobs(sample.params))
    delta = assembler.push(sample.ids, None, sample.finish)
    assert delta.tokens == ()
    text, _, stop, count = joined(pushes(sample, []))
    assert (delta.text, delta.stop_hit, delta.num_tokens) == (text, stop, count)


def with_no_logprobs(params: SamplingParams) -> SamplingParams:
    return SamplingParams(
        stop=params.stop,
        include_stop=params.include_stop,
        skip_special_tokens=params.skip_special_tokens,
        min_tokens=params.min_tokens,
    )


def assembler(*pieces: bytes, specials: tuple[int, ...] = (), **params: object) -> OutputAssembler:
    checked = SamplingParams(**params)  # pyright: ignore[reportArgumentType]
    return OutputAssembler(PiecesTokenizer(pieces, specials), checked, want_tokens=True)


def offsets(delta: AssembledDelta) -> list[int]:
    return [token.text_offset for token in delta.tokens]


def test_tokens_of_one_character_share_its_offset() -> None:
    sample = assembler(b"hello ", b"\xf0\x9f", b"\x98\x80", b"!")
    assert offsets(sample.push([0, 1])) == [0]
    delta = sample.push([2, 3])
    assert (delta.text, offsets(delta)) == ("😀!", [6, 6, 7])


def test_a_token_after_broken_bytes_starts_behind_them() -> None:
    delta = assembler(b"\xf0\x9f", b"hi").push([0, 1])
    assert (delta.text, offsets(delta)) == ("\ufffdhi", [0, 1])


def test_entries_of_held_text_are_held() -> None:
    sample = assembler(b"a", b"ST", b"x", stop=("STOP",))
    assert offsets(sample.push([0, 1])) == [0]
    delta = sample.push([2])
    assert (delta.text, offsets(delta)) == ("STx", [1, 3])


def test_stop_string_in_the_middle_of_tokens() -> None:
    sample = assembler(b"abS", b"T", b"OPc", b"d", stop=("STOP",), logprobs=0)
    delta = sample.push([0, 1, 2, 3])
    assert (delta.text, delta.stop_hit, delta.num_tokens) == ("ab", "STOP", 3)
    assert [token.token_id for token in delta.tokens] == [0]


def test_tokens_that_were_guessed_beyond_a_stop_string_do_not_count() -> None:
    """A step may bring several tokens with their entries, and the sample's end behind them."""
    sample = assembler(b"ab", b"c.", b"d", b"", stop=(".",), logprobs=0)
    logprobs = [TokenLogprob(token_id, -1.0 - token_id) for token_id in range(4)]
    delta = sample.push([0, 1, 2, 3], logprobs, FinishReason.STOP)
    assert (delta.text, delta.stop_hit, delta.num_tokens) == ("abc", ".", 2)
    assert [token.logprob for token in delta.tokens] == logprobs[:2]


def test_included_stop_string_keeps_its_tokens() -> None:
    sample = assembler(b"ab", b"ST", b"OPc", b"d", stop=("STOP",), include_stop=True)
    delta = sample.push([0, 1, 2, 3])
    assert (delta.text, offsets(delta)) == ("abSTOP", [0, 2, 4])


@pytest.mark.parametrize(("min_tokens", "text"), [(2, ""), (3, "abx")])
def test_stop_strings_count_from_the_minimum_on(min_tokens: int, text: str) -> None:
    sample = assembler(b"a", b"b", b"x", stop=("ab",), min_tokens=min_tokens)
    assert sample.push([0, 1, 2], finish=FinishReason.LENGTH).text == text


def test_skipped_specials_have_entries_in_order() -> None:
    sample = assembler(b"a", b"<s>", b"b", specials=(1,))
    delta = sample.push([0, 1, 2])
    assert delta.text == "ab"
    assert [(t.text_offset, t.special) for t in delta.tokens] == [(0, False), (1, True), (1, False)]


def test_shown_specials_are_text() -> None:
    delta = assembler(b"a", b"<s>", specials=(1,), skip_special_tokens=False).push([0, 1])
    assert delta.text == "a<s>"
    assert [(t.text_offset, t.special) for t in delta.tokens] == [(0, False), (1, False)]


def test_the_token_that_ends_the_sample_is_never_text() -> None:
    sample = assembler(b"a", b"<e>", specials=(1,), skip_special_tokens=False)
    delta = sample.push([0, 1], finish=FinishReason.STOP)
    assert delta.text == "a"
    assert [(t.token_id, t.text_offset, t.special) for t in delta.tokens] == [
        (0, 0, False),
        (1, 1, True),
    ]


def test_an_ordinary_stop_id_is_not_text_either() -> None:
    delta = assembler(b"a", b".").push([0, 1], finish=FinishReason.STOP)
    assert (delta.text, delta.num_tokens) == ("a", 2)


def test_a_finish_without_stop_token_shows_its_last_token() -> None:
    sample = assembler(b"a", b".")
    delta = sample.push([0, 1], finish=FinishReason.STOP, ends_with_stop_token=False)
    assert delta.text == "a."


def test_the_end_lets_out_a_mere_beginning_and_half_a_character() -> None:
    sample = assembler(b"go ST", b"\xf0\x9f", stop=("STOP",))
    assert sample.push([0]).text == "go "
    delta = sample.push([1], finish=FinishReason.LENGTH)
    assert (delta.text, delta.stop_hit, offsets(delta)) == ("ST\ufffd", None, [5])


def test_the_end_settles_a_stop_string_that_might_have_been_longer() -> None:
    sample = assembler(b"x\n", stop=("\n", "\n\n"))
    delta = sample.push([0], finish=FinishReason.LENGTH)
    assert (delta.text, delta.stop_hit) == ("x", "\n")


def test_nothing_generated() -> None:
    delta = assembler(b"a", stop=("b",)).push([], finish=FinishReason.LENGTH)
    assert delta == AssembledDelta("")
