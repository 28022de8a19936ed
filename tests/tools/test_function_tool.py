"""Tools: what the model sees of them, and what comes back when it calls."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import datetime
import enum
import functools
import gc
import json
import threading
import weakref
from collections.abc import Awaitable, Callable, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

import trunkline
from trunkline.errors import ConfigurationError
from trunkline.tools import FunctionTool, Toolbox, tool


def get_weather(city: str, days: int = 1) -> str:
    """The weather of a city."""
    return f"{city}: sunny for {days} d"


async def call(function: Callable[..., Any], arguments: str = "{}", *, timeout_s: float = 30) -> str:
    return await FunctionTool.of(function).call(arguments, timeout_s=timeout_s)


async def error_of(function: Callable[..., Any], arguments: str = "{}", *, timeout_s: float = 30) -> str:
    result = json.loads(await call(function, arguments, timeout_s=timeout_s))
    assert list(result) == ["error"]
    assert isinstance(result["error"], str)
    return result["error"]


# --- definitions -----------------------------------------------------------------------------------------


def test_the_definition_is_the_one_of_the_api() -> None:
    made = FunctionTool.of(get_weather)
    assert made.name == "get_weather"
    assert made.timeout_s is None
    assert made.definition == {
        "type": "function",
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": False,
    }
    json.dumps(made.definition)


def test_a_function_that_says_nothing_has_no_description() -> None:
    def quiet() -> None:
        pass

    assert "description" not in FunctionTool.of(quiet).definition


def test_the_decorator_gives_settings_and_leaves_the_function_alone() -> None:
    @tool(timeout_s=5, name="weather", description="Ask me.")
    def decorated(city: str) -> str:
        """Ask somebody else."""
        return city

    assert decorated("Oslo") == "Oslo"
    made = FunctionTool.of(decorated)
    assert (made.name, made.timeout_s, made.definition["description"]) == ("weather", 5, "Ask me.")
    assert FunctionTool.of(decorated, timeout_s=1).timeout_s == 1


def test_settings_reach_through_methods_partials_and_objects() -> None:
    class Service:
        @tool(name="found")
        def find(self, text: str, limit: int) -> str:
            return text * limit

        @tool(name="called")
        def __call__(self) -> None:
            pass

    service = Service()
    assert FunctionTool.of(service.find).name == "found"
    assert FunctionTool.of(functools.partial(service.find, limit=1)).name == "found"
    assert FunctionTool.of(service).name == "called"
    outer = tool(name="outer")(functools.partial(service.find, limit=1))
    assert FunctionTool.of(outer).name == "outer"
    assert FunctionTool.of(tool(name="named")(lambda: None)).name == "named"


def test_what_cannot_hold_settings_is_refused() -> None:
    class Service:
        def find(self) -> None:
            pass

    with pytest.raises(ConfigurationError, match="in its class"):
        tool(timeout_s=1)(Service().find)


@pytest.mark.parametrize(
    "function",
    [
        lambda: None,
        tool(name="two words")(lambda: None),
        tool(name="x" * 65)(lambda: None),
        tool(name="größe")(lambda: None),
        tool(name="end\n")(lambda: None),
    ],
)
def test_a_name_that_the_service_would_refuse_is_refused_here(function: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"trunkline\.tool\(name"):
        FunctionTool.of(function)


# --- calls -----------------------------------------------------------------------------------------------


async def test_a_function_runs_in_a_thread_with_the_callers_context() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")

    def where() -> list[Any]:
        return [threading.current_thread() is threading.main_thread(), variable.get()]

    assert json.loads(await call(where)) == [False, "set"]


async def test_an_async_function_is_awaited_in_the_callers_context() -> None:
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("set")

    async def where(word: str) -> str:
        await asyncio.sleep(0)
        assert threading.current_thread() is threading.main_thread()
        return f"{word} {variable.get()}"

    class Service:
        async def __call__(self, word: str) -> str:
            return await where(word)

    def wrapper(word: str) -> Awaitable[str]:
        return where(word)

    for function in (where, Service(), functools.partial(where), wrapper):
        assert await call(function, '{"word":"is"}') == "is set"


async def test_arguments_are_given_by_name() -> None:
    assert await call(get_weather, '{"days":2,"city":"Oslo"}') == "Oslo: sunny for 2 d"
    assert await call(get_weather, '{"city":"Oslo"}') == "Oslo: sunny for 1 d"

    def keyword_only(*, a: int, b: int = 2) -> int:
        return a + b

    assert await call(keyword_only, '{"a":1}') == "3"


class Point(msgspec.Struct):
    x: int


@dataclasses.dataclass
class Pair:
    left: str
    right: list[Point]


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("result", "text"),
    [
        ("as it is", "as it is"),
        ("", ""),
        ("grün 🌲", "grün 🌲"),
        ("half \ud83d", "half ?"),
        (Colour.RED, "red"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ({"a": [1, None]}, '{"a":[1,null]}'),
        ({1: (2, 3)}, '{"1":[2,3]}'),
        (Pair("l", [Point(1)]), '{"left":"l","right":[{"x":1}]}'),
        (datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), '"2026-01-02T00:00:00Z"'),
    ],
)
async def test_results_are_text_or_json(result: Any, text: str) -> None:
    def give() -> Any:
        return result

    assert await call(give) == text


@pytest.mark.parametrize("result", [object(), {"deep": [object()]}, {"half": "\ud83d"}, lambda: None])
async def test_a_result_that_is_no_json_is_an_error_that_names_its_type(result: Any) -> None:
    def give() -> Any:
        return result

    error = await error_of(give)
    assert error.startswith("TypeError: the result of give")
    assert type(result).__name__ in error


async def test_a_result_that_contains_itself_is_an_error() -> None:
    def give() -> Any:
        circle: list[Any] = []
        circle.append(circle)
        return circle

    assert "list" in await error_of(give)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such city"), "ValueError: no such city"),
        (KeyError("city"), "KeyError: 'city'"),
        (ValueError(), "ValueError"),
        (TimeoutError("upstream"), "TimeoutError: upstream"),
        (StopIteration(1), "RuntimeError: coroutine raised StopIteration"),
        (ValueError("half \ud83d"), "ValueError: half ?"),
        (Unspeakable(), "Unspeakable"),
    ],
)
async def test_a_tool_that_raises_is_reported_to_the_model(error: Exception, text: str) -> None:
    def fail() -> None:
        raise error

    async def fail_later() -> None:
        await asyncio.sleep(0)
        raise error

    assert await error_of(fail) == text
    assert await error_of(fail_later) == text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"city":1}', "ValidationError: Expected `str`, got `int` - at `$.city`"),
        ('{"city":"Oslo","zip":1}', "ValidationError: Object contains unknown field `zip`"),
        ("", "ValidationError: Object missing required field `city`"),
        ("{", "DecodeError: Input data was truncated"),
        ('{"city":"\ud83d"}', "UnicodeEncodeError"),
    ],
)
async def test_arguments_that_do_not_fit_are_reported_to_the_model(arguments: str, text: str) -> None:
    assert (await error_of(get_weather, arguments)).startswith(text)


async def test_a_call_that_takes_too_long_is_cancelled_and_reported() -> None:
    cancelled = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert await error_of(wait, timeout_s=0.01) == "TimeoutError: wait took longer than 0.01 s"
    assert cancelled.is_set()
    made = FunctionTool.of(wait, timeout_s=0.02)
    assert "0.02 s" in await made.call("", timeout_s=3600)


async def test_a_thread_that_takes_too_long_is_left_and_reported() -> None:
    release = threading.Event()

    def hold() -> None:
        release.wait()

    try:
        assert await error_of(hold, timeout_s=0.01) == "TimeoutError: hold took longer than 0.01 s"
    finally:
        release.set()


async def test_cancelling_the_call_cancels_an_async_tool() -> None:
    begun = asyncio.Event()
    ended: list[str] = []

    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    calling = asyncio.ensure_future(call(wait))
    await begun.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert ended == ["cancelled"]


async def test_cancelling_the_call_leaves_a_thread_and_returns_at_once() -> None:
    begun, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold() -> None:
        loop.call_soon_threadsafe(begun.set)
        release.wait()

    calling = asyncio.ensure_future(call(hold))
    try:
        await begun.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
    finally:
        release.set()


async def test_a_cancellation_inside_of_the_tool_is_its_own_error() -> None:
    async def wait_for_a_lost_cause() -> None:
        other = asyncio.ensure_future(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(other.cancel)
        await other

    assert (await error_of(wait_for_a_lost_cause)).startswith("CancelledError")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_ends_it(kind: type[BaseException]) -> None:
    def stop() -> None:
        raise kind

    async def stop_too() -> None:
        raise kind

    for function in (stop, stop_too):
        with pytest.raises(kind):
            asyncio.run(call(function))


# --- boxes -----------------------------------------------------------------------------------------------


def test_a_toolbox_keeps_the_order_and_the_dicts_as_they_are() -> None:
    search = {"type": "web_search", "filters": None}
    custom = {"type": "custom", "name": "sql", "format": {"type": "text"}}
    theirs = {"type": "function", "name": "theirs", "parameters": {}, "strict": True}
    made = FunctionTool.of(get_weather, timeout_s=1)
    box = Toolbox.of([search, made, custom, test_a_toolbox_keeps_the_order_and_the_dicts_as_they_are, theirs])
    assert box.definitions[0] is search
    assert box.definitions[1] is made.definition
    assert box.definitions[2] is custom
    assert box.definitions[3]["name"] == "test_a_toolbox_keeps_the_order_and_the_dicts_as_they_are"
    assert box.definitions[4] is theirs
    assert box.get("get_weather") is made
    assert box.get("theirs") is box.get("sql") is box.get("nobody") is None
    assert box.names == {"get_weather", "sql", "theirs", box.definitions[3]["name"]}


def test_an_empty_toolbox_has_nothing() -> None:
    box = Toolbox.of(())
    assert (box.definitions, box.names, box.get("x")) == ([], frozenset(), None)


def test_any_mapping_is_a_definition() -> None:
    assert Toolbox.of([MappingProxyType({"type": "web_search"})]).definitions == [{"type": "web_search"}]


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([get_weather, FunctionTool.of(get_weather)], ["tools[1]", "'get_weather'", "trunkline.tool(name"]),
        ([get_weather, {"type": "custom", "name": "get_weather"}], ["tools[1]", "'get_weather'"]),
        ([{"type": "web_search"}, {"type": "function", "function": {"name": "x"}}], ["tools[1]", "no name"]),
        ([{"type": "custom", "name": ""}], ["tools[0]", "no name"]),
        ([{"name": "x"}], ["tools[0]", "no type"]),
        ([get_weather, 3], ["tools[1]", "int"]),
        (["get_weather"], ["tools[0]", "str"]),
        ("get_weather", ["tools is a str", "a list"]),
        ({"type": "web_search"}, ["tools is a dict", "a list"]),
        (get_weather, ["tools is a function", "a list"]),
    ],
)
def test_what_is_no_toolbox_is_refused_with_its_place(tools: Sequence[Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Toolbox.of(tools)
    assert [word for word in words if word not in str(raised.value)] == []


# A function that many conversations use.


def test_a_function_is_read_once() -> None:
    def get_weather(city: str) -> str:
        return city

    first, second = Toolbox.of([get_weather]), Toolbox.of([get_weather])
    assert first.get("get_weather") is second.get("get_weather")


def test_a_wrapper_is_not_taken_for_what_it_wraps() -> None:
    def get_weather(city: str) -> str:
        return city

    made = Toolbox.of([get_weather]).get("get_weather")

    @functools.wraps(get_weather)
    def wrapper(city: str) -> str:
        return get_weather(city).upper()

    assert Toolbox.of([wrapper]).get("get_weather") is not made


def test_settings_that_come_later_are_heeded() -> None:
    def get_weather(city: str) -> str:
        return city

    assert Toolbox.of([get_weather]).names == {"get_weather"}
    trunkline.tool(name="weather")(get_weather)
    assert Toolbox.of([get_weather]).names == {"weather"}


def test_a_function_that_is_used_as_a_tool_can_still_be_collected() -> None:
    def get_weather(city: str) -> str:
        return city

    Toolbox.of([get_weather])
    gone = weakref.ref(get_weather)
    del get_weather
    gc.collect()
    assert gone() is None
