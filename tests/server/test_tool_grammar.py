"""What grammars of calls let through, in each family's format."""

from __future__ import annotations

import msgspec
import pytest

from engine import Grammar, InvalidParameter
from server.errors import naming_grammar
from server.tool_formats import FORMATS
from server.tool_grammar import UncombinableGrammar, calls_grammar, fields_by_line
from server.tools import Tool, ToolUse, all_of, some_of
from tests.engine.grammar.samples import accepts, matcher

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = (Tool("weather", "", CITY), Tool("now"))
WEATHER = '<tool_call>\n{"name": "weather", "arguments": {"city": "x"}}\n</tool_call>'
NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
LIST = (
    '[TOOL_CALLS][{"name": "weather", "arguments": {"city": "x"}}, '
    '{"name": "now", "arguments": {}}]'
)
BARE = '{"name": "weather", "parameters": {"city": "x"}}'


def legal(form: str, use: ToolUse, text: str, answer: Grammar | None = None) -> bool:
    grammar = calls_grammar(FORMATS[form], use, answer, None)
    assert grammar is not None
    return accepts(grammar, text)


@pytest.mark.parametrize(
    "text", ["", "hi", f"hi {WEATHER}\n{NOW} more", "1 <tool_cal", WEATHER + WEATHER]
)
def test_left_to_the_model_any_words_and_legal_calls(text: str) -> None:
    assert legal("hermes", all_of(TOOLS), text)


@pytest.mark.parametrize(
    "text",
    [
        WEATHER.replace("weather", "clock"),
        WEATHER.replace('"x"', "1"),
        WEATHER.replace('"x"', '"x", "more": 1'),
        NOW.replace("{}", '{"a": 1}'),
        "<tool_call> hm",
    ],
)
def test_no_other_calls(text: str) -> None:
    assert not legal("hermes", all_of(TOOLS), text)
    assert not legal("hermes", all_of(TOOLS, required=True), text)


def test_required_calls_have_no_words_beside_them() -> None:
    use = all_of(TOOLS, required=True)
    assert legal("hermes", use, WEATHER) and legal("hermes", use, f"{WEATHER}\n{NOW}")
    assert not legal("hermes", use, "hi") and not legal("hermes", use, f"{WEATHER} hi")


def test_one_call_where_one_is_wanted() -> None:
    for required in (False, True):
        use = all_of(TOOLS, required=required, parallel=False)
        assert legal("hermes", use, NOW) and not legal("hermes", use, f"{NOW}\n{NOW}")


def test_only_allowed_tools() -> None:
    use = some_of(TOOLS, ["now"], required=False)
    assert legal("hermes", use, NOW) and not legal("hermes", use, WEATHER)


def test_the_other_formats() -> None:
    for required in (False, True):
        assert legal("mistral", all_of(TOOLS, required=required), LIST)
    assert legal("mistral", all_of(TOOLS), "hi")
    assert not legal("mistral", all_of(TOOLS), LIST.replace("now", "then"))
    assert legal("llama3", all_of(TOOLS, required=True), BARE)
    assert calls_grammar(FORMATS["llama3"], all_of(TOOLS), None, None) is None


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Grammar("json_object"), '{"a": 1}'),
        (Grammar("json_schema", '{"type": "integer"}'), "12"),
        (Grammar("choice", '["yes", "no"]'), "no"),
        (Grammar("regex", r"a/b+\/c"), "a/bb/c"),
    ],
)
def test_an_answer_of_its_own_form_or_calls(answer: Grammar, text: str) -> None:
    for form, call in (("hermes", WEATHER), ("mistral", LIST)):
        assert legal(form, all_of(TOOLS), text, answer)
        assert legal(form, all_of(TOOLS), call, answer)
        assert not legal(form, all_of(TOOLS), "hm", answer)


BAD = Tool("bad", "", {"properties": {"a": {"type": "strin"}}}, field="tools[1].parameters")


@pytest.mark.parametrize("after", ["", "</think>"])
@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("answer", [None, Grammar("choice", '["a\\nb", "c"]')])
@pytest.mark.parametrize("form", ["hermes", "mistral"])
def test_a_bad_schema_is_found_by_the_line_of_the_complaint(
    form: str, answer: Grammar | None, required: bool, after: str
) -> None:
    use = all_of((TOOLS[0], BAD, TOOLS[1]), required=required)
    grammar = calls_grammar(FORMATS[form], use, answer, None)
    assert grammar is not None
    lines = fields_by_line(grammar, use, "response_format")
    with pytest.raises(InvalidParameter) as caught, naming_grammar("tools", lines):
        matcher(msgspec.structs.replace(grammar, after=after))
    assert caught.value.parameter == BAD.field
    assert caught.value.reason.endswith("JSON schema: Invalid type: strin")
    assert not caught.value.reason.startswith("at ")


def test_a_bad_answer_beside_calls_is_the_answers_fault() -> None:
    use, answer = all_of(TOOLS), Grammar("json_schema", '{"type": "strin"}')
    grammar = calls_grammar(FORMATS["hermes"], use, answer, None)
    assert grammar is not None
    lines = fields_by_line(grammar, use, "response_format")
    with pytest.raises(InvalidParameter) as caught, naming_grammar("tools", lines):
        matcher(grammar)
    assert caught.value.parameter == "response_format"


def test_without_a_line_it_is_the_only_tools_fault_or_that_of_all() -> None:
    assert all_of((BAD,)).field == BAD.field
    assert some_of((*TOOLS, BAD), ["bad"], required=True).field == BAD.field
    assert all_of(TOOLS).field == "tools"


def test_what_cannot_be_told_apart_is_not_combined() -> None:
    for form, answer in (
        ("hermes", Grammar("lark", "start: /a/")),
        ("llama3", Grammar("json_object")),
    ):
        with pytest.raises(UncombinableGrammar):
            calls_grammar(FORMATS[form], all_of(TOOLS), answer, None)


def test_a_marker_that_is_a_control_token_is_named_by_its_id() -> None:
    grammar = calls_grammar(FORMATS["mistral"], all_of(TOOLS), None, 5)
    assert grammar is not None and "TEXT <[5]> body" in grammar.text
