"""What an answer must be: `response_format`, `structured_outputs` and `guided_*` to a `Grammar`.

Support table:

    response_format: text                        no grammar
    response_format: json_object                 any JSON object; with `schema`, that schema
    response_format: json_schema                 the schema; without `strict`, what it holds that
                                                 cannot be enforced is passed over
    guided_json, json_schema                     a schema, as an object or as text
    guided_regex, guided_choice                  a regular expression; one of some strings
    guided_grammar                               Lark, in llguidance's dialect
    structured_outputs                           one of json, regex, choice, grammar, json_object

Knows the wire's shapes. Grammars are compiled by the engine, which says what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from engine import Grammar, InvalidParameter, UnsupportedParameter
from server.body import json_type
from server.closed_schema import closed
from server.errors import InvalidType, MissingParameter, naming_grammar

Reader = Callable[[object], Grammar | None]


def response_format_of(value: object) -> Grammar | None:
    """`response_format` of chat. Raises InvalidType, MissingParameter, InvalidParameter."""
    fields = _object(value, "response_format")
    if fields.get("type") != "json_schema":
        return _format(fields, "response_format")
    if fields.get("json_schema") is None:
        raise MissingParameter("response_format.json_schema")
    inner = _object(fields["json_schema"], "response_format.json_schema")
    return _named_schema(inner, "response_format.json_schema")


def text_format_of(value: object) -> Grammar | None:
    """`text.format` of Responses, which has the schema beside its type. Raises as
    `response_format_of`."""
    fields = _object(value, "text.format")
    if fields.get("type") != "json_schema":
        return _format(fields, "text.format")
    if fields.get("schema") is None:
        raise MissingParameter("text.format.schema")
    return _named_schema(fields, "text.format")


def _format(fields: dict[str, Any], path: str) -> Grammar | None:
    """A format without a named schema."""
    kind = fields.get("type")
    if kind is None:
        raise MissingParameter(f"{path}.type")
    if kind == "text":
        return None
    if kind != "json_object":
        reason = "expected 'text', 'json_object' or 'json_schema'."
        raise InvalidParameter(f"{path}.type", kind, reason)
    if fields.get("schema") is None:
        return Grammar("json_object")
    return _schema(fields["schema"], f"{path}.schema", strict=False)


def _named_schema(fields: dict[str, Any], path: str) -> Grammar:
    for name, kind, expected in (("name", str, "a string"), ("strict", bool, "a boolean")):
        value = fields.get(name)
        if value is not None and not isinstance(value, kind):
            raise InvalidType(f"{path}.{name}", expected, json_type(value))
    schema, strict = fields.get("schema"), bool(fields.get("strict"))
    return _schema({} if schema is None else schema, f"{path}.schema", strict=strict)


def structured_outputs_of(value: object) -> Grammar | None:
    """`structured_outputs`: exactly one of its kinds.

    Raises:
        InvalidType, InvalidParameter: it is none, or more than one.
        UnsupportedParameter: a `structural_tag`.
    """
    name = "structured_outputs"
    given = {k: v for k, v in _object(value, name).items() if v is not None and v is not False}
    if "structural_tag" in given:
        raise UnsupportedParameter(f"{name}.structural_tag", "is not supported.")
    kinds = [kind for kind in _KINDS if kind in given]
    if len(kinds) != 1 or len(given) != 1:
        raise InvalidParameter(name, sorted(given), f"expected exactly one of {', '.join(_KINDS)}.")
    return _KINDS[kinds[0]](given[kinds[0]], f"{name}.{kinds[0]}")


def guided_reader(field: str, kind: str) -> Reader:
    """A reader of one field that holds a grammar of one kind."""
    return lambda value: _KINDS[kind](value, field)


def _json(value: object, path: str) -> Grammar:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError) as error:
            raise InvalidParameter(path, value[:100], "it is not valid JSON.") from error
    return _schema(value, path, strict=True)


def _json_object(value: object, path: str) -> Grammar:
    if value is not True:
        raise InvalidType(path, "a boolean", json_type(value))
    return Grammar("json_object")


def _text(kind: str) -> Callable[[object, str], Grammar]:
    def read(value: object, path: str) -> Grammar:
        if not isinstance(value, str):
            raise InvalidType(path, "a string", json_type(value))
        with naming_grammar(path):
            return Grammar(kind, value)

    return read


def _choice(value: object, path: str) -> Grammar:
    if not isinstance(value, list):
        raise InvalidType(path, "an array of strings", json_type(value))
    items = cast("list[object]", value)
    if not items:
        raise InvalidParameter(path, items, "expected at least one choice.")
    for position, item in enumerate(items):
        if not isinstance(item, str):
            raise InvalidType(f"{path}[{position}]", "a string", json_type(item))
    with naming_grammar(path):
        return Grammar("choice", msgspec.json.encode(items).decode())


def _schema(value: object, path: str, *, strict: bool) -> Grammar:
    schema = closed(_object(value, path))
    schema.pop("x-guidance", None)  # how schemas are compiled is not the caller's to say
    if not strict:
        schema["x-guidance"] = {"lenient": True}
    with naming_grammar(path):
        return Grammar("json_schema", msgspec.json.encode(schema).decode())


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidType(path, "an object", json_type(value))
    return cast("dict[str, Any]", value)


_KINDS: dict[str, Callable[[object, str], Grammar]] = {
    "json": _json,
    "regex": _text("regex"),
    "choice": _choice,
    "grammar": _text("lark"),
    "json_object": _json_object,
}
