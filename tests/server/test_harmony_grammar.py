"""What the grammar of the Harmony format lets through, its marks as text and as tokens."""

from __future__ import annotations

import json

import pytest

from engine import Grammar
from server.harmony import MARKS
from server.harmony_grammar import harmony_grammar
from server.tool_grammar import UncombinableGrammar, fields_by_line
from server.tools import Tool, ToolUse, all_of
from tests.engine.grammar.samples import TURN, accepts, matcher

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = all_of((Tool("weather", "", CITY, strict=True), Tool("now")))
MUST = all_of((Tool("weather", "", CITY, strict=True), Tool("now")), required=True)
NOTE = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
PREAMBLE = NOTE.replace("analysis", "commentary")
FINAL = "<|channel|>final<|message|>Yes."
NOW = "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}"
NOW_BEFORE = " to=functions.now<|channel|>commentary json<|message|>{}"
WEATHER = NOW.replace("now", "weather").replace("{}", '{"city": "x"}')
NUMBER = Grammar("json_schema", '{"type": "integer"}')


def legal(use: ToolUse, text: str, answer: Grammar | None = None) -> bool:
    grammar = harmony_grammar(use, answer, {})
    assert grammar is not None
    return accepts(grammar, text)


@pytest.mark.parametrize(
    "text", [FINAL, NOTE + FINAL, NOW, NOW_BEFORE, NOTE + PREAMBLE + NOW, NOTE + WEATHER]
)
def test_left_to_the_model_words_or_a_legal_call(text: str) -> None:
    assert legal(TOOLS, text)
    assert legal(MUST, text) == (FINAL not in text and PREAMBLE not in text)


@pytest.mark.parametrize(
    "text",
    [
        "Yes.",
        NOTE,
        NOW.replace("now", "clock"),
        NOW.replace("{}", '{"a": 1}'),
        WEATHER.replace('"x"', "1"),
        NOTE.replace("analysis", "other") + FINAL,
    ],
)
def test_nothing_else(text: str) -> None:
    assert not legal(TOOLS, text) and not legal(MUST, text)


def test_an_answer_is_bound_in_the_final_channel_only() -> None:
    number = FINAL.replace("Yes.", "12")
    for use in (ToolUse(), TOOLS):
        assert legal(use, NOTE + number, NUMBER) and not legal(use, NOTE + FINAL, NUMBER)
        assert not legal(use, PREAMBLE + number, NUMBER)
    assert legal(TOOLS, NOTE + NOW, NUMBER) and not legal(ToolUse(), NOTE + NOW, NUMBER)


def test_any_text_will_do_where_nothing_is_asked_for() -> None:
    assert harmony_grammar(ToolUse(), None, {}) is None


def test_marks_that_are_tokens_are_no_text() -> None:
    grammar = harmony_grammar(ToolUse(), NUMBER, dict.fromkeys(MARKS, TURN))
    assert grammar is not None
    walker = matcher(grammar)
    note = [TURN, *b"analysis", TURN, *b"Hm.", TURN, TURN, *b"assistant"]
    note += [TURN, *b"final", TURN, *b"12"]
    assert walker.try_consume_tokens(note) == len(note) and walker.is_accepting()
    assert matcher(grammar).try_consume_tokens(list(FINAL.encode())) == 0


def test_lark_of_the_callers_is_refused() -> None:
    with pytest.raises(UncombinableGrammar):
        harmony_grammar(ToolUse(), Grammar("lark", "start: /a/"), {})


def test_lines_are_those_of_their_fields() -> None:
    use = all_of((Tool("f", "", CITY, field="tools[0].function.parameters"),))
    grammar = harmony_grammar(use, NUMBER, {})
    assert grammar is not None
    fields = fields_by_line(grammar, use, "response_format.json_schema.schema")
    assert set(fields.values()) == {
        "tools[0].function.parameters",
        "response_format.json_schema.schema",
    }
    lines = grammar.text.split("\n")
    [answer] = [line for line, field in fields.items() if field.startswith("response")]
    assert json.dumps({"type": "integer"}).replace(" ", "") in lines[answer - 1].replace(" ", "")
