"""JSON objects into typed requests, with the errors this dialect promises.

`null` is the same as absent. `1.0` is an integer; a boolean is no number and a numeric string
neither. Unknown keys are dropped and logged once, or refused in strict mode. Knows nothing of
what the fields mean.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, NoReturn, TypeVar, cast

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import ErrorDetails

from engine import EngineError, InvalidParameter, UnsupportedParameter
from server.body import json_type
from server.errors import InvalidType, MissingParameter
from server.openai.nested_fields import Known, names, unknown_in
from server.unknown_fields import UnknownFields

Inert = Callable[[Any], bool]
"""True for the values of a refused field that ask for nothing."""


def _integral(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_integral)]


class Body(BaseModel):
    """A request body. Subclasses name the fields they refuse and those without any effect, and
    what is known inside of fields that are objects."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="allow",
        allow_inf_nan=False,
        protected_namespaces=(),
        hide_input_in_errors=True,
    )

    refused: ClassVar[Mapping[str, Inert]] = {}
    ignored: ClassVar[frozenset[str]] = frozenset()
    aliases: ClassVar[Mapping[str, str]] = {}
    nested: ClassVar[Mapping[str, Known]] = {}

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        body = {k: v for k, v in cast("dict[str, Any]", value).items() if v is not None}
        for alias, name in cls.aliases.items():
            if alias in body:
                body.setdefault(name, body.pop(alias))
        return body


B = TypeVar("B", bound=Body)


def parse(kind: type[B], body: dict[str, Any], unknown: UnknownFields) -> B:
    """The body as `kind`.

    Raises:
        MissingParameter, InvalidType, InvalidParameter: a field is not as it must be.
        UnsupportedParameter: a known field asks for what this server does not offer.
        UnknownParameter: in strict mode, nobody knows the field.
    """
    _check_extras(kind, body, unknown)
    try:
        fields = kind.model_validate(body)
    except pydantic.ValidationError as error:
        _raise_first(error.errors(include_url=False))
    for name, known in kind.nested.items():  # by now all that is refused by name has been
        for path in unknown_in(body.get(name), known, name):
            unknown.found(path)
    return fields


def names_of(kind: type[Body]) -> Known:
    """The fields of a body that stands in another one."""
    return names(*kind.model_fields, *kind.refused, *kind.ignored, *kind.aliases)


def _check_extras(kind: type[Body], body: dict[str, Any], unknown: UnknownFields) -> None:
    for name, value in body.items():
        if name in kind.model_fields or name in kind.ignored or name in kind.aliases:
            continue
        if value is None:
            continue
        if name in kind.refused:
            if not kind.refused[name](value):
                raise UnsupportedParameter(name, "is not supported by this server.")
        else:
            unknown.found(name)


def never(_value: Any) -> bool:
    """Every value asks for something."""
    return False


def empty(value: Any) -> bool:
    """False, zero, and empty things ask for nothing."""
    return not value


_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a decimal",
    "bool_type": "a boolean",
    "string_type": "a string",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def _raise_first(errors: list[ErrorDetails]) -> NoReturn:
    raise _to_error(errors[0]) from None


def _to_error(details: ErrorDetails) -> EngineError:
    name, value, kind = path_of(details["loc"]), details["input"], details["type"]
    if kind == "missing":
        return MissingParameter(name)
    if kind in _EXPECTED:
        return InvalidType(name, _EXPECTED[kind], json_type(value))
    context = details.get("ctx", {})
    if kind == "greater_than_equal":
        return below(name, value, context["ge"])
    if kind == "greater_than":
        return below(name, value, context["gt"], exclusive=True)
    if kind == "less_than_equal":
        return above(name, value, context["le"])
    if kind == "literal_error":
        return InvalidParameter(name, value, f"expected {context['expected']}.")
    return InvalidParameter(name, value, f"{details['msg']}.")


def below(name: str, value: float, minimum: float, *, exclusive: bool = False) -> InvalidParameter:
    """A number is under its least value, or at it where that is `exclusive`."""
    reason = _crossed("below minimum", ">" if exclusive else ">=", value, minimum)
    return InvalidParameter(name, _like(value, minimum), reason, minimum=minimum)


def above(name: str, value: float, maximum: float) -> InvalidParameter:
    """A number is over its greatest value."""
    reason = _crossed("above maximum", "<=", value, maximum)
    return InvalidParameter(name, _like(value, maximum), reason, maximum=maximum)


def _crossed(how: str, relation: str, value: float, bound: float) -> str:
    shown = f"{bound:g}" if isinstance(bound, float) else bound
    return (
        f"{_number_kind(value, bound)} {how} value. "
        f"Expected a value {relation} {shown}, but got {value} instead."
    )


def _number_kind(value: float, bound: float) -> str:
    return "integer" if isinstance(_like(value, bound), int) else "decimal"


def _like(value: float, bound: float) -> float:
    """The value as the kind of number that its field holds: the bound shows which."""
    return float(value) if isinstance(bound, float) and abs(value) < 2**53 else value


def path_of(location: tuple[int | str, ...]) -> str:
    """`("messages", 0, "role")` as `messages[0].role`."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.lstrip(".")


@functools.cache
def schema_of(kind: type[Body]) -> dict[str, Any]:
    """The JSON schema of a request body, with every reference resolved in place."""
    schema = kind.model_json_schema()
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(item) for item in cast("list[Any]", node)]
        if not isinstance(node, dict):
            return node
        fields = cast("dict[str, Any]", node)
        if "$ref" in fields:
            return resolve(definitions[fields["$ref"].rpartition("/")[2]])
        return {key: resolve(value) for key, value in fields.items()}

    return resolve(schema)
