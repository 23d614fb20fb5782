"""`responseMimeType`, `responseSchema` and `responseJsonSchema` to a `Grammar`.

    text/plain         no grammar, and no schema
    application/json   the schema, or any JSON value without one
    text/x.enum        one of the schema's enum, bare

Grammars are compiled by the engine, which says what is wrong with them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine import Grammar, InvalidRequest, UnsupportedParameter
from server.closed_schema import closed
from server.gemini.json_schema import json_schema_of
from server.gemini.schema import GenerationConfig

PREFIX = "generation_config"
SCHEMAS = ("response_schema", "response_json_schema")
TEXT, JSON, ENUM = "text/plain", "application/json", "text/x.enum"


def grammar_field(config: GenerationConfig) -> str:
    """Path of the field that a grammar comes from."""
    given = [name for name in SCHEMAS if getattr(config, name) is not None]
    return f"{PREFIX}.{given[0] if given else 'response_mime_type'}"


def grammar_of(config: GenerationConfig) -> Grammar | None:
    """What the text must be.

    Raises:
        InvalidRequest: the fields contradict each other, or a schema is malformed.
        UnsupportedParameter: another kind of output.
    """
    kind, schema = config.response_mime_type.lower() or TEXT, _schema(config)
    if kind not in (TEXT, JSON, ENUM):
        reason = f"'{config.response_mime_type}' is not supported."
        raise UnsupportedParameter(f"{PREFIX}.response_mime_type", reason)
    if kind == TEXT:
        if schema is not None:
            raise _contradiction(config, f"it needs response_mime_type '{JSON}'.")
        return None
    if kind == ENUM:
        return _choice(config, schema)
    found = {**closed(schema or {}), "x-guidance": {"lenient": True}}
    return Grammar("json_schema", msgspec.json.encode(found).decode())


def _schema(config: GenerationConfig) -> dict[str, Any] | None:
    given = [name for name in SCHEMAS if getattr(config, name) is not None]
    if len(given) > 1:
        raise _contradiction(config, f"it cannot be set together with {PREFIX}.{given[1]}.")
    return json_schema_of(getattr(config, given[0]), f"{PREFIX}.{given[0]}") if given else None


def _choice(config: GenerationConfig, schema: dict[str, Any] | None) -> Grammar:
    items = (schema or {}).get("enum")
    if not items or not all(isinstance(item, str) for item in items):
        raise _contradiction(config, f"'{ENUM}' needs a schema with an enum of strings.")
    return Grammar("choice", msgspec.json.encode(items).decode())


def _contradiction(config: GenerationConfig, reason: str) -> InvalidRequest:
    path = grammar_field(config)
    return InvalidRequest(f"Invalid value at '{path}': {reason}", path)
