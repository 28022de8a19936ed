from __future__ import annotations

import enum
import json
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings

from trunkline._protocol.json import copy_json, decode, encode, repaired, root, settle
from trunkline.errors import ConfigurationError

from ..json_values import JSON_VALUES, whole


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Share(float):
    pass


def as_json(value: object) -> Any:
    """The value as the standard library encodes and decodes it."""
    return json.loads(json.dumps(value))


@settings(max_examples=200, deadline=None)
@given(JSON_VALUES)
def test_encoding_any_json_and_reading_it_changes_half_surrogates_alone(
    value: Any,
) -> None:
    assert repr(json.loads(encode(value))) == repr(whole(as_json(value)))


@settings(max_examples=200, deadline=None)
@given(JSON_VALUES)
def test_decoding_agrees_with_the_standard_library_but_for_half_surrogates(value: Any) -> None:
    assert repr(decode(json.dumps(value).encode())) == repr(whole(as_json(value)))


def test_the_shortest_form_is_made() -> None:
    assert encode({"a": [1, "é", None, True]}) == '{"a":[1,"é",null,true]}'.encode()


@pytest.mark.parametrize("data", [b"", b"NaN", b"{", b'"\xff"', b"9" * 5000, b'"\\ud800" NaN', b"{]"])
def test_data_that_cannot_be_decoded_raises_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(data)


def test_settled_json_is_what_the_encoding_says() -> None:
    plain = {"a": ["é", 1]}
    assert settle(plain) == (plain, encode(plain))
    assert settle(plain)[0] is plain
    for odd in ({"a": "\ud83d\ude00 \ud83d", "\ude00": 2**80}, {"n": 2**80}):
        value, encoded = settle(odd)
        assert value == json.loads(encoded) == whole(odd)


def test_half_surrogates_are_replaced_and_pairs_are_kept() -> None:
    assert json.loads(repaired(b'"\\ud83d\\ude00 \\ud83d \\ude00"')) == "\U0001f600 \ufffd \ufffd"


@settings(max_examples=200, deadline=None)
@given(JSON_VALUES)
def test_a_copy_is_equal_and_shares_no_container(value: Any) -> None:
    copied, _ = copy_json(value, "input")
    assert repr(copied) == repr(value)

    def shared(left: Any, right: Any) -> bool:
        if isinstance(left, dict):
            return left is right or any(shared(left[key], right[key]) for key in left)
        if isinstance(left, list):
            return left is right or any(map(shared, left, right))
        return False

    assert not shared(copied, value)


@pytest.mark.parametrize(
    ("value", "has_numbers"),
    [
        ({"a": "b"}, False),
        ({"a": [None]}, False),
        ({"a": [1]}, True),
        ({"a": {"b": True}}, True),
        (0.5, True),
    ],
)
def test_numbers_and_booleans_are_noticed(value: object, has_numbers: bool) -> None:
    assert copy_json(value, "input")[1] is has_numbers


def test_subclasses_become_their_base_types() -> None:
    given = MappingProxyType(
        {Colour.RED: Colour.RED, "level": Level.LOW, "share": Share(0.5), "pair": ("a", [])}
    )
    copied, _ = copy_json(OrderedDict(given), "input")
    assert copied == {"red": "red", "level": 1, "share": 0.5, "pair": ["a", []]}
    assert [type(part) for part in (*copied, *copied.values())] == [str] * 5 + [int, float, list]
    assert encode(copied) == b'{"red":"red","level":1,"share":0.5,"pair":["a",[]]}'


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: {"content": [{"image": b"x"}]}, "input[2].content[0].image is a bytes"),
        (lambda: {"when": datetime(2026, 1, 1)}, "input[2].when is a datetime"),
        (lambda: {"n": float("nan")}, "input[2].n is a number out of range"),
        (lambda: {"n": float("-inf")}, "input[2].n is a number out of range"),
        (lambda: {"n": 10**5000}, "input[2].n is a number out of range"),
        (lambda: {"n": -(10**5000)}, "input[2].n is a number out of range"),
        (lambda: {"tags": {"a"}}, "input[2].tags is a set"),
        (lambda: {"call": print}, "input[2].call is a builtin_function_or_method"),
        (lambda: {"deep": {5: "x"}}, "input[2].deep has a key of type int"),
        (lambda: {None: "x"}, "input[2] has a key of type NoneType"),
        (lambda: 1j, "input[2] is a complex"),
    ],
)
def test_a_value_that_is_not_json_is_refused_with_its_path_and_type(
    make: Callable[[], object], problem: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        copy_json(make(), "input[2]")
    assert str(caught.value).startswith(problem)
    assert "JSON" in str(caught.value)
    assert caught.value.argument == "input"


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = [loop]
    with pytest.raises(ConfigurationError, match="input is nested too deeply"):
        copy_json(loop, "input")


def test_every_number_that_passes_can_be_written_and_read() -> None:
    largest = 2**14_000 - 1
    copied, _ = copy_json([largest, -largest], "input")
    assert json.loads(encode(copied)) == [largest, -largest]


@pytest.mark.parametrize(
    ("where", "argument"), [("input", "input"), ("input[3].content[0]", "input"), ("tools.a[1]", "tools")]
)
def test_a_place_is_in_an_argument(where: str, argument: str) -> None:
    assert root(where) == argument
