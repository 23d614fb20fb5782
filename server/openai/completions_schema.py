"""The body of a completions request, and its four forms of a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, cast

from pydantic import Field, WithJsonSchema

from engine import InvalidParameter, TextPrompt, TokenPrompt
from server.body import json_type
from server.errors import InvalidType
from server.openai.generation_fields import GenerationFields, check_generation
from server.openai.sampling import REFUSED
from server.openai.wire import Inert, Integer, empty

DEFAULT_MAX_TOKENS = 16
MAX_BEST_OF = 20

_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
Prompts = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                _IDS,
                {"type": "array", "items": _IDS, "minItems": 1},
            ]
        }
    ),
]


class CompletionRequest(GenerationFields):
    """`POST /v1/completions`."""

    refused: ClassVar[Mapping[str, Inert]] = {
        **REFUSED,
        "suffix": empty,
        **dict.fromkeys(("messages", "input", "instructions", "tools", "functions"), empty),
    }
    aliases: ClassVar[Mapping[str, str]] = {
        **GenerationFields.aliases,
        "max_completion_tokens": "max_tokens",
    }

    prompt: Prompts = None
    max_tokens: Integer | None = Field(None, ge=0, le=2**31 - 1)
    best_of: Integer | None = Field(None, ge=0, le=MAX_BEST_OF)
    echo: bool = False
    logprobs: Integer | None = Field(None, ge=0, le=20)
    add_special_tokens: bool = True

    @property
    def new_tokens(self) -> int:
        """How many tokens to generate at most; null is the default too."""
        return DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def candidates(self) -> int:
        """Samples to generate for each prompt."""
        return self.n if self.best_of is None else self.best_of


def check_completion(fields: CompletionRequest, body: Mapping[str, Any]) -> None:
    """Refuse fields that contradict each other. Raises `InvalidParameter`."""
    check_generation(fields, body)
    if fields.candidates < fields.n:
        reason = f"integer below minimum value. Expected a value >= 'n' ({fields.n})."
        raise InvalidParameter("best_of", fields.candidates, reason, minimum=fields.n)
    if fields.stream and fields.candidates > fields.n:
        reason = "it must equal 'n' when 'stream' is true."
        raise InvalidParameter("best_of", fields.candidates, reason)


def prompts_of(value: object, *, add_special_tokens: bool) -> list[TextPrompt | TokenPrompt]:
    """The prompts in any of the four forms; null is one empty text.

    Raises:
        InvalidParameter: an empty list, or mixed elements.
        InvalidType: elements that are neither strings nor ids nor lists of ids.
    """
    if value is None or isinstance(value, str):
        return [TextPrompt(value or "", add_special_tokens)]
    if not isinstance(value, list):
        raise InvalidType("prompt", "a string or an array", json_type(value))
    items = cast("list[object]", value)
    if not items:
        raise InvalidParameter("prompt", items, "expected at least one prompt.")
    if isinstance(items[0], str):
        return [TextPrompt(_text(item, i), add_special_tokens) for i, item in enumerate(items)]
    if isinstance(items[0], list):
        return [TokenPrompt(_ids(item, f"prompt[{i}]")) for i, item in enumerate(items)]
    return [TokenPrompt(_ids(items, "prompt"))]


def _text(item: object, position: int) -> str:
    if not isinstance(item, str):
        raise _mixed(f"prompt[{position}]", "a string", item)
    return item


def _ids(value: object, path: str) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise _mixed(path, "an array of token ids", value)
    ids = cast("list[object]", value)
    if not ids:
        raise InvalidParameter("prompt", ids, "a prompt of token ids must not be empty.")
    if all(type(item) is int for item in ids):  # bool is a subclass and no id
        return tuple(cast("list[int]", ids))
    return tuple(_id(item, f"{path}[{position}]") for position, item in enumerate(ids))


def _id(item: object, path: str) -> int:
    if isinstance(item, float) and item.is_integer():
        return int(item)
    if isinstance(item, bool) or not isinstance(item, int):
        raise _mixed(path, "a token id", item)
    return item


def _mixed(path: str, expected: str, item: object) -> InvalidParameter:
    """The whole prompt is the parameter at fault; the message names the place."""
    return InvalidParameter(
        "prompt", item, f"expected {expected} at {path}, got {json_type(item)}."
    )
