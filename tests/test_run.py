from __future__ import annotations

import asyncio
import gc
import inspect
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

import trunkline
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace
from trunkline.events import OutputTextDelta

from .talk import WEATHER, ask, assert_kept, client_of, texts, tool_outputs
from .waiting import runs_briefly, soon, until

COMPLETED = "response.completed"


class Weather:
    """A tool that returns, or waits for ever if the city is Bergen."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []

    async def get_weather(self, city: str) -> str:
        """The weather in a city."""
        self.begun.append(city)
        if city != "Bergen":
            return f"rain in {city}"
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.cancelled.append(city)
        return "never"


@pytest.fixture
def weather() -> Weather:
    return Weather()


@pytest.fixture
def chat(client: trunkline.Client, weather: Weather) -> trunkline.Conversation:
    return client.conversation(model="tools", tools=[weather.get_weather])


@pytest.fixture
def echo(client: trunkline.Client) -> trunkline.Conversation:
    return client.conversation(model="echo")


def says_calls_says(emulator: Emulator, before: str, city: str, after: str) -> None:
    """Script the next run: a text and a call, then a text."""
    emulator.expect().says(before).calls("get_weather", city=city)
    emulator.expect().says(after)


async def events_of(run: trunkline.ConversationRun) -> list[str]:
    return [event.type async for event in run]


# As a coroutine, an iterator and a context manager.


async def test_a_run_is_a_coroutine_that_returns_the_final_response(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    run = chat.run("weather in Oslo")
    assert isinstance(run, Coroutine)
    assert inspect.isawaitable(run)
    assert asyncio.iscoroutine(run)
    response = await run
    assert "rain in Oslo" in response.output_text
    assert run.response is response
    assert await run is response  # a run can be awaited again
    assert_kept(emulator, chat, response)


@pytest.mark.parametrize(
    "drive",
    [
        asyncio.create_task,
        asyncio.ensure_future,
        asyncio.gather,
        lambda run: asyncio.wait_for(run, 10),
        lambda run: asyncio.shield(run),
    ],
)
async def test_functions_that_take_a_coroutine_take_a_run(
    chat: trunkline.Conversation, drive: Callable[[Any], Awaitable[Any]]
) -> None:
    result = await soon(drive(chat.run("weather in Oslo")))
    response = result[0] if isinstance(result, list) else result
    assert "rain in Oslo" in response.output_text


def test_a_run_can_be_created_without_an_event_loop(weather: Weather) -> None:
    emulator = Emulator()
    with emulator.run_in_thread():
        client = client_of(emulator)
        chat = client.conversation(model="tools", tools=[weather.get_weather])

        async def main(run: trunkline.ConversationRun) -> trunkline.Response:
            async with client:
                return await run

        assert "rain" in asyncio.run(main(chat.run("weather in Oslo"))).output_text


async def test_the_repr_of_a_task_names_the_run(chat: trunkline.Conversation) -> None:
    task = asyncio.create_task(chat.run("hello"))
    assert "coro=<ConversationRun()>" in repr(task)
    await task


async def test_iterating_yields_every_event_of_every_response(
    emulator: Emulator, chat: trunkline.Conversation, weather: Weather
) -> None:
    begun_after = []
    run = chat.run("weather in Oslo")
    types: list[str] = []
    async for event in run:
        types.append(event.type)
        begun_after.append(len(weather.begun))
    assert types.count("response.created") == types.count(COMPLETED) == 2
    assert types[-1] == COMPLETED
    first = types.index(COMPLETED)
    assert (begun_after[first], begun_after[first + 1]) == (0, 1)
    assert "rain in Oslo" in run.response.output_text
    assert_kept(emulator, chat, run.response)


async def test_a_run_may_be_iterated_in_part_and_then_awaited(chat: trunkline.Conversation) -> None:
    async with chat.run("weather in Oslo") as run:
        async for event in run:
            if event.type == COMPLETED:
                break
        assert not run.is_ended
        response = await run
    assert "rain in Oslo" in response.output_text
    assert run.is_ended


async def test_text_yields_the_text_of_all_responses(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    says_calls_says(emulator, "One moment.", "Oslo", "It rains.")
    assert "".join([text async for text in chat.run("weather?").text()]) == "One moment.It rains."


async def test_a_run_starts_when_it_is_entered(emulator: Emulator, chat: trunkline.Conversation) -> None:
    run = chat.run("hello")
    await asyncio.sleep(0)
    assert (emulator.requests, repr(run)) == ([], "<ConversationRun: new>")
    async with run:
        await until(lambda: len(emulator.requests) == 1, "the request is sent")
        assert repr(run) == "<ConversationRun: streaming>"
        with pytest.raises(trunkline.UsageError, match="already entered"):
            await run.__aenter__()
    assert repr(run) == "<ConversationRun: ended>"


async def test_a_run_uses_the_history_at_its_start(emulator: Emulator, chat: trunkline.Conversation) -> None:
    run = chat.run("weather in Oslo")
    await ask(chat, "hello")
    response = await run
    assert texts(chat.items)[:1] == ["user: hello"]
    assert_kept(emulator, chat, response)


async def test_a_run_has_the_metrics_of_each_turn(chat: trunkline.Conversation) -> None:
    run = chat.run("weather in Oslo")
    assert run.metrics == []
    async for event in run:
        if event.type == COMPLETED:
            break
    (first,) = run.metrics
    assert first.outcome == "answered"
    await run
    assert [metrics.mode for metrics in run.metrics] == ["full", "delta"]
    assert run.metrics[0] is first


async def test_a_run_has_no_response_before_its_end(chat: trunkline.Conversation) -> None:
    run = chat.run("weather in Oslo")
    with pytest.raises(trunkline.UsageError, match="not at its end"):
        _ = run.response
    run.close()
    with pytest.raises(trunkline.UsageError, match="left or failed"):
        _ = run.response
    with pytest.raises(trunkline.UsageError, match="left or failed"):
        await run
    assert await events_of(run) == []


async def test_two_tasks_cannot_read_one_run(emulator: Emulator, echo: trunkline.Conversation) -> None:
    emulator.faults.add("stall", event=7)
    async with echo.run("one two three") as run:
        reading = asyncio.create_task(events_of(run))
        await until(lambda: bool(emulator.faults.fired), "the answer stalls")
        for read in (lambda: anext(run), lambda: run):
            with pytest.raises(trunkline.UsageError, match="another task"):
                await read()
    await soon(reading)


@pytest.mark.parametrize("way", ["await", "iterate", "enter"])
async def test_a_failure_is_raised_however_it_is_read(
    emulator: Emulator, echo: trunkline.Conversation, way: str
) -> None:
    async def enter(run: trunkline.ConversationRun) -> None:
        async with run:
            await events_of(run)

    emulator.faults.add("reject", status=400, code="invalid_prompt")
    run = echo.run("hello")
    reads: dict[str, Callable[[], Awaitable[object]]] = {
        "await": lambda: run,
        "iterate": lambda: events_of(run),
        "enter": lambda: enter(run),
    }
    with pytest.raises(trunkline.ResponseRefused):
        await reads[way]()
    assert run.is_ended
    assert echo.items == []
    assert (await echo.run("hello")).output_text == "hello"


async def test_too_many_turns_are_raised_while_iterating(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    emulator.expect(times=2).calls("get_weather", city="Oslo")
    run = chat.run("weather?", max_turns=2)
    with pytest.raises(trunkline.MaxTurnsExceeded):
        await events_of(run)
    assert run.is_ended
    assert len(tool_outputs(chat)) == 2
    assert_kept(emulator, chat, await chat.run([]))


# One turn at a time.


async def test_the_conversation_is_busy_while_tools_run(
    emulator: Emulator, chat: trunkline.Conversation, weather: Weather
) -> None:
    running = asyncio.create_task(chat.run("weather in Bergen"))
    await until(lambda: bool(weather.begun), "the tool runs")
    for act in (lambda: chat.send("x"), lambda: chat.run("x"), lambda: chat.replace([])):
        with pytest.raises(trunkline.ConversationBusy, match="fork"):
            act()
    running.cancel()
    await asyncio.wait([running])
    assert_kept(emulator, chat, (await ask(chat, "free again")).response)


async def test_of_two_runs_the_second_is_refused_when_it_starts(
    emulator: Emulator, echo: trunkline.Conversation
) -> None:
    emulator.faults.add("stall", event=7)
    first, second = echo.run("one two three"), echo.run("four")
    async with first:
        with pytest.raises(trunkline.ConversationBusy):
            await second
    assert (await echo.run("four")).output_text == "four"


# Arguments.


async def test_wrong_arguments_are_refused_when_the_run_is_made(chat: trunkline.Conversation) -> None:
    with pytest.raises(trunkline.ConfigurationError, match="input"):
        chat.run(7)  # type: ignore[arg-type]
    with pytest.raises(trunkline.ConfigurationError, match="store"):
        chat.run("x", store="yes")  # type: ignore[arg-type]


# Barge-in.


async def test_leaving_the_block_in_mid_answer_keeps_the_text_received(
    emulator: Emulator, echo: trunkline.Conversation
) -> None:
    emulator.faults.add("stall", event=7)
    async with echo.run("one two three") as run:
        async for event in run:
            if isinstance(event, OutputTextDelta):
                break
    assert run.is_ended
    assert texts(echo.items) == ["user: one two three", "assistant: one"]
    assert_kept(emulator, echo, (await ask(echo, "and")).response)


@pytest.mark.parametrize("by", ["block", "close", "aclose", "cancel", "heard"])
async def test_leaving_while_tools_run_cancels_them_and_adds_outputs_that_say_so(
    emulator: Emulator, chat: trunkline.Conversation, weather: Weather, by: str
) -> None:
    emulator.expect("weather").calls("get_weather", city="Oslo").calls("get_weather", city="Bergen")
    run = chat.run("weather?")
    reading = asyncio.create_task(events_of(run) if by != "cancel" else run)
    await until(lambda: len(weather.begun) == 2, "both tools run")
    await asyncio.sleep(0)  # the tool for Oslo has ended
    if by == "block":
        await run.__aexit__(None, None, None)
    elif by == "close":
        run.close()
    elif by == "aclose":
        await run.aclose()
    elif by == "heard":
        chat.heard("")
    else:
        reading.cancel()
    await soon(asyncio.wait([reading]))
    await until(lambda: weather.cancelled == ["Bergen"], "the tool for Bergen is cancelled")
    assert run.is_ended
    assert tool_outputs(chat)[0] == "rain in Oslo"
    assert "Cancelled" in tool_outputs(chat)[1]
    assert_kept(emulator, chat, (await ask(chat, "never mind")).response)


async def test_leaving_before_the_tools_run_adds_outputs_that_say_cancelled(
    emulator: Emulator, chat: trunkline.Conversation, weather: Weather
) -> None:
    async with chat.run("weather in Oslo") as run:
        async for event in run:
            if event.type == COMPLETED:
                break
    assert weather.begun == []
    assert len(tool_outputs(chat)) == 1
    assert "Cancelled" in tool_outputs(chat)[0]
    assert_kept(emulator, chat, (await ask(chat, "never mind", tools=[WEATHER])).response)


async def test_closing_the_block_waits_for_the_tools_to_end(
    chat: trunkline.Conversation, weather: Weather
) -> None:
    async with chat.run("weather in Bergen") as run:
        async for event in run:
            if event.type == COMPLETED:
                break
        waiting = asyncio.create_task(run.__anext__())
        await until(lambda: bool(weather.begun), "the tool runs")
    assert weather.cancelled == ["Bergen"]
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_awaiting_a_run_that_is_closed_raises(emulator: Emulator, echo: trunkline.Conversation) -> None:
    emulator.faults.add("stall", event=7)
    run = echo.run("one two three")
    task = asyncio.create_task(run)
    await until(lambda: bool(emulator.faults.fired), "the answer stalls")
    run.close()
    run.close()
    with pytest.raises(trunkline.UsageError, match="left"):
        await soon(task)


async def test_an_on_event_that_raises_after_a_call_leaves_a_valid_history(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    def broken(event: trunkline.ServerEvent) -> None:
        if event.type == COMPLETED:
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await chat.run("weather in Oslo", on_event=broken)
    assert "Cancelled" in tool_outputs(chat)[0]
    assert_kept(emulator, chat, (await ask(chat, "never mind")).response)


async def test_a_cancelled_wait_for_an_event_loses_nothing(
    emulator: Emulator, chat: trunkline.Conversation, weather: Weather
) -> None:
    emulator.pace = Pace(runs_briefly(0.02), 200)
    types: list[str] = []
    async with chat.run("weather in Oslo") as run:
        while not run.is_ended:
            try:
                types.append((await asyncio.wait_for(anext(run), runs_briefly(0.005))).type)
            except TimeoutError:
                continue
    assert weather.begun == ["Oslo"]
    assert types.count("response.created") == types.count(COMPLETED) == 2
    assert_kept(emulator, chat, run.response)


# Heard.


async def test_heard_covers_the_text_before_and_after_tools(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    says_calls_says(emulator, "One moment.", "Oslo", "It rains in Oslo.")
    await chat.run("weather?")
    chat.heard("One moment. It rains")
    assert texts(chat.items) == ["user: weather?", "assistant: One moment.", "assistant: It rains"]
    assert tool_outputs(chat) == ["rain in Oslo"]
    chat.heard("One")
    assert texts(chat.items) == ["user: weather?", "assistant: One"]
    assert_kept(emulator, chat, (await ask(chat, "and?")).response)


async def test_heard_ends_at_the_last_user_input(emulator: Emulator, chat: trunkline.Conversation) -> None:
    await ask(chat, "hello there")
    says_calls_says(emulator, "One moment.", "Oslo", "It rains in Oslo.")
    await chat.run("weather?")
    chat.heard("")
    assert texts(chat.items) == ["user: hello there", "assistant: You said: hello there", "user: weather?"]
    assert_kept(emulator, chat, (await ask(chat, "and?")).response)


async def test_heard_leaves_a_run_in_its_second_response(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    says_calls_says(emulator, "One moment.", "Oslo", "It rains in Oslo.")
    emulator.pace = Pace(runs_briefly(0.01), 1)
    texts_seen: list[str] = []
    async with chat.run("weather?") as run:
        async for text in run.text():
            texts_seen.append(text)
            if "rains" in "".join(texts_seen):
                break
        chat.heard("One moment. It")
        assert run.is_ended
    assert texts(chat.items) == ["user: weather?", "assistant: One moment.", "assistant: It"]
    assert_kept(emulator, chat, (await ask(chat, "and?")).response)


# Runs that are dropped.


async def warnings_of(act: Callable[[], Awaitable[None]]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await act()
        gc.collect()
        await asyncio.sleep(0)
    return [str(one.message) for one in caught]


async def test_a_run_that_never_starts_sends_nothing_and_does_not_warn(
    emulator: Emulator, echo: trunkline.Conversation
) -> None:
    async def act() -> None:
        echo.run("hello")
        echo.run("hello").close()
        task = asyncio.create_task(echo.run("hello"))
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    assert await warnings_of(act) == []
    assert (emulator.requests, echo.items) == ([], [])
    assert (await echo.run("hello")).output_text == "hello"


async def test_a_run_that_was_read_or_left_does_not_warn(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    async def act() -> None:
        await chat.run("hello")
        await events_of(chat.run("hello"))
        emulator.faults.add("stall", event=7)
        async with chat.run("one two three") as run:
            await anext(run)

    assert await warnings_of(act) == []


async def test_a_run_dropped_in_mid_answer_warns_once_and_is_left(
    emulator: Emulator, echo: trunkline.Conversation
) -> None:
    async def act() -> None:
        emulator.faults.add("stall", event=7)
        async for event in echo.run("one two three"):
            if isinstance(event, OutputTextDelta):
                break

    (warning,) = await warnings_of(act)
    assert "async with" in warning
    assert texts(echo.items) == ["user: one two three", "assistant: one"]
    assert_kept(emulator, echo, (await ask(echo, "and")).response)


async def test_cancelling_a_task_that_iterates_leaves_the_run(
    emulator: Emulator, chat: trunkline.Conversation, weather: Weather
) -> None:
    async def act() -> None:
        reading = asyncio.create_task(events_of(chat.run("weather in Bergen")))
        await until(lambda: bool(weather.begun), "the tool runs")
        reading.cancel()
        await asyncio.wait([reading])
        with pytest.raises(asyncio.CancelledError):
            reading.result()

    assert await warnings_of(act) == []
    await until(lambda: weather.cancelled == ["Bergen"], "the tool is cancelled")
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_a_finished_run_is_freed_without_the_collector(chat: trunkline.Conversation) -> None:
    gc.disable()
    try:
        run = chat.run("weather in Oslo")
        await run
        gone = weakref.ref(run)
        del run
        assert gone() is None
    finally:
        gc.enable()
