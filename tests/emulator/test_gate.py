"""Gates: a response waits where a test says, and for as long as it says."""

from __future__ import annotations

import asyncio
import threading

import aiohttp

from trunkline.emulator import Emulator, Gate
from trunkline.emulator.faults.file import describe

from ..waiting import until
from .wire import Socket, Wire

DELTA = "response.output_text.delta"


async def test_a_response_is_held_before_an_event_until_its_gate_opens(
    socket: Socket, emulator: Emulator
) -> None:
    gate = emulator.faults.hold(event=6)
    await socket.create(input="one two three", stream_id="a")
    await socket.until(DELTA)
    await socket.response(input="beside", stream_id="b")
    assert [event["type"] for event in socket.seen if event.get("stream_id") == "a"].count(DELTA) == 1
    assert (gate.held, gate.is_open) == (1, False)
    gate.open()
    (*_, completed) = await socket.until("response.completed", lane="a")
    assert completed["response"]["output"][0]["content"][0]["text"] == "one two three"
    assert (gate.held, gate.is_open) == (0, True)


async def test_one_gate_holds_as_many_responses_as_it_is_told_to(socket: Socket, emulator: Emulator) -> None:
    gate = emulator.faults.hold(event_type="response.completed", times=2)
    for lane in "abc":
        await socket.create(input="x", stream_id=lane)
    await socket.until("response.completed", lane="c")
    await until(lambda: gate.held == 2, "both are held")
    gate.open()
    for _ in "ab":
        await socket.until("response.completed")


async def test_an_open_gate_lets_all_pass(socket: Socket, emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=3, times=None)
    gate.open()
    gate.open()
    await socket.response(input="x")
    assert len(emulator.faults.fired) == 1


async def test_a_response_that_ends_leaves_the_gate(wire: Wire, emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=3)
    async with wire.socket() as socket:
        await socket.create(input="x")
        await until(lambda: gate.held == 1, "it is held")
    await until(lambda: gate.held == 0, "its client has gone")
    gate.open()


async def test_http_is_held_too(wire: Wire, emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=6, transport="http")
    asking = asyncio.create_task(wire.post(input="one two"))
    await until(lambda: gate.held == 1, "it is held")
    assert not asking.done()
    gate.open()
    assert (await asking)[1]["status"] == "completed"


def test_a_gate_is_opened_from_another_thread() -> None:
    with Emulator().run_in_thread() as emulator:
        gate: Gate = emulator.faults.hold(event=3)

        async def ask() -> str:
            headers = {"Authorization": f"Bearer {emulator.api_key}"}
            async with aiohttp.ClientSession(headers=headers) as session:
                body = {"model": "echo", "input": "x"}
                async with session.post(f"{emulator.base_url}/responses", json=body) as answer:
                    status: str = (await answer.json())["status"]
                    return status

        async def ask_and_open() -> str:
            asking = asyncio.create_task(ask())
            await until(lambda: gate.held == 1, "it is held")
            opening = threading.Thread(target=gate.open)
            opening.start()
            status = await asking
            opening.join()
            return status

        assert asyncio.run(ask_and_open()) == "completed"


def test_its_repr_tells_its_state() -> None:
    gate = Gate()
    assert repr(gate) == "<Gate closed, 0 held>"
    gate.open()
    assert repr(gate) == "<Gate open>"


async def test_a_held_fault_is_described_without_its_gate(socket: Socket, emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=3)
    gate.open()
    await socket.response(input="x")
    [held] = emulator.faults.fired
    assert held.fault.gate is gate
    stall = emulator.faults.add("stall", event=3)
    assert describe(held.fault) == describe(stall) == {"action": "stall", "event": 3}
