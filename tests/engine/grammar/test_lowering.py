from __future__ import annotations

import json

import pytest

from engine.errors import InvalidParameter
from engine.sampling_params import MAX_GRAMMAR_CHARACTERS, Grammar
from tests.engine.grammar.samples import accepts, regex, schema

PERSON = schema(
    type="object",
    properties={"name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "null"}}},
    required=["name", "tags"],
    additionalProperties=False,
)
VALUE = {"name": "Ann", "tags": [None, None]}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(VALUE),
        json.dumps(VALUE, separators=(",", ":")),
        *(json.dumps(VALUE, indent=width) for width in (0, 1, 2, 4, 8, "\t")),
        json.dumps(VALUE, indent=2).replace("\n", "\r\n"),
        '{ "name" : "Ann" , "tags" : [ null ] }',
        '{"name": "a   b\\n\\n", "tags": [\n]}',
    ],
)
def test_json_may_be_written_in_all_usual_ways(text: str) -> None:
    assert accepts(PERSON, text)


@pytest.mark.parametrize(
    "text",
    [
        '{"name":  "Ann", "tags": []}',
        '{\n\n"name": "Ann", "tags": []}',
        '{"name": "Ann",' + "\n" + " " * 65 + '"tags": []}',
        ' {"name": "Ann", "tags": []}',
        '{"name": "Ann", "tags": []}\n',
        '{"name": "Ann", "tags": [],}',
        '{"name": "Ann"}',
        '{"tags": [], "name": "Ann"}',
        '{"name": "Ann", "tags": [], "more": 1}',
    ],
)
def test_no_endless_white_space_and_nothing_beside_the_schema(text: str) -> None:
    assert not accepts(PERSON, text)


def test_a_schema_cannot_loosen_the_white_space() -> None:
    loose = schema(**{"type": "object", "x-guidance": {"whitespace_pattern": r"\s*"}})
    assert accepts(loose, '{"a": 1}')
    assert not accepts(loose, '{"a":   1}')


def test_any_object_and_any_value() -> None:
    for text in ("{}", '{"a": [1, {"b": null}]}'):
        assert accepts(Grammar("json_object"), text)
    for text in ("[]", "3", '"text"', "{", '{"a": }'):
        assert not accepts(Grammar("json_object"), text)
    for grammar in (schema(), Grammar("json_schema", " true\n")):
        assert all(accepts(grammar, text) for text in ("{}", "[1, 2]", "-2.5e3", '"x"', "null"))
        assert not accepts(grammar, "nul")


