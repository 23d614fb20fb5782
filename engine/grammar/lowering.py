"""A caller's grammar in llguidance's own words.

Knows what each kind means and how much white space JSON may have; knows nothing of tokens, and
leaves it to the compiler to say what is wrong inside a schema or an expression.
"""

from __future__ import annotations

import json
import re
from typing import cast

import msgspec
from llguidance import LLMatcher

from engine.errors import InvalidParameter
from engine.sampling_params import Grammar

_WHITE_SPACE = r" |\r?\n[ \t]{0,64}"
"""White space between two JSON tokens: none, one space, or a new line with its indent. That is
all that writers of JSON use, and a model that is unsure of the next token cannot write blanks
for ever, as it does when any white space is legal. llguidance matches the pattern at most once in
a place (from 1.9 on; older releases repeat it, which undoes every bound)."""

_LARK = re.compile(
    r"""
      (?P<other> "(?:\\.|[^"\\\n])*" | /(?!/)(?:\\.|[^/\\\n])+/ | (?://|\#)[^\n]* )
    | %json \s* (?=\{)
    """,
    re.VERBOSE,
)
"""Inline schemas, and what might only look like one: strings, expressions, comments."""

_AFTER = """start: head GAP @rest
head[lazy]: TEXT %s
TEXT: /(.|\\n)*/
GAP: /[ \\n]{0,4}/
"""

_decoder = json.JSONDecoder()


def lowered(grammar: Grammar) -> str:
    """The grammar as `LLMatcher` takes it.

    Raises:
        InvalidParameter: the text is not what its kind says, as far as that shows here.
    """
    source = _lowered_alone(grammar)
    return _after(grammar.after, source) if grammar.after else source


def _lowered_alone(grammar: Grammar) -> str:
    match grammar.kind:
        case "json_object":
            return _json_schema(grammar, '{"type": "object"}')
        case "json_schema":
            return _json_schema(grammar, grammar.text)
        case "regex":
            return LLMatcher.grammar_from_regex(grammar.text)
        case "choice":
            return _lark(_choice(grammar))
        case _:
            return _lark(_with_json_options(grammar.text))


def refusal(reason: str) -> InvalidParameter:
    """The error that says why a grammar cannot be used."""
    return InvalidParameter("grammar", None, reason)


def _json_schema(grammar: Grammar, schema: str) -> str:
    if schema.strip() == "true":
        schema = "{}"  # the other schema that everything satisfies
    try:
        return LLMatcher.grammar_from_json_schema(
            schema, overrides={"whitespace_pattern": _WHITE_SPACE}
        )
    except ValueError as error:
        raise refusal(f"not a JSON schema: {error}") from error


def _choice(grammar: Grammar) -> str:
    try:
        choices = msgspec.json.decode(grammar.text, type=list[str])
    except msgspec.DecodeError as error:
        raise refusal(f"choices must be a JSON array of strings: {error}") from error
    if not choices:
        raise refusal("there must be at least one choice.")
    # A terminal, not a rule: thousands of alternatives are one automaton then.
    return "start: CHOICE\nCHOICE: " + " | ".join(json.dumps(text) for text in choices)


def _lark(text: str) -> str:
    """Wrapped, for bare text that looks like JSON would be read as a list of grammars."""
    return json.dumps({"grammars": [{"lark_grammar": text}]})


def _after(mark: str, source: str) -> str:
    """Any text up to and with the mark, a little white space, then what `source` says."""
    grammars = json.loads(source)["grammars"]
    head = _AFTER % json.dumps(mark)
    rest = {**grammars[0], "name": "rest"}
    return json.dumps({"grammars": [{"lark_grammar": head}, rest, *grammars[1:]]})


def _with_json_options(lark: str) -> str:
    """The grammar with white space bounded in its inline schemas as in all others."""
    pieces: list[str] = []
    done = 0
    for found in _LARK.finditer(lark):
        if found["other"] is None and found.end() >= done:
            try:
                schema, end = _decoder.raw_decode(lark, found.end())
            except ValueError:
                continue  # the compiler says what is wrong with it
            pieces += lark[done : found.end()], json.dumps(_with_options(schema))
            done = end
    return "".join([*pieces, lark[done:]])


def _with_options(schema: dict[str, object]) -> dict[str, object]:
    """The schema with our white space; other options of its own stay."""
    given = schema.get("x-guidance")
    options = cast("dict[str, object]", given) if isinstance(given, dict) else {}
    return {**schema, "x-guidance": {**options, "whitespace_pattern": _WHITE_SPACE}}
