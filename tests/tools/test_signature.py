"""Signatures as JSON schemas, and the conversion of arguments by them."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import functools
import inspect
import math
import pathlib
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.errors import ConfigurationError
from trunkline.tools.signature import Signature


class Unit(enum.Enum):
    CELSIUS = "c"
    FAHRENHEIT = "f"


@dataclasses.dataclass
class Place:
    """Where it is."""

    city: str
    country: str = "NO"


class Span(msgspec.Struct):
    start: datetime.date
    days: Annotated[int, msgspec.Meta(ge=1)] = 1


class Filters(TypedDict, total=False):
    indoor: bool


def everything(  # type: ignore[no-untyped-def]
    place: Place,
    text: Annotated[str, msgspec.Meta(description="what to look for")],
    days: int = 3,
    unit: Unit = Unit.CELSIUS,
    span: Span | None = None,
    filters: Filters | None = None,
    tags: list[str] | None = None,
    weights: dict[str, float] | None = None,
    *,
    mode: Literal["fast", "good"] = "fast",
    anything=None,
) -> None:
    """Look everything up.

    Args:
        text: described here too.
    """


def schema_of(function: Callable[..., Any]) -> dict[str, Any]:
    return Signature.of(function).parameters


def test_the_schema_has_type_description_and_default_of_every_parameter() -> None:
    schema = schema_of(everything)
    properties = schema["properties"]
    assert schema["type"] == "object"
    assert schema["required"] == ["place", "text"]
    assert schema["additionalProperties"] is False
    assert list(properties) == list(inspect.signature(everything).parameters)
    assert properties["text"] == {"type": "string", "description": "what to look for"}
    assert properties["days"] == {"type": "integer", "default": 3}
    assert properties["unit"] == {"$ref": "#/$defs/Unit", "default": "c"}
    assert properties["mode"] == {"enum": ["fast", "good"], "default": "fast"}
    assert properties["tags"]["anyOf"] == [{"type": "array", "items": {"type": "string"}}, {"type": "null"}]
    assert properties["anything"] == {"default": None}


def references(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        inner = {reference for value in schema.values() for reference in references(value)}
        return inner | {schema["$ref"]} if "$ref" in schema else inner
    if isinstance(schema, list):
        return {reference for value in schema for reference in references(value)}
    return set()


def test_every_reference_resolves_within_the_schema() -> None:
    schema = schema_of(everything)
    found = references(schema)
    assert {"#/$defs/Place", "#/$defs/Unit", "#/$defs/Span", "#/$defs/Filters"} <= found
    assert {f"#/$defs/{name}" for name in schema["$defs"]} == found
    assert schema["$defs"]["Place"]["description"] == "Where it is."


def test_the_description_is_the_docstring_without_its_parameters() -> None:
    assert Signature.of(everything).description == "Look everything up."


def test_a_function_without_parameters_has_an_empty_object() -> None:
    def now() -> str:
        return ""

    assert schema_of(now) == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }
    assert Signature.of(now).description == ""


def test_a_type_named_like_the_librarys_own_does_not_collide() -> None:
    class Arguments(msgspec.Struct):
        value: int

    def use(arguments: list[Any], one: Any) -> None:
        pass

    use.__annotations__["one"] = Arguments
    signature = Signature.of(use)
    assert references(signature.parameters) == {f"#/$defs/{name}" for name in signature.parameters["$defs"]}
    assert signature.keywords('{"arguments":[],"one":{"value":1}}')["one"] == Arguments(1)


# --- kinds of callables -----------------------------------------------------------------------------------


class Service:
    """A service."""

    def find(self, text: str, limit: int = 3) -> str:
        """Find it."""
        return text * limit

    async def fetch(self, text: str) -> str:
        return text

    @staticmethod
    def plain(text: str) -> str:
        return text

    @classmethod
    def made(cls, text: str) -> str:
        return text

    def __call__(self, text: str) -> str:
        return text


class AsyncService:
    async def __call__(self, text: str) -> str:
        """Ask it."""
        return text


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    ("function", "name", "description", "is_async"),
    [
        (Service().find, "find", "Find it.", False),
        (Service().fetch, "fetch", "", True),
        (Service.plain, "plain", "", False),
        (Service.made, "made", "", False),
        (Service(), "Service", "A service.", False),
        (AsyncService(), "AsyncService", "Ask it.", True),
        (functools.partial(Service().find, limit=1), "find", "Find it.", False),
        (functools.partial(AsyncService()), "AsyncService", "Ask it.", True),
        (functools.partial(functools.partial(Service.find, Service()), limit=1), "find", "Find it.", False),
        (logged(Service().find), "find", "Find it.", False),
        (lambda text: text, None, "", False),
    ],
)
def test_every_kind_of_callable_has_a_signature(
    function: Callable[..., Any], name: str | None, description: str, is_async: bool
) -> None:
    signature = Signature.of(function)
    assert (signature.name, signature.description, signature.is_async) == (name, description, is_async)
    assert signature.parameters["required"] == ["text"]
    assert signature.keywords('{"text":"a"}') == {"text": "a"}


def test_bound_arguments_of_a_partial_are_not_in_the_schema() -> None:
    def search(database: object, text: str, table: object = None, limit: int = 3) -> None:
        pass

    bound = functools.partial(functools.partial(search, object()), table=object())
    assert list(schema_of(bound)["properties"]) == ["text", "limit"]
    assert Signature.of(bound).keywords('{"text":"a","limit":1}') == {"text": "a", "limit": 1}


def positional(text: str, /, other: str) -> None: ...
def star(text: str, *rest: str) -> None: ...
def double_star(text: str, **rest: int) -> None: ...
def unknown(text: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def path(where: pathlib.Path) -> None: ...
def ambiguous(which: Place | Span) -> None: ...


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (positional, ["parameter text of positional", "positional-only", "remove the /"]),
        (star, ["parameter *rest of star", "one list parameter"]),
        (double_star, ["parameter **rest of double_star", "one dict"]),
        (unknown, ["unknown", "Nowhere", "module level"]),
        (path, ["parameter where of path", "pathlib", "dataclass"]),
        (ambiguous, ["parameter which of ambiguous", "dict-like"]),
        (Service.find, ["Service.find", "method of an instance"]),
        (Service, ["Service is a class", "callable instance"]),
        (functools.partial(Service), ["Service is a class"]),
        (math.hypot, ["hypot"]),
        (len, ["len", "positional-only"]),
    ],
)
def test_a_callable_that_json_cannot_call_is_refused_with_a_remedy(
    function: Callable[..., Any], words: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Signature.of(function)
    assert [word for word in words if word not in str(raised.value)] == []


# --- arguments -------------------------------------------------------------------------------------------


def test_arguments_are_converted_to_the_types_of_the_function() -> None:
    keywords = Signature.of(everything).keywords(
        '{"place":{"city":"Oslo"},"text":"x","unit":"f","span":{"start":"2026-01-02","days":2},'
        '"filters":{"indoor":true},"weights":{"a":1},"mode":"good","anything":[1,{"b":null}]}'
    )
    assert keywords == {
        "place": Place("Oslo"),
        "text": "x",
        "unit": Unit.FAHRENHEIT,
        "span": Span(datetime.date(2026, 1, 2), 2),
        "filters": {"indoor": True},
        "weights": {"a": 1.0},
        "mode": "good",
        "anything": [1, {"b": None}],
    }


def test_defaults_are_left_to_the_function() -> None:
    sentinel = object()

    def choose(first: Any = sentinel, second: list[int] = [1, 2], third: int | None = None) -> None:  # noqa: B006
        pass

    signature = Signature.of(choose)
    assert signature.keywords("{}") == {}
    assert signature.keywords('{"third":null}') == {"third": None}
    assert signature.parameters["properties"] == {
        "first": {},
        "second": {"type": "array", "items": {"type": "integer"}, "default": [1, 2]},
        "third": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
    }


@pytest.mark.parametrize("nothing", ["", " \n", "{}", "null"])
def test_no_arguments_are_an_empty_object(nothing: str) -> None:
    def now(zone: str = "UTC") -> None:
        pass

    assert Signature.of(now).keywords(nothing) == {}


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ('{"place":{"city":1},"text":"x"}', "$.place.city"),
        ('{"place":{"city":"Oslo"}}', "`text`"),
        ('{"place":{"city":"Oslo"},"text":"x","days":"3"}', "$.days"),
        ('{"place":{"city":"Oslo"},"text":"x","days":null}', "$.days"),
        ('{"place":{"city":"Oslo"},"text":"x","made_up":1}', "made_up"),
        ('{"place":{"city":"Oslo"},"text":"x","unit":"k"}', "$.unit"),
        ('{"place":{"city":"Oslo"},"text":"x","span":{"start":"2026-01-02","days":0}}', "$.span.days"),
        ("[]", "object"),
        ("{", "truncated"),
        ("", "place"),
        ('{"place":' + '{"city":' * 100_000, "place"),
        ('{"anything":' + "[" * 100_000, "nested too deeply"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_their_path(arguments: str, where: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is checked below
        Signature.of(everything).keywords(arguments)
    assert where in str(raised.value)


def test_whole_floats_are_integers_and_half_surrogates_are_replaced() -> None:
    def look(days: int, share: float, words: list[str]) -> None: ...

    keywords = Signature.of(look).keywords
    assert keywords('{"days":5.0,"share":1.5,"words":["\\ud83d","\\ud83d\\ude00"]}') == {
        "days": 5,
        "share": 1.5,
        "words": ["\ufffd", "😀"],
    }
    assert keywords('{"days":1,"share":2,"words":["\ud83d"]}')["words"] == ["\ufffd"]
    with pytest.raises(ValueError, match=r"\$\.days"):
        keywords('{"days":5.5,"share":1,"words":[]}')


@given(st.text(st.characters(categories=["L", "N", "P"])), st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_any_fitting_arguments_are_converted(text: str, days: int, more: bool) -> None:
    arguments = {"place": {"city": text}, "text": text} | ({"days": days} if more else {})
    keywords = Signature.of(everything).keywords(msgspec.json.encode(arguments).decode())
    assert keywords == {"place": Place(text), "text": text} | ({"days": days} if more else {})
