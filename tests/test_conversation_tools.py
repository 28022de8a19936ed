"""Conversations with tools: tools of the caller, Python functions, and runs of several turns."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

import trunkline
from trunkline.emulator import Call, Emulator, Prompt, Say, Step
from trunkline.events import OutputTextDelta

from .talk import (
    WEATHER,
    ask,
    assert_kept,
    output_for,
    stall_in_mid_answer,
    texts,
    tool_outputs,
)
from .waiting import runs_briefly, soon, until


class Weather:
    """A tool that returns "rain" and records the cities of its calls.

    Attributes:
        error: if set, raised instead of returning.
    """

    def __init__(self) -> None:
        self.cities: list[str] = []
        self.error: Exception | None = None

    def get_weather(self, city: str) -> str:
        """The weather in a city."""
        self.cities.append(city)
        if self.error is not None:
            raise self.error
        return "rain"


@pytest.fixture
def weather() -> Weather:
    return Weather()


# Tools that the caller executes.


async def test_dict_tools_are_left_to_the_caller(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="tools", tools=[WEATHER])
    response = await chat.run("weather in Oslo")
    (call,) = response.tool_calls
    assert call["type"] == "function_call"
    assert json.loads(call["arguments"]) == {"city": "Oslo"}
    with pytest.raises(trunkline.ConfigurationError, match=call["call_id"]):
        chat.send("never mind")
    answer = await chat.run([output_for(call, "rain")])
    assert "rain" in answer.output_text
    assert_kept(emulator, chat, answer)


async def test_python_tools_are_run_and_dict_tools_are_left_to_the_caller(
    emulator: Emulator, client: trunkline.Client
) -> None:
    def get_clock(city: str) -> str:
        """The clock of a city."""
        return "noon"

    chat = client.conversation(model="tools", tools=[WEATHER, get_clock])
    response = await chat.run("weather and clock in Oslo")
    assert [call["name"] for call in response.tool_calls] == ["get_weather"]
    assert tool_outputs(chat) == ["noon"]
    (weather,) = response.tool_calls
    answer = await chat.run([output_for(weather, "rain")])
    assert "rain" in answer.output_text
    assert "noon" in answer.output_text
    assert_kept(emulator, chat, answer)


# Python tools.


async def test_a_synchronous_tool_runs_in_a_thread(client: trunkline.Client) -> None:
    threads = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        threads.append(threading.current_thread())
        return f"rain in {city}"

    chat = client.conversation(model="tools", tools=[get_weather])
    answer = await chat.run("weather in Oslo")
    assert "rain in Oslo" in answer.output_text
    assert threads[0] is not threading.main_thread()


async def test_an_asynchronous_tool_is_awaited(emulator: Emulator, client: trunkline.Client) -> None:
    async def get_weather(city: str) -> dict[str, Any]:
        """The weather in a city."""
        assert threading.current_thread() is threading.main_thread()
        await asyncio.sleep(0)
        return {"city": city, "sky": "grey"}

    chat = client.conversation(model="tools", tools=[get_weather])
    answer = await chat.run("weather in Oslo")
    assert tool_outputs(chat) == ['{"city":"Oslo","sky":"grey"}']
    assert_kept(emulator, chat, answer)
    assert [request.kind for request in emulator.requests] == ["response.create"] * 2


async def test_parallel_calls_run_together(emulator: Emulator, client: trunkline.Client) -> None:
    both = asyncio.Barrier(2)

    async def get_weather(city: str) -> str:
        """The weather in a city."""
        async with both:
            return f"rain in {city}"

    chat = client.conversation(model="tools", tools=[get_weather])
    answer = await soon(chat.run("weather in Oslo and Bergen"))
    assert tool_outputs(chat) == ["rain in Oslo", "rain in Bergen"]
    assert_kept(emulator, chat, answer)


async def test_synchronous_calls_run_together_as_well(client: trunkline.Client) -> None:
    both = threading.Barrier(2, timeout=10)

    def get_weather(city: str) -> str:
        """The weather in a city."""
        both.wait()
        return f"rain in {city}"

    chat = client.conversation(model="tools", tools=[get_weather])
    await soon(chat.run("weather in Oslo and Bergen"))
    assert tool_outputs(chat) == ["rain in Oslo", "rain in Bergen"]


async def test_a_failure_of_a_tool_is_reported_to_the_model(
    emulator: Emulator, client: trunkline.Client, weather: Weather
) -> None:
    weather.error = LookupError("no such city")
    chat = client.conversation(model="tools", tools=[weather.get_weather])
    answer = await chat.run("weather in Oslo")
    assert tool_outputs(chat) == ['{"error":"get_weather failed: LookupError"}']
    assert_kept(emulator, chat, answer)


async def test_on_tool_error_chooses_the_report_of_a_failure(
    client: trunkline.Client, weather: Weather
) -> None:
    weather.error = LookupError("no such city")

    def explain(failure: trunkline.ToolFailure) -> str:
        return f"{failure.tool}: {failure.error}"

    chat = client.conversation(model="tools", tools=[weather.get_weather])
    await chat.run("weather in Oslo", on_tool_error=explain)
    assert tool_outputs(chat) == ["get_weather: no such city"]


async def test_hung_tools_block_no_tool_of_another_conversation(
    emulator: Emulator, client: trunkline.Client
) -> None:
    release = threading.Event()

    def hang() -> str:
        release.wait()
        return "late"

    def answer(prompt: Prompt) -> list[Step]:
        if prompt.outputs:
            return [Say(["done"])]
        return [Call("quick", "{}")] if "quick" in prompt.user_text else [Call("hang", "{}")] * 32

    def quick() -> str:
        return "quickly"

    emulator.add_model("caller", answer)
    hung, other = (client.conversation(model="caller", tools=[hang, quick]) for _ in range(2))
    try:
        await soon(hung.run("hang", tool_timeout_s=runs_briefly(0.1)))
        assert len(tool_outputs(hung)) == 32
        assert all("took longer" in output for output in tool_outputs(hung))
        await soon(hung.run("quick"))
        assert "quick was not called: 32 calls of tools" in tool_outputs(hung)[-1]
        await soon(other.run("quick"))
        assert tool_outputs(other) == ["quickly"]
    finally:
        release.set()


async def test_arguments_that_do_not_fit_are_reported_to_the_model(
    emulator: Emulator, client: trunkline.Client, weather: Weather
) -> None:
    emulator.expect("weather").calls("get_weather", city=7)
    emulator.expect("weather").calls("get_weather", town="Oslo")
    chat = client.conversation(model="echo", tools=[weather.get_weather])
    for _ in range(2):
        await chat.run("weather?")
    assert weather.cities == []
    assert len(tool_outputs(chat)) == 2
    assert all("error" in json.loads(output) for output in tool_outputs(chat))


async def test_a_tool_that_times_out_is_reported_to_the_model(
    emulator: Emulator, client: trunkline.Client
) -> None:
    cancelled = []

    async def get_weather(city: str) -> str:
        """The weather in a city."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.append(city)
        return "never"

    chat = client.conversation(model="tools", tools=[get_weather])
    await soon(chat.run("weather in Oslo", tool_timeout_s=runs_briefly(0.05)))
    assert cancelled == ["Oslo"]
    assert "TimeoutError" in tool_outputs(chat)[0]


