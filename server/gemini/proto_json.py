"""JSON as protobuf clients write it, read into typed records.

A record is a frozen `msgspec.Struct` whose annotations say how each field is read; every field has
a default. Google's own clients mix camelCase with snake_case, write integers as `40.0` or `"5"`
and enums as names of any case or as numbers, send null for "unset" and one object where a list is
meant: all of it is read here, once. A field annotated `object` is free-form: its inside is left as
it came. Knows nothing of what any field means.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, ClassVar, TypeVar, cast

import msgspec

from engine import InvalidRequest
from server.unknown_fields import UnknownFields

INT64 = (-(2**63), 2**63 - 1)
_INTEGER = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|NaN|-?Infinity")
_SHOWN = 60  # characters of a bad value that go back in its error

RecordT = TypeVar("RecordT", bound="Record")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all messages. `ALIASES` maps further names a field may arrive under to its own."""

    ALIASES: ClassVar[Mapping[str, str]] = {}


class Place(msgspec.Struct, frozen=True):
    """Where in the request a value stands, for errors: `contents[0].parts`; "" is the root.

    `unknown` is told of unknown field names.
    """

    path: str
    unknown: UnknownFields

    def field(self, name: str) -> Place:
        """The place of a field of this one."""
        return Place(f"{self.path}.{name}" if self.path else name, self.unknown)

    def item(self, index: int) -> Place:
        """The place of an element of this one."""
        return Place(f"{self.path}[{index}]", self.unknown)


Reader = Callable[[Any, Place], Any]


def read(kind: type[RecordT], value: object, unknown: UnknownFields) -> RecordT:
    """Read a decoded JSON object as a `kind`.

    Raises:
        InvalidRequest: a value doesn't fit its field, or a name is `unknown` and that is refused;
            its `parameter` is the field's path in snake_case.
    """
    return _read_record(kind, value, Place("", unknown))


def _invalid(at: Place, kind: str, value: object) -> InvalidRequest:
    shown = json.dumps(value, ensure_ascii=False)
    if len(shown) > _SHOWN:
        shown = shown[:_SHOWN] + "..."
    where = f" at '{at.path}'" if at.path else ""
    return InvalidRequest(f"Invalid value{where} ({kind}), {shown}", at.path or None)


def _read_record(kind: type[RecordT], value: object, at: Place) -> RecordT:
    if not isinstance(value, dict):
        raise _invalid(at, f"a {kind.__name__} object", value)
    names, readers = _fields_of(kind)
    found: dict[str, object] = {}
    for key, item in cast("dict[str, object]", value).items():
        name = names.get(key)
        if name is None:
            at.unknown.found(at.field(key).path, _unknown(at, key))
        elif item is not None:
            found[name] = readers[name](item, at.field(name))
    return kind(**found)


def _unknown(at: Place, key: str) -> InvalidRequest:
    where = f" at '{at.path}'" if at.path else ""
    return InvalidRequest(
        f'Invalid JSON payload received. Unknown name "{key[:_SHOWN]}"{where}: Cannot find field.',
        at.path or None,
    )


@cache
def _fields_of(kind: type[Record]) -> tuple[Mapping[str, str], Mapping[str, Reader]]:
    """Accepted key -> field name, and field name -> reader, of one record type."""
    hints = typing.get_type_hints(kind)
    fields = [name for name in kind.__struct_fields__]
    names = {name: name for name in fields} | {_camel(name): name for name in fields}
    return names | dict(kind.ALIASES), {name: _reader_of(hints[name]) for name in fields}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _reader_of(hint: Any) -> Reader:
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # `X | None`, or `Record | str`
        options = [option for option in arguments if option is not types.NoneType]
        return _union(options)
    if origin is tuple:
        return partial(_read_repeated, _reader_of(arguments[0]))
    if origin is dict:
        return partial(_read_map, _reader_of(arguments[0]), _reader_of(arguments[1]))
    if issubclass(hint, enum.IntEnum):
        return partial(_read_enum, hint)
    return partial(_read_record, hint)


def _union(options: list[Any]) -> Reader:
    if len(options) == 1:
        return _reader_of(options[0])
    record = next(_reader_of(option) for option in options if option is not str)
    return lambda value, at: value if isinstance(value, str) else record(value, at)


def _read_repeated(reader: Reader, value: object, at: Place) -> tuple[object, ...]:
    if not isinstance(value, list):  # one value stands for a list of one
        return (reader(value, at),)
    items = cast("list[object]", value)
    return tuple(reader(item, at.item(i)) for i, item in enumerate(items) if item is not None)


def _read_map(key: Reader, item: Reader, value: object, at: Place) -> dict[object, object]:
    if not isinstance(value, dict):
        raise _invalid(at, "TYPE_MESSAGE", value)
    pairs = cast("dict[str, object]", value).items()
    return {key(name, at): item(entry, at) for name, entry in pairs}


def _read_free(value: object, at: Place) -> object:
    return value


def _read_string(value: object, at: Place) -> str:
    if not isinstance(value, str):
        raise _invalid(at, "TYPE_STRING", value)
    return value


def _read_bool(value: object, at: Place) -> bool:
    if not isinstance(value, bool):
        raise _invalid(at, "TYPE_BOOL", value)
    return value


def _read_float(value: object, at: Place) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _invalid(at, "TYPE_FLOAT", value)
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise _invalid(at, "TYPE_FLOAT", value)
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        raise _invalid(at, "TYPE_FLOAT", value) from None


def _read_int(value: object, at: Place) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        decimal = _read_float(value, at)
        if not decimal.is_integer():
            raise _invalid(at, "TYPE_INT64", value)
        number = int(decimal)
    if not INT64[0] <= number <= INT64[1]:
        raise _invalid(at, "TYPE_INT64", value)
    return number


def _read_bytes(value: object, at: Place) -> bytes:
    text = _read_string(value, at).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid(at, "TYPE_BYTES", value) from None


def _read_enum(kind: type[enum.IntEnum], value: object, at: Place) -> enum.IntEnum:
    if isinstance(value, str) and value.upper() in kind.__members__:
        return kind[value.upper()]
    try:
        return kind(_read_int(value, at))
    except (InvalidRequest, ValueError):
        raise _invalid(at, kind.__name__, value) from None


_SCALARS: dict[Any, Reader] = {
    object: _read_free,
    str: _read_string,
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    bytes: _read_bytes,
}
