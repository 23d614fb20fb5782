"""Dividing reasoning from what follows it: any cut of the text gives the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.reasoning import ReasoningParser, Thinking, thinking_after
from tests.server.pieces import pieces_of


def read(*pieces: str, thinking: Thinking = Thinking.PERHAPS) -> tuple[str, str]:
    parser = ReasoningParser(thinking)
    thought, rest = "", ""
    for place, piece in enumerate(pieces, start=1):
        events, words = parser.feed(piece, last=place == len(pieces))
        thought += "".join(event.text for event in events)
        rest += words
    return thought, rest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>\nHm.\n</think>\n\nYes.", ("Hm.", "Yes.")),
        ("<think>\n\n</think>\n\nYes.", ("", "Yes.")),
        ("\n<think>Hm", ("Hm", "")),
        ("<think>a < b </thin", ("a < b </thin", "")),
        ("Yes. <think>no</think>", ("", "Yes. <think>no</think>")),
        ("<thi", ("", "<thi")),
        ("  ", ("", "  ")),
        ("", ("", "")),
    ],
)
def test_reasoning_is_divided_from_the_rest(text: str, expected: tuple[str, str]) -> None:
    assert read(text) == expected
    assert read(*text, "") == expected


def test_a_prompt_may_have_begun_or_ended_the_reasoning() -> None:
    assert read("Hm.</think> Yes", thinking=Thinking.BEGUN) == ("Hm.", "Yes")
    assert read("<think>Yes", thinking=Thinking.NEVER) == ("", "<think>Yes")
    assert thinking_after("assistant\n<think>\n") is Thinking.BEGUN
    assert thinking_after("assistant\n<think>\n\n</think>\n\n") is Thinking.NEVER
    assert thinking_after("assistant\n") is Thinking.PERHAPS


PIECES = st.sampled_from(["<think>", "</think>", "<", "</th", " ", "\n", "word"])


@given(st.lists(PIECES, max_size=8).map("".join), st.data())
def test_any_cut_gives_the_same(text: str, data: st.DataObject) -> None:
    assert read(*pieces_of(text, data)) == read(text)
    assert read(*text, "") == read(text)