def test_a_schema_may_refer_to_itself() -> None:
    tree = {"type": "object", "properties": {"next": {"$ref": "#/$defs/tree"}}}
    grammar = schema(**{"$ref": "#/$defs/tree", "$defs": {"tree": {**tree, "required": []}}})
    assert accepts(grammar, '{"next": {"next": {"next": {}}}}')
    assert not accepts(grammar, '{"next": {"next": 3}}')


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        (schema(type="string", format="zip-code"), "zip-code"),
        (schema(type="array", uniqueItems=True), "uniqueItems"),
        (schema(type="object", dependentRequired={"a": ["b"]}), "dependentRequired"),
        (schema(type="objekt"), "objekt"),
        (schema(**{"$ref": "#/$defs/nothing"}), "/$defs/nothing"),
        (schema(**{"$ref": "https://example.org/schema"}), "example.org"),
        (schema(**{"$ref": "#"}), "nothing that the model can write"),
        (schema(type="integer", minimum=5, maximum=3), "minimum"),
        (schema(oneOf=[{"type": "object"}, {"type": "object"}]), "oneOf"),
        (Grammar("json_schema", "[1"), "not a JSON schema"),
        (Grammar("json_schema", "[]"), "not a JSON schema"),
        (Grammar("json_schema", "false"), "not a JSON schema"),
        (Grammar("json_schema", '{"a":' * 5000 + "1" + "}" * 5000), "recursion"),
        (regex("(["), "unclosed character class"),
        (regex("(?=a)b"), "look-around"),
        (Grammar("choice", "[]"), "at least one"),
        (Grammar("choice", '["a", 1]'), "array of strings"),
        (Grammar("choice", '["\\ud800"]'), "array of strings"),
        (schema(const="\ud800"), "not a JSON schema"),
        (Grammar("choice", "yes|no"), "array of strings"),
        (Grammar("lark", "start: nowhere"), "nowhere"),
        (Grammar("lark", '{"grammars": [{"json_schema": {}}]}'), "expecting"),
    ],
)
def test_what_cannot_be_enforced_is_refused_by_name(grammar: Grammar, reason: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        accepts(grammar, "")
    assert refused.value.parameter == "grammar"
    assert reason in refused.value.reason
    assert "\n" not in refused.value.reason and len(refused.value.reason) <= 300


def test_a_caller_may_ask_for_leniency() -> None:
    lenient = {"type": "string", "format": "zip-code", "x-guidance": {"lenient": True}}
    assert accepts(schema(**lenient), '"anything"')


def test_the_whole_text_matches_a_regular_expression() -> None:
    for expression in ("[a-c]{2}/x", "^[a-c]{2}/x$"):
        assert accepts(regex(expression), "ab/x")
        assert not accepts(regex(expression), "ab/x.")
        assert not accepts(regex(expression), "ab")


def test_a_choice_is_one_of_its_strings_and_nothing_else() -> None:
    choices = ["yes", "yes, but", 'quote " and \\ slash/', "two\nlines\x01", "é😀", ""]
    grammar = Grammar("choice", json.dumps(choices))
    assert all(accepts(grammar, choice) for choice in choices)
    assert not any(accepts(grammar, text) for text in ("ye", "yes,", "no", '"yes"'))


def test_ten_thousand_choices_are_no_trouble() -> None:
    grammar = Grammar("choice", json.dumps([f"v{i}" for i in range(10_000)]))
    assert accepts(grammar, "v9999")
    assert not accepts(grammar, "v10000")


def test_schemas_inside_a_grammar_have_the_same_white_space() -> None:
    for lark in (
        'start: "call " %json {"type": "array"} // %json {\n',
        'start: "call " %json   {"type": "array"}\n# "',
        'start: NAME %json {}\nNAME: /(?:call|"%json )/ " "',
    ):
        assert accepts(Grammar("lark", lark), "call [1, 2]")
        assert not accepts(Grammar("lark", lark), "call [1,  2]")


def test_what_only_looks_like_a_schema_inside_a_grammar_is_text() -> None:
    assert accepts(Grammar("lark", r'start: "%json {\"" %json {}'), '%json {"[1, 2]')
    assert accepts(Grammar("lark", r"start: /%json \{\// %json {}"), "%json {/[1, 2]")


def test_a_grammar_is_of_a_known_kind_and_bounded_unicode() -> None:
    with pytest.raises(InvalidParameter, match="must be one of json_object"):
        Grammar("yaml")
    assert Grammar("lark", "x" * MAX_GRAMMAR_CHARACTERS)
    with pytest.raises(InvalidParameter, match="too long"):
        Grammar("lark", "x" * (MAX_GRAMMAR_CHARACTERS + 1))
    with pytest.raises(InvalidParameter, match="surrogate at character 1"):
        Grammar("regex", "a\ud800")


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        (Grammar("json_object"), "{}"),
        (Grammar("regex", "a+"), "aa"),
        (Grammar("choice", '["yes"]'), "yes"),
        (Grammar("lark", "start: /b/"), "b"),
    ],
)
def test_a_grammar_may_begin_after_a_mark(inner: Grammar, text: str) -> None:
    bound = Grammar(inner.kind, inner.text, after="</think>")
    for thought in ("", "Hm.\n", "{}"):
        assert accepts(bound, f"{thought}</think>\n\n{text}")
        assert not accepts(bound, f"{thought}</think>\n\nhm")
    assert not accepts(bound, text)


def test_inline_schemas_keep_their_other_options() -> None:
    lenient = 'start: %json {"x-guidance": {"lenient": true}, "type": "array", "uniqueItems": true}'
    assert accepts(Grammar("lark", lenient), "[1]") and not accepts(
        Grammar("lark", lenient), "[  1]"
    )
