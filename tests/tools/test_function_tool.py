"""Function tools: their definitions and their calls."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import json
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from trunkline.errors import ConfigurationError
from trunkline.tools import FunctionTool, tool


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


def test_the_definition_has_the_form_of_the_api() -> None:
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


def test_a_function_without_a_docstring_has_no_description() -> None:
    def quiet() -> None:
        pass

    assert "description" not in FunctionTool.of(quiet).definition


def test_the_decorator_gives_settings_and_leaves_the_function_alone() -> None:
    @tool(timeout_s=5, name="weather", description="Ask me.")
    def decorated(city: str) -> str:
        """Not used."""
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


def test_an_object_that_cannot_hold_settings_is_refused() -> None:
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


@pytest.mark.parametrize("result", [object(), {"deep": [object()]}, lambda: None])
async def test_a_result_that_is_not_json_is_an_error_that_names_its_type(result: Any) -> None:
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
        (ValueError("no such city"), "find failed: ValueError"),
        (TimeoutError("upstream"), "find failed: TimeoutError"),
        (StopIteration(1), "find failed: RuntimeError"),
        (Unspeakable(), "find failed: Unspeakable"),
    ],
)
async def test_the_model_learns_the_type_of_an_exception_and_not_its_message(
    error: Exception, text: str
) -> None:
    @tool(name="find")
    def fail() -> None:
        raise error

    @tool(name="find")
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


async def test_a_cancelled_error_raised_inside_a_tool_is_reported_as_its_error() -> None:
    async def wait_for_a_lost_cause() -> None:
        other = asyncio.ensure_future(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(other.cancel)
        await other

    assert await error_of(wait_for_a_lost_cause) == "wait_for_a_lost_cause failed: CancelledError"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_keyboard_interrupt_and_system_exit_are_not_caught(kind: type[BaseException]) -> None:
    def stop() -> None:
        raise kind

    async def stop_too() -> None:
        raise kind

    for function in (stop, stop_too):
        with pytest.raises(kind):
            asyncio.run(call(function))


# --- sharing ---------------------------------------------------------------------------------------------


def test_the_tool_of_a_function_is_built_once() -> None:
    def get_weather(city: str) -> str:
        return city

    assert FunctionTool.shared(get_weather) is FunctionTool.shared(get_weather)


def test_a_wrapper_has_a_tool_of_its_own() -> None:
    def get_weather(city: str) -> str:
        return city

    made = FunctionTool.shared(get_weather)

    @functools.wraps(get_weather)
    def wrapper(city: str) -> str:
        return get_weather(city).upper()

    assert FunctionTool.shared(wrapper) is not made


def test_later_settings_take_effect() -> None:
    def get_weather(city: str) -> str:
        return city

    assert FunctionTool.shared(get_weather).name == "get_weather"
    tool(name="weather")(get_weather)
    assert FunctionTool.shared(get_weather).name == "weather"


def test_a_function_that_is_used_as_a_tool_can_still_be_collected() -> None:
    def get_weather(city: str) -> str:
        return city

    FunctionTool.shared(get_weather)
    gone = weakref.ref(get_weather)
    del get_weather
    gc.collect()
    assert gone() is None
