"""Descriptions, constraints, defaults and models of parameters reach the schema."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

import msgspec
import pydantic
import pytest

from trunkline.errors import ConfigurationError
from trunkline.tools.signature import Signature


class Doc:
    """As `typing_extensions.Doc`."""

    def __init__(self, documentation: str) -> None:
        self.documentation = documentation


class Unit(enum.Enum):
    CELSIUS = "c"


class Place(pydantic.BaseModel):
    """A place."""

    city: str = pydantic.Field(description="its name")
    since: datetime.date | None = None
    near: Place | None = None


class Filters(TypedDict, total=False):
    indoor: Required[Annotated[bool, "under a roof"]]
    most: NotRequired[Annotated[int, pydantic.Field(description="at most so many")]]


@dataclasses.dataclass
class Search:
    text: Annotated[str, "what to look for"]
    filters: Filters | None = None


def properties_of(function: Callable[..., Any]) -> dict[str, Any]:
    properties: dict[str, Any] = Signature.of(function).parameters["properties"]
    return properties


def test_every_way_to_describe_a_parameter_reaches_the_schema() -> None:
    def look(
        plain: Annotated[str, "described"],
        doc: Annotated[str, Doc("described")],
        field: Annotated[str, pydantic.Field(description="described")],
        meta: Annotated[str, msgspec.Meta(description="described")],
        both: Annotated[str, "ignored", msgspec.Meta(description="described")],
        written: str,
        default: str = pydantic.Field(description="described"),
        optional: Annotated[int | None, "described"] = None,
        literal: Annotated[Literal["a"], "described"] = "a",
        unit: Annotated[Unit, "described"] = Unit.CELSIUS,
        number: Annotated[decimal.Decimal, pydantic.Field(description="described", ge=0)] = decimal.Decimal(
            1
        ),
        model: Annotated[Place | None, "described"] = None,
    ) -> None:
        """Look it up.

        Args:
            written: described
            meta: less important than the annotation
        """

    properties = properties_of(look)
    assert len(properties) == 12
    assert [name for name, shape in properties.items() if shape.get("description") != "described"] == []
    assert Signature.of(look).description == "Look it up."


def test_descriptions_within_types_reach_the_schema() -> None:
    def look(search: Search, words: list[Annotated[str, "one word"]]) -> None: ...

    schema = Signature.of(look).parameters
    assert schema["properties"]["words"]["items"] == {"type": "string", "description": "one word"}
    assert schema["$defs"]["Search"]["properties"]["text"]["description"] == "what to look for"
    filters = schema["$defs"]["Filters"]["properties"]
    assert filters["indoor"]["description"] == "under a roof"
    assert filters["most"]["description"] == "at most so many"


def test_constraints_of_pydantic_are_shown_and_checked() -> None:
    def look(
        days: Annotated[int, pydantic.Field(ge=1, le=7, examples=[3])],
        limit: Annotated[int | None, pydantic.Field(gt=0)] = None,
        word: str = pydantic.Field("a", min_length=1, pattern="^a"),
    ) -> None: ...

    assert properties_of(look) == {
        "days": {"type": "integer", "minimum": 1, "maximum": 7, "examples": [3]},
        "limit": {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "null"}], "default": None},
        "word": {"type": "string", "minLength": 1, "pattern": "^a", "default": "a"},
    }
    signature = Signature.of(look)
    for arguments in ('{"days":8}', '{"days":1,"limit":0}', '{"days":1,"word":"b"}'):
        with pytest.raises(ValueError, match=r"Expected"):
            signature.keywords(arguments)


def test_defaults_of_fields_are_passed_to_the_function() -> None:
    def look(
        city: str = pydantic.Field(description="required"),
        days: int = pydantic.Field(3),
        words: list[str] = pydantic.Field(default_factory=list),  # noqa: B008
        unit: Annotated[str, pydantic.Field(default="c")] = "f",
    ) -> None: ...

    signature = Signature.of(look)
    assert signature.parameters["required"] == ["city"]
    assert signature.parameters["properties"]["words"]["default"] == []
    first, second = (signature.keywords('{"city":"Oslo"}') for _ in range(2))
    assert first == {"city": "Oslo", "days": 3, "words": []}
    assert first["words"] is not second["words"]
    assert signature.keywords('{"city":"Oslo","days":1}')["days"] == 1


def test_models_are_parameters() -> None:
    def look(place: Place, others: list[Place], best: Place | None = None) -> None: ...

    signature = Signature.of(look)
    schema = signature.parameters
    assert schema["properties"]["place"] == {"$ref": "#/$defs/Place"}
    assert schema["$defs"]["Place"]["properties"]["city"]["description"] == "its name"
    keywords = signature.keywords(
        '{"place":{"city":"Oslo","since":"2026-01-02","near":{"city":"Moss"}},"others":[{"city":"Rome"}]}'
    )
    oslo = Place(city="Oslo", since=datetime.date(2026, 1, 2), near=Place(city="Moss"))
    assert keywords == {"place": oslo, "others": [Place(city="Rome")]}


def test_arguments_that_do_not_fit_a_model_are_refused_with_their_path() -> None:
    def look(others: list[Place]) -> None: ...

    with pytest.raises(ValueError, match=r"near\.city: .*valid string.*\$\.others\[0\]") as raised:
        Signature.of(look).keywords('{"others":[{"city":"Oslo","near":{"city":1}}]}')
    assert "pydantic.dev" not in str(raised.value)


def test_two_types_of_one_name_are_refused() -> None:
    other = pydantic.create_model("Search", word=(str, ...))

    class Outer(pydantic.BaseModel):
        inner: other  # type: ignore[valid-type]

    def look(search: Search, outer: Any) -> None: ...

    look.__annotations__["outer"] = Outer
    with pytest.raises(ConfigurationError, match="look are named Search: rename one"):
        Signature.of(look)
