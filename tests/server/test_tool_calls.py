"""Reading tool calls out of text: any cut of the text gives the same, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.answer import Answer, Call, CallArguments, CallOpened, Event, Words, collect
from server.tool_calls import ToolCallParser
from server.tool_formats import FORMATS
from tests.server.pieces import pieces_of

CALL = '<tool_call>\n{"name": "f", "arguments": {"a": [1, "}"]}}\n</tool_call>'
F = Call("f", '{"a": [1, "}"]}', complete=True)
G = Call("g", "{}", complete=True)
MISTRAL = '[TOOL_CALLS][{"name": "f", "arguments": {"a": [1, "}"]}, "id": "a,b]"}'
LLAMA = '{"name": "f", "parameters": {"a": [1, "}"]}}'


def events(*pieces: str, form: str = "hermes", parallel: bool = True) -> list[Event]:
    parser = ToolCallParser(FORMATS[form], {"f", "g"}, parallel=parallel)
    parts = [parser.feed(piece, last=False) for piece in pieces]
    return [event for part in [*parts, parser.feed("", last=True)] for event in part]


def parse(*pieces: str, form: str = "hermes", parallel: bool = True) -> Answer:
    return collect(events(*pieces, form=form, parallel=parallel))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CALL, Answer(calls=[F])),
        (f"Let me see.\n{CALL}\n", Answer("", "Let me see.", [F])),
        (f"{CALL}\n{CALL}", Answer(calls=[F, F])),
        (f"a {CALL}\n\n b {CALL} c ", Answer("", "abc ", [F, F])),
        (CALL.removesuffix("\n</tool_call>"), Answer(calls=[F])),
        ('<tool_call>{"name":"g"}</tool_call>', Answer(calls=[G])),
        ('<tool_call>{"arguments":{},"name":"g"}</tool_call>', Answer(calls=[G])),
        ('<tool_call>{"name": "f", "arguments": {"a', Answer(calls=[Call("f", '{"a')])),
    ],
)
def test_calls_are_read(text: str, expected: Answer) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("mistral", f"{MISTRAL}]", Answer(calls=[F])),
        ("mistral", f"{MISTRAL}, {MISTRAL[13:]}]", Answer(calls=[F, F])),
        ("mistral", "I [TOOL_CALLS] you", Answer("", "I [TOOL_CALLS] you")),
        ("llama3", LLAMA, Answer(calls=[F])),
        ("llama3", f"\n{LLAMA}; {LLAMA}", Answer(calls=[F])),
        ("llama3", '{"name": "g"}', Answer(calls=[G])),
        ("llama3", '{"name": "Ann", "age": 3}', Answer("", '{"name": "Ann", "age": 3}')),
        ("llama3", f"Like {LLAMA}", Answer("", f"Like {LLAMA}")),
        ("llama3", '{"a": "' + "x" * 400, Answer("", '{"a": "' + "x" * 400)),
    ],
)
def test_other_formats_are_read(form: str, text: str, expected: Answer) -> None:
    assert parse(text, form=form) == expected
    assert parse(*text, form=form) == expected


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
        '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "f", "argu',
        f"<tool_call>{'[' * 5000}</tool_call>",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    assert parse(text) == Answer("", text)


def test_only_one_call_where_one_is_wanted() -> None:
    assert parse(f"a\n{CALL}\n{CALL} b", parallel=False) == Answer("", "a", [F])


def test_only_what_may_become_a_mark_is_held_back() -> None:
    parser = ToolCallParser(FORMATS["hermes"], {"f"})
    assert parser.feed("one <tool", last=False) == [Words("one", 0)]
    assert parser.feed("s>", last=False) == [Words(" <tools>", 3)]
    assert parser.feed(" two", last=False) == [Words(" two", 11)]


def test_arguments_are_handed_on_while_they_are_written() -> None:
    parser = ToolCallParser(FORMATS["hermes"], {"f"})
    assert parser.feed('<tool_call>\n{"name": "f", "arguments": ', last=False) == []
    assert parser.feed('{"a', last=False) == [CallOpened("f"), CallArguments('{"a')]
    assert parser.feed('": 1', last=False) == [CallArguments('": 1')]


PIECES = st.sampled_from(
    [CALL, "<tool_call>", "</tool_call>", " ", "\n", "word", "<", "{", "<to", CALL[:40], CALL[40:]]
)


@given(st.lists(PIECES, max_size=8).map("".join), st.data())
def test_any_cut_gives_the_same(text: str, data: st.DataObject) -> None:
    assert parse(*pieces_of(text, data)) == parse(text)
    assert parse(*text) == parse(text)


@given(st.lists(PIECES, max_size=8).map("".join))
def test_words_say_where_they_stand(text: str) -> None:
    for event in events(*text):
        if isinstance(event, Words):
            assert text[event.start :].startswith(event.text)


@given(st.lists(PIECES.filter(lambda p: "arguments" not in p), max_size=8).map("".join))
def test_without_a_call_nothing_is_lost(text: str) -> None:
    assert parse(text) == Answer("", text)
