from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.text.stop_strings import StopMatcher

STOPS = st.lists(st.text("ab", min_size=1, max_size=5), max_size=4)
PIECES = st.lists(st.text("abc", max_size=4), max_size=12)


def expected(
    stops: list[str], text: str, include: bool, armed_from: int = 0
) -> tuple[str, str | None]:
    """By brute force; a stop string counts when it ends after `armed_from` characters."""
    found = [
        (start, -len(stop), stop)
        for stop in stops
        for start in range(len(text))
        if text.startswith(stop, start) and start + len(stop) > armed_from
    ]
    if not found:
        return text, None
    start, _, stop = min(found)
    return text[: start + len(stop) * include], stop


def run(matcher: StopMatcher, pieces: list[str], armed_from: int = 0) -> tuple[str, str | None]:
    """Piece `armed_from` is the first one that is armed."""
    out = ""
    for number, piece in enumerate(pieces):
        text, stop = matcher.push(piece, number >= armed_from)
        out += text
        if stop is not None:
            return out, stop
    text, stop = matcher.flush()
    return out + text, stop


@given(STOPS, PIECES, st.booleans())
def test_any_cut_gives_the_one_right_result(
    stops: list[str], pieces: list[str], include: bool
) -> None:
    text = "".join(pieces)
    right = expected(stops, text, include)
    assert run(StopMatcher(stops, include), pieces) == right
    assert run(StopMatcher(stops, include), [text]) == right
    assert run(StopMatcher(stops, include), list(text)) == right


@given(STOPS, PIECES, st.integers(0, 12), st.booleans())
def test_what_ends_before_arming_is_ordinary_text(
    stops: list[str], pieces: list[str], armed_from: int, include: bool
) -> None:
    right = expected(stops, "".join(pieces), include, len("".join(pieces[:armed_from])))
    assert run(StopMatcher(stops, include), pieces, armed_from) == right


@given(STOPS, PIECES)
def test_holds_no_more_than_may_begin_a_stop_string(stops: list[str], pieces: list[str]) -> None:
    matcher, text, out = StopMatcher(stops), "", ""
    for piece in pieces:
        released, stop = matcher.push(piece)
        text, out = text + piece, out + released
        if stop is not None or any(stop in text for stop in stops):
            return
        longest = max(
            (n for s in stops for n in range(1, len(s)) if text.endswith(s[:n])), default=0
        )
        assert out == text[: len(text) - longest]


def test_waits_for_a_longer_stop_string_that_starts_as_early() -> None:
    matcher = StopMatcher(["ab", "abc"], include_stop=True)
    assert matcher.push("xab") == ("x", None)
    assert matcher.push("c") == ("abc", "abc")


def test_settles_for_the_shorter_one_when_the_longer_cannot_come() -> None:
    matcher = StopMatcher(["ab", "abc"])
    assert matcher.push("xab") == ("x", None)
    assert matcher.push("d") == ("", "ab")


def test_waits_for_one_that_starts_earlier() -> None:
    matcher = StopMatcher(["bc", "abcd"])
    assert matcher.push("abc") == ("", None)
    assert matcher.push("x") == ("a", "bc")


def test_end_of_text_settles_what_was_waiting() -> None:
    matcher = StopMatcher(["ab", "abc"])
    matcher.push("xab")
    assert matcher.flush() == ("", "ab")


def test_end_of_text_lets_a_mere_beginning_out() -> None:
    matcher = StopMatcher(["STOP"])
    assert matcher.push("go ST") == ("go ", None)
    assert matcher.flush() == ("ST", None)


@pytest.mark.parametrize("stop", ["]", "^", "-", "\\", "a-z", "😀", "\n\n", "[", "&&"])
def test_stop_strings_are_taken_literally(stop: str) -> None:
    assert StopMatcher([stop]).push(f"mm{stop}mm") == ("mm", stop)


def test_work_grows_with_the_text_only() -> None:
    matcher = StopMatcher(["a" * 200 + "b", "x" * 2000])
    started = time.perf_counter()
    for _ in range(20_000):
        matcher.push("aaaaa")
    assert time.perf_counter() - started < 3
