"""Reading the Harmony format: any cut of the text gives the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.answer import CallArguments, Reasoning, Words, collect
from server.harmony import MARKS, HarmonyReader
from tests.server.pieces import pieces_of

ANALYSIS = "<|channel|>analysis<|message|>Hm, hm.<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>Yes."
CALL = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": "}"}'


def read(*pieces: str, **how: Any) -> tuple[str, str, list[tuple[str, str, bool]]]:
    reader = HarmonyReader({"f", "g"}, **{"inside": False, **how})
    events = [
        event
        for place, piece in enumerate(pieces, start=1)
        for event in reader.feed(piece, last=place == len(pieces))
    ]
    answer = collect(events)
    assert all(event.text for event in events if isinstance(event, (Words, Reasoning)))
    calls = [(call.name, call.arguments, call.complete) for call in answer.calls]
    return answer.reasoning, answer.text, calls


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ANALYSIS + FINAL, ("Hm, hm.", "Yes.", [])),
        (FINAL, ("", "Yes.", [])),
        (ANALYSIS, ("Hm, hm.", "", [])),
        ("<|channel|>analysis<|message|>Hm", ("Hm", "", [])),
        ("<|channel|>final<|message|>a < b <|en", ("", "a < b <|en", [])),
        (ANALYSIS + CALL, ("Hm, hm.", "", [("f", '{"a": "}"}', True)])),
        (CALL + " more", ("", "", [("f", '{"a": "}"}', True)])),
        (CALL[:-1], ("", "", [("f", '{"a": "}"', False)])),
        (
            " to=functions.g<|channel|>commentary json<|message|><|call|>",
            ("", "", [("g", "{}", True)]),
        ),
        (
            f"{CALL}<|call|><|start|>assistant{CALL}<|call|>",
            ("", "", [("f", '{"a": "}"}', True)] * 2),
        ),
        (
            f"<|channel|>commentary<|message|>I look.<|end|><|start|>assistant{CALL}",
            ("", "I look.", [("f", '{"a": "}"}', True)]),
        ),
        (ANALYSIS + ANALYSIS + FINAL, ("Hm, hm.\n\nHm, hm.", "Yes.", [])),
        (f"{FINAL}<|end|><|start|>assistant{FINAL}", ("", "Yes.\n\nYes.", [])),
        (f"{FINAL}<|start|>assistant{FINAL}", ("", "Yes.\n\nYes.", [])),
        (CALL.replace("functions.f", "browser.find"), ("", '{"a": "}"}', [])),
        (f"<|start|>assistant{FINAL}<|return|>", ("", "Yes.", [])),
        ("Yes, to=me", ("", "Yes, to=me", [])),
        ("<|chan", ("", "<|chan", [])),
        ("<|channel|>final", ("", "", [])),
        ("", ("", "", [])),
    ],
)
def test_messages_by_their_headers(
    text: str, expected: tuple[str, str, list[tuple[str, str, bool]]]
) -> None:
    assert read(text) == expected
    assert read(*text, "") == expected


def test_one_call_where_one_is_wanted() -> None:
    text = f"{CALL}<|call|><|start|>assistant{CALL}<|call|><|start|>assistant{FINAL}"
    assert read(text, parallel=False) == ("", "", [("f", '{"a": "}"}', True)])


def test_a_message_that_the_prompt_has_begun() -> None:
    assert read("upon a time<|end|>", inside=True) == ("", "upon a time", [])


def test_words_say_where_they_stand() -> None:
    text = f"<|channel|>commentary<|message|>é 😀<|end|><|start|>assistant{FINAL}"
    words = [one for one in HarmonyReader((), inside=False).feed(text, last=True)]
    assert [one.text for one in words if isinstance(one, Words)] == ["é 😀", "\n\n", "Yes."]
    for one in words:
        assert isinstance(one, Words)
        if one.text == "\n\n":  # no token begins there
            assert text.index(FINAL) < one.start and one.start + 2 <= text.index("Yes.")
            assert text[one.start - 1 :].startswith("<|message|>")
        else:
            assert text[one.start :].startswith(one.text)


PIECES = st.sampled_from(
    [
        *MARKS,
        "assistant",
        "analysis",
        "final",
        " to=functions.f",
        "json",
        '{"a": "',
        '"}',
        "<",
        "<|",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join), st.data())
def test_any_cut_gives_the_same(text: str, data: st.DataObject) -> None:
    assert read(*pieces_of(text, data)) == read(text)
    assert read(*text, "") == read(text)


def test_arguments_are_handed_on_while_they_are_written() -> None:
    reader = HarmonyReader({"f"}, inside=False)
    reader.feed(CALL[:-4], last=False)
    assert reader.feed('"', last=False) == [CallArguments('"')]
