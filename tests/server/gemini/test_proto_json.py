"""What the reader takes for a message, and what it refuses."""

from __future__ import annotations

import enum

import pytest

from engine.errors import InvalidRequest
from server.gemini import proto_json
from server.gemini.proto_json import Record, RecordT
from server.unknown_fields import UnknownFields


def read(kind: type[RecordT], value: object, *, strict: bool = False) -> RecordT:
    return proto_json.read(kind, value, UnknownFields(strict=strict))


class Color(enum.IntEnum):
    RED = 1
    DEEP_BLUE = 2


class Inner(Record, frozen=True):
    some_text: str = ""
    anything: object = None


class Outer(Record, frozen=True):
    an_int: int | None = None
    a_float: float | None = None
    a_bool: bool = False
    some_bytes: bytes = b""
    color: Color | None = None
    colors: tuple[Color, ...] = ()
    inner: Inner = Inner()
    many_inner: tuple[Inner, ...] = ()
    inner_or_text: Inner | str | None = None
    weights: dict[int, float] | None = None


def test_g21_both_spellings_mix_at_every_depth() -> None:
    body = {"anInt": 1, "a_float": 2, "many_inner": [{"someText": "a"}, {"some_text": "b"}]}
    outer = read(Outer, body)
    assert (outer.an_int, outer.a_float) == (1, 2.0)
    assert [inner.some_text for inner in outer.many_inner] == ["a", "b"]


def test_free_form_fields_are_left_alone() -> None:
    free = {"camelCase": {"snake_case": None}}
    assert read(Outer, {"inner": {"anything": free}}).inner.anything == free


@pytest.mark.parametrize("value", [40, 40.0, "40", "40.0", "4e1"])
def test_g22_integers_of_all_spellings(value: object) -> None:
    result = read(Outer, {"anInt": value}).an_int
    assert result == 40 and isinstance(result, int)


@pytest.mark.parametrize("value", [0.5, "0.5", "5e-1"])
def test_floats_as_strings(value: object) -> None:
    assert read(Outer, {"aFloat": value}).a_float == 0.5


@pytest.mark.parametrize("value", ["DEEP_BLUE", "deep_blue", "Deep_Blue", 2, 2.0, "2"])
def test_g23_enums_by_name_and_number(value: object) -> None:
    assert read(Outer, {"color": value}).color is Color.DEEP_BLUE


@pytest.mark.parametrize("value", ["-_8=", "-_8", "+/8=", "+/8"])
def test_g24_bytes_in_both_alphabets(value: str) -> None:
    assert read(Outer, {"someBytes": value}).some_bytes == b"\xfb\xff"


def test_g25_null_is_unset_everywhere() -> None:
    nulls = dict.fromkeys(Outer.__struct_fields__)
    assert read(Outer, nulls) == Outer()
    assert read(Outer, {"manyInner": [None, {"someText": None}]}).many_inner == (Inner(),)


def test_one_value_stands_for_a_list_of_one() -> None:
    assert read(Outer, {"manyInner": {"someText": "a"}, "colors": "red"}) == Outer(
        many_inner=(Inner(some_text="a"),), colors=(Color.RED,)
    )


def test_a_message_or_a_bare_string() -> None:
    assert read(Outer, {"innerOrText": "plain"}).inner_or_text == "plain"
    assert read(Outer, {"innerOrText": {"someText": "x"}}).inner_or_text == Inner(some_text="x")


def test_maps_with_integer_keys() -> None:
    assert read(Outer, {"weights": {"7": "-1.5", "8": 2}}).weights == {7: -1.5, 8: 2.0}


def test_g27_unknown_names_are_ignored_or_named_when_strict() -> None:
    body = {"manyInner": [{"colour": 1}]}
    assert read(Outer, body).many_inner == (Inner(),)
    with pytest.raises(InvalidRequest, match=r"Unknown name \"colour\" at 'many_inner\[0\]'") as e:
        read(Outer, body, strict=True)
    assert e.value.parameter == "many_inner[0]"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ([], None),
        ({"anInt": 1.5}, "an_int"),
        ({"anInt": True}, "an_int"),
        ({"anInt": "1_000"}, "an_int"),
        ({"anInt": 2**63}, "an_int"),
        ({"anInt": "inf"}, "an_int"),
        ({"anInt": "Infinity"}, "an_int"),
        ({"aFloat": "much"}, "a_float"),
        ({"aFloat": {}}, "a_float"),
        ({"aBool": 1}, "a_bool"),
        ({"someBytes": "a"}, "some_bytes"),
        ({"someBytes": "ä"}, "some_bytes"),
        ({"color": "green"}, "color"),
        ({"color": 9}, "color"),
        ({"color": []}, "color"),
        ({"inner": "x" * 1000}, "inner"),
        ({"inner": {"someText": 1}}, "inner.some_text"),
        ({"manyInner": [{}, {"someText": []}]}, "many_inner[1].some_text"),
        ({"weights": {"x": 1}}, "weights"),
        ({"weights": []}, "weights"),
    ],
)
def test_bad_values_are_refused_by_their_path(body: object, place: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(Outer, body)
    assert caught.value.parameter == place
    assert len(caught.value.message) < 200