async def test_an_unknown_tool_is_reported_to_the_model(emulator: Emulator, client: trunkline.Client) -> None:
    def get_clock(city: str) -> str:
        """The clock of a city."""
        return "noon"

    emulator.expect("weather").calls("get_weather", city="Oslo")
    chat = client.conversation(model="echo", tools=[get_clock])
    answer = await chat.run("weather?")
    assert "no tool of this name" in tool_outputs(chat)[0]
    assert_kept(emulator, chat, answer)


async def test_tools_of_one_run_are_run(emulator: Emulator, client: trunkline.Client) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"rain in {city}"

    chat = client.conversation(model="tools")
    answer = await chat.run("weather in Oslo", tools=[get_weather])
    assert "rain in Oslo" in answer.output_text
    assert tool_outputs(chat) == ["rain in Oslo"]


async def test_dict_tools_of_one_run_are_left_to_the_caller(client: trunkline.Client) -> None:
    chat = client.conversation(model="tools")
    response = await chat.run("weather in Oslo", tools=[WEATHER])
    assert [call["name"] for call in response.tool_calls] == ["get_weather"]
    assert tool_outputs(chat) == []


async def test_max_turns_bounds_a_run_and_the_conversation_continues(
    emulator: Emulator, client: trunkline.Client, weather: Weather
) -> None:
    emulator.expect(times=3).calls("get_weather", city="Oslo")
    chat = client.conversation(model="echo", tools=[weather.get_weather])
    with pytest.raises(trunkline.MaxTurnsExceeded, match="max_turns") as exceeded:
        await chat.run("weather?", max_turns=3)
    assert exceeded.value.max_turns == 3
    assert tool_outputs(chat) == ["rain"] * 3
    assert_kept(emulator, chat, await chat.run("so?"))


