"""Reading tool calls out of text: any cut of the text gives the same, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tool_calls import Parsed, ToolCall, ToolCallParser

CALL = '<tool_call>\n{"name": "f", "arguments": {"a": [1, "}"]}}\n</tool_call>'
F = ToolCall("f", '{"a": [1, "}"]}')


def parse(*pieces: str, parallel: bool = True) -> Parsed:
    parser = ToolCallParser(parallel=parallel)
    parts = [*(parser.feed(piece) for piece in pieces), parser.finish()]
    calls = tuple(call for part in parts for call in part.calls)
    return Parsed("".join(part.text for part in parts), calls)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CALL, Parsed("", (F,))),
        (f"Let me see.\n{CALL}\n", Parsed("Let me see.", (F,))),
        (f"{CALL}\n{CALL}", Parsed("", (F, F))),
        (f"a {CALL}\n\n b {CALL} c ", Parsed("abc ", (F, F))),
        (CALL.removesuffix("\n</tool_call>"), Parsed("", (F,))),
        ('<tool_call>{"name":"g"}</tool_call>', Parsed("", (ToolCall("g", "{}"),))),
    ],
)
def test_calls_are_read(text: str, expected: Parsed) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no call \n",
        "a <tool_cal",
        "1 < 2 <tool_",
        " <tool_call>nothing</tool_call> x",
        '<tool_call>{"name": 1}</tool_call>',
        '<tool_call>{"name": "f", "arguments": "x"}</tool_call>',
        '<tool_call>{"name": "f", "argu',
        f"<tool_call>{'[' * 5000}</tool_call>",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert parse(text) == Parsed(text)


def test_only_one_call_where_one_is_wanted() -> None:
    assert parse(f"a\n{CALL}\n{CALL} b", parallel=False) == Parsed("a", (F,))


def test_only_what_may_become_a_marker_is_held_back() -> None:
    parser = ToolCallParser()
    assert parser.feed("one <tool").text == "one"
    assert parser.feed("s>").text == " <tools>"
    assert parser.feed(" two").text == " two"


PIECES = st.sampled_from([CALL, "<tool_call>", "</tool_call>", " ", "\n", "word", "<", "{", "<to"])


@given(st.lists(PIECES, max_size=8).map("".join), st.data())
def test_any_cut_gives_the_same(text: str, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6).map(sorted))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert parse(*pieces) == parse(text)
    assert parse(*text) == parse(text)


@given(st.lists(PIECES.filter(lambda piece: piece != CALL), max_size=8).map("".join))
def test_without_a_call_nothing_is_lost(text: str) -> None:
    assert parse(text) == Parsed(text)
