"""Results of tools as text."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import ipaddress
import pathlib
import uuid
from types import MappingProxyType
from typing import Any

import msgspec
import pydantic
import pytest

from trunkline.tools.result import result_text


class Point(msgspec.Struct):
    x: int


@dataclasses.dataclass
class Pair:
    left: str
    right: list[Any]


class Colour(enum.StrEnum):
    RED = "red"


class Place(pydantic.BaseModel):
    city: str
    since: datetime.date | None = None
    near: list[Place] = []


class Places(pydantic.RootModel[list[Place]]):
    pass


class Words(str):
    pass


class Share(float):
    pass


OSLO = Place(city="Oslo")
OSLO_TEXT = '{"city":"Oslo","since":null,"near":[]}'


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("as it is", "as it is"),
        ("", ""),
        ("grün 🌲", "grün 🌲"),
        ("half \ud83d", "half \ufffd"),
        (Colour.RED, "red"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        ({1: (2, 3)}, '{"1":[2,3]}'),
        (Pair("l", [Point(1)]), '{"left":"l","right":[{"x":1}]}'),
        (
            {"half": "\ud83d", "pair": "\ud83d\ude00", "at": datetime.date(2026, 1, 2)},
            '{"half":"\ufffd","pair":"😀","at":"2026-01-02"}',
        ),
        (OSLO, OSLO_TEXT),
        (
            Place(city="Rome", since=datetime.date(2026, 1, 2), near=[OSLO]),
            '{"city":"Rome","since":"2026-01-02","near":[' + OSLO_TEXT + "]}",
        ),
        (Places([OSLO]), f"[{OSLO_TEXT}]"),
        (
            {"places": [OSLO], "best": {"one": OSLO}},
            '{"places":[' + OSLO_TEXT + '],"best":{"one":' + OSLO_TEXT + "}}",
        ),
        (Pair("l", [OSLO]), '{"left":"l","right":[' + OSLO_TEXT + "]}"),
        (pydantic.SecretStr("hidden"), '"**********"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        (uuid.UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        ({"a"}, '["a"]'),
        ([Colour.RED], '["red"]'),
        (pathlib.PurePosixPath("data/x"), '"data/x"'),
        ({pathlib.PurePosixPath("x"): 1}, '{"x":1}'),
        ({None: 1, True: 2, (1, 2): 3, 1.5: 4}, '{"null":1,"true":2,"(1, 2)":3,"1.5":4}'),
        ([Share(0.5), {Words("w"): Words("v")}], '[0.5,{"w":"v"}]'),
        (MappingProxyType({"a": OSLO}), '{"a":' + OSLO_TEXT + "}"),
        (collections.deque([1]), "[1]"),
        ({"a": 1}.values(), "[1]"),
        (range(2), "[0,1]"),
        (array.array("i", [1]), "[1]"),
        (ipaddress.ip_address("::1"), '"::1"'),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), '"2026-01-02T00:00:00Z"'),
    ],
)
def test_results_are_text_or_json(result: Any, text: str) -> None:
    assert result_text(result) == text


@pytest.mark.parametrize("result", [object(), [object()], ValueError("secret"), Place, (x for x in "ab")])
def test_an_object_that_offers_nothing_is_refused(result: Any) -> None:
    with pytest.raises(TypeError) as raised:
        result_text(result)
    assert "secret" not in str(raised.value)