async def test_after_max_turns_run_without_input_sends_the_outputs(
    emulator: Emulator, client: trunkline.Client, weather: Weather
) -> None:
    emulator.expect(times=1).calls("get_weather", city="Oslo")
    chat = client.conversation(model="echo", tools=[weather.get_weather])
    with pytest.raises(trunkline.MaxTurnsExceeded):
        await chat.run("weather?", max_turns=1)
    answer = await chat.run([])
    assert tool_outputs(chat) == ["rain"]
    assert_kept(emulator, chat, answer)


@pytest.mark.parametrize("is_async", [False, True])
async def test_on_event_receives_the_events_of_a_run(client: trunkline.Client, is_async: bool) -> None:
    seen: list[str] = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        seen.append("called")
        return "rain"

    def note(event: trunkline.ServerEvent) -> None:
        seen.append(event.type)

    async def note_async(event: trunkline.ServerEvent) -> None:
        await asyncio.sleep(0)
        seen.append(event.type)

    chat = client.conversation(model="tools", tools=[get_weather])
    await chat.run("weather in Oslo", on_event=note_async if is_async else note)
    called = seen.index("called")
    assert seen[called - 1] == seen[-1] == "response.completed"
    assert seen.count("response.created") == 2


async def test_a_hook_of_a_run_that_raises_leaves_the_turn(
    emulator: Emulator, client: trunkline.Client
) -> None:
    def broken(event: trunkline.ServerEvent) -> None:
        raise ValueError("mine")

    chat = client.conversation(model="echo")
    with pytest.raises(ValueError, match="mine"):
        await chat.run("one", on_event=broken)
    assert texts(chat.items) == ["user: one"]
    assert (await chat.run("two")).output_text == "two"


async def test_a_run_that_fails_between_turns_keeps_its_outputs(
    emulator: Emulator, client: trunkline.Client
) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        emulator.faults.add("reject", status=400, code="invalid_prompt", times=2)  # in full as well
        return "rain"

    chat = client.conversation(model="tools", tools=[get_weather])
    with pytest.raises(trunkline.ResponseRefused):
        await chat.run("weather in Oslo")
    assert tool_outputs(chat) == ["rain"]
    answer = await chat.run([])
    assert "rain" in answer.output_text
    assert_kept(emulator, chat, answer)


async def test_barge_in_cancels_the_tools_and_the_conversation_continues(
    emulator: Emulator, client: trunkline.Client
) -> None:
    begun, cancelled = set(), []

    async def get_weather(city: str) -> str:
        """The weather in a city."""
        begun.add(city)
        if city == "Oslo":
            return "rain"
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.append(city)
        return "never"

    chat = client.conversation(model="tools", tools=[get_weather])
    running = asyncio.create_task(chat.run("weather in Oslo and Bergen"))
    await until(lambda: begun == {"Oslo", "Bergen"}, "both tools have started")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cancelled == ["Bergen"]
    rain, interrupted = tool_outputs(chat)
    assert (rain, "Cancelled" in interrupted) == ("rain", True)
    assert_kept(emulator, chat, (await ask(chat, "never mind", tools=[])).response)


async def test_barge_in_into_the_answer_of_a_run(emulator: Emulator, client: trunkline.Client) -> None:
    spoken: list[str] = []

    def note(event: trunkline.ServerEvent) -> None:
        if isinstance(event, OutputTextDelta):
            spoken.append(event.delta)

    stall_in_mid_answer(emulator)
    chat = client.conversation(model="echo")
    running = asyncio.create_task(chat.run("one two three", on_event=note))
    await until(lambda: spoken == ["one", " two"], "two words are received")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert texts(chat.items) == ["user: one two three", "assistant: one two"]
