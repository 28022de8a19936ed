"""Tools with ``strict=True``, whose schema the service enforces."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pytest

import trunkline
from trunkline.errors import ConfigurationError
from trunkline.tools import FunctionTool


@dataclasses.dataclass
class Place:
    city: str
    country: str = "NO"


@trunkline.tool(strict=True)
def look(
    place: Place,
    days: int = 3,
    limit: int | None = None,
    mode: Literal["a", "b"] = "a",
    other: Place | None = None,
) -> str:
    """Look it up.

    Args:
        place: where
    """
    return f"{place.city} {days} {limit} {mode} {other}"


def test_every_property_is_required_and_no_other_is_allowed() -> None:
    definition = FunctionTool.of(look).definition
    assert definition["strict"] is True
    nullable_place = {"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]}
    assert definition["parameters"] == {
        "type": "object",
        "properties": {
            "place": {"anyOf": [{"$ref": "#/$defs/Place"}], "description": "where"},
            "days": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "mode": {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]},
            "other": nullable_place,
        },
        "required": ["place", "days", "limit", "mode", "other"],
        "additionalProperties": False,
        "$defs": {
            "Place": {
                "title": "Place",
                "type": "object",
                "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
                "required": ["city", "country"],
                "additionalProperties": False,
            }
        },
    }


async def test_null_means_the_default_of_the_function() -> None:
    arguments = {
        "place": {"city": "Oslo", "country": "NO"},
        "days": None,
        "limit": None,
        "mode": None,
        "other": None,
    }
    text = msgspec.json.encode(arguments).decode()
    assert await FunctionTool.of(look).call(text, timeout_s=30) == "Oslo 3 None a None"


def free(weights: dict[str, float]) -> None: ...
def anything(value: Any) -> None: ...
def bare(values: list) -> None: ...  # type: ignore[type-arg]


@pytest.mark.parametrize(
    ("function", "words"),
    [(free, "weights takes keys"), (anything, "value takes anything"), (bare, "values takes anything")],
)
def test_an_unenforceable_schema_is_refused(function: Callable[..., Any], words: str) -> None:
    assert FunctionTool.of(function)
    trunkline.tool(strict=True)(function)
    with pytest.raises(ConfigurationError, match=words):
        FunctionTool.of(function)
