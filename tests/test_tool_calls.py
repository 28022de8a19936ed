from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from trunkline._protocol.item_types import FunctionCall
from trunkline._protocol.response import Response
from trunkline.tool_calls import ToolCalls, calls_to_execute
from trunkline.tools import Toolbox

from .waiting import soon, until


def call(name: str, call_id: str = "c1") -> FunctionCall:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}"}


def response_with(*output: Any) -> Response:
    return msgspec.json.decode(msgspec.json.encode({"id": "r1", "output": list(output)}), type=Response)


def outputs_of(calls: ToolCalls) -> dict[str, str]:
    """The output of each call, by its id."""
    return {item.json()["call_id"]: item.json()["output"] for item in calls.outputs()}


class Bench:
    """Executes calls: ``quick`` returns, ``exit`` ends the program, others run until they are cancelled."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []

    async def call(self, name: str, arguments: str) -> str:
        self.begun.append(name)
        if name == "quick":
            return "done"
        if name == "exit":
            raise KeyError("ends the program")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        return ""


def get_weather() -> str:
    """The weather."""
    return "snow"


def test_calls_of_functions_and_of_unknown_names_are_executed() -> None:
    definition = {"type": "function", "name": "in_the_browser", "parameters": {}}
    custom = {"type": "custom_tool_call", "call_id": "c4", "name": "shell", "input": ""}
    response = response_with(call("get_weather"), call("in_the_browser"), call("invented"), custom)
    tools = Toolbox.of([get_weather, definition, {"type": "custom", "name": "shell"}])
    assert [each["name"] for each in calls_to_execute(response, tools)] == ["get_weather", "invented"]


async def test_calls_run_concurrently_and_start_once() -> None:
    bench = Bench()
    calls = ToolCalls(response_with(), [call("quick"), call("slow", "c2")], bench.call)
    calls.start()
    calls.start()
    await until(lambda: bench.begun == ["quick", "slow"], "both run")
    calls.cancel()
    await soon(calls.ended())
    assert bench.cancelled == ["slow"]
    outputs = outputs_of(calls)
    assert outputs["c1"] == "done"
    assert "Cancelled" in json.loads(outputs["c2"])["error"]


async def test_calls_that_never_started_count_as_cancelled() -> None:
    calls = ToolCalls(response_with(), [call("quick")], Bench().call)
    calls.cancel()
    await soon(calls.ended())
    assert "Cancelled" in json.loads(outputs_of(calls)["c1"])["error"]


async def test_cancelling_the_wait_cancels_no_call() -> None:
    bench = Bench()
    calls = ToolCalls(response_with(), [call("slow")], bench.call)
    calls.start()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(calls.executed(), 0.001)
    assert bench.cancelled == []
    calls.cancel()
    await soon(calls.ended())


async def test_a_fault_ends_the_wait_and_is_kept() -> None:
    bench = Bench()
    calls = ToolCalls(response_with(), [call("slow"), call("exit", "c2")], bench.call)
    assert calls.fault is None
    calls.start()
    await soon(calls.executed())
    assert isinstance(calls.fault, KeyError)
    calls.cancel()
    await soon(calls.ended())
