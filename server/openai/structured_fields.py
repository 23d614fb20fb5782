"""The fields that say what an answer must be, as pydantic reads and documents them.

What each means stands in `server.openai.structured`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import PlainValidator, WithJsonSchema

from engine import Grammar
from server.openai.structured import guided_reader, response_format_of, structured_outputs_of

Schema = WithJsonSchema({"anyOf": [{"type": "object"}, {"type": "string"}]})
ResponseFormat = Annotated[
    Grammar | None,
    PlainValidator(response_format_of),
    WithJsonSchema(
        {
            "type": "object",
            "required": ["type"],
            "properties": {
                "type": {"enum": ["text", "json_object", "json_schema"]},
                "json_schema": {
                    "type": "object",
                    "properties": {"schema": {"type": "object"}, "strict": {"type": "boolean"}},
                },
            },
        }
    ),
]
StructuredOutputs = Annotated[
    Grammar | None, PlainValidator(structured_outputs_of), WithJsonSchema({"type": "object"})
]
GuidedJson = Annotated[Grammar | None, PlainValidator(guided_reader("guided_json", "json")), Schema]
LlamaSchema = Annotated[
    Grammar | None, PlainValidator(guided_reader("json_schema", "json")), Schema
]
GuidedRegex = Annotated[
    Grammar | None,
    PlainValidator(guided_reader("guided_regex", "regex")),
    WithJsonSchema({"type": "string"}),
]
GuidedChoice = Annotated[
    Grammar | None,
    PlainValidator(guided_reader("guided_choice", "choice")),
    WithJsonSchema({"type": "array", "items": {"type": "string"}, "minItems": 1}),
]
GuidedGrammar = Annotated[
    Grammar | None,
    PlainValidator(guided_reader("guided_grammar", "grammar")),
    WithJsonSchema({"type": "string"}),
]
