"""Steering over sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import repeat
from typing import Any

import pytest

from trunkline.emulator import Emulator, Faults, Gate, Prompt, Say, Step
from trunkline.emulator._service.steering import MAX_PENDING

from ..wire import WEATHER, Event, Socket, wired

ENDLESS = "words-1000000"
"""A model whose answer is not over before it is steered, however slow the machine."""


CALLS: Event = {"model": "tools", "input": "weather in Oslo?", "tools": [WEATHER]}


def open_call() -> tuple[Faults, Gate]:
    """Faults that hold a response before its first call is complete, so that it can be steered."""
    faults = Faults()
    return faults, faults.hold(event_type="response.function_call_arguments.done")


@asynccontextmanager
async def speaking(faults: Faults | None = None, **body: Any) -> AsyncIterator[tuple[Emulator, Socket, str]]:
    """A socket with a slow response that has sent text, and the response's id."""
    emulator = Emulator(tokens_per_second=200, faults=faults)
    async with emulator, wired(emulator) as wire, wire.socket() as socket:
        await socket.create(**{"model": ENDLESS, "input": "begin"} | body)
        events = await socket.until("response.output_text.delta", "response.function_call_arguments.delta")
        yield emulator, socket, events[0]["response"]["id"]


async def steer(socket: Socket, target: str, given: Any, **more: Any) -> None:
    await socket.send(type="response.steer", previous_response_id=target, input=given, **more)


async def test_a_steered_response_is_cut_and_a_successor_follows_on_its_lane() -> None:
    body: Event = {"stream_id": "a", "instructions": "Be brief.", "store": False, "metadata": {"k": "v"}}
    async with speaking(**body) as (emulator, socket, target):
        await steer(socket, target, "And now?")
        accepted = (await socket.until("response.steer.accepted"))[-1]
        assert accepted["stream_id"] == "a"
        assert accepted["steer"]["previous_response_id"] == target
        assert accepted["steer"]["id"].startswith("steer_")
        ended = (await socket.until("response.incomplete"))[-1]["response"]
        assert ended["incomplete_details"] == {"reason": "steered"}
        created = await socket.receive()
        assert (created["type"], created["stream_id"]) == ("response.created", "a")
        successor = created["response"]
        assert successor["previous_response_id"] == target
        assert (successor["instructions"], successor["store"], successor["metadata"]) == (
            "Be brief.",
            False,
            {"k": "v"},
        )
        await socket.until("response.output_text.delta")
        record = emulator.responses[successor["id"]]
        assert record.successor_of == target
        assert record.effective_context == [
            *emulator.effective_context(target),
            *ended["output"],
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And now?"}]},
        ]
        (message,) = ended["output"]
        assert message["status"] == "incomplete"
        assert message["content"][0]["text"]


async def test_steers_queue_in_order_and_the_successor_can_be_continued() -> None:
    faults = Faults()
    gate = faults.hold(event=6)
    async with speaking(faults) as (emulator, socket, target):
        for text in ("one", "two"):
            await steer(socket, target, [{"role": "user", "content": text}])
            await socket.until("response.steer.accepted")
        gate.open()
        await socket.until("response.incomplete")
        created = (await socket.until("response.created"))[-1]["response"]
        assert emulator.responses[created["id"]].input == [
            {"role": "user", "content": "one"},
            {"role": "user", "content": "two"},
        ]


async def test_the_successor_comes_before_what_waits_on_the_lane() -> None:
    async with speaking() as (emulator, socket, target):
        await socket.create(model="echo", input="later")
        await steer(socket, target, "now")
        await socket.until("response.incomplete")
        created = (await socket.until("response.created"))[-1]["response"]
        assert created["previous_response_id"] == target
        assert emulator.responses[created["id"]].model == ENDLESS


async def test_a_steer_can_be_made_to_wait_for_the_end_of_an_item() -> None:
    options: Any = {"tokens_per_second": 500.0, "steers_cut_words": False}
    async with Emulator(**options) as emulator, wired(emulator) as wire, wire.socket() as socket:
        for model, terminal in (("words-40", "response.completed"), ("messages-2", "response.incomplete")):
            gate = emulator.faults.hold(event=6)
            await socket.create(model=model, input="x")
            target = (await socket.until("response.output_text.delta"))[0]["response"]["id"]
            await steer(socket, target, "next")
            await socket.until("response.steer.accepted")
            gate.open()
            ended = (await socket.until(terminal))[-1]["response"]
            (message,) = ended["output"]
            assert message["status"] == "completed"
            created = await socket.receive()
            assert created["response"]["previous_response_id"] == ended["id"]
            await socket.until("response.completed")


async def test_tool_calls_hold_a_steer_until_their_outputs_come() -> None:
    faults, gate = open_call()
    async with speaking(
        faults, model="tools", input="weather in Oslo and Bergen?", tools=[WEATHER], stream_id="a"
    ) as (
        emulator,
        socket,
        target,
    ):
        await steer(socket, target, "In Celsius, please.")
        await socket.until("response.steer.accepted")
        gate.open()
        events = await socket.until("response.steer.pending")
        assert "response.completed" in [event["type"] for event in events]
        pending = events[-1]
        calls = emulator.responses[target].output
        assert pending["reason"] == "waiting_for_required_input"
        assert pending["stream_id"] == "a"
        assert pending["required_input"] == [
            {"type": "function_call_output", "call_id": call["call_id"], "name": "get_weather"}
            for call in calls
        ]
        filled = [stub | {"output": "12 degrees"} for stub in pending["required_input"]]
        response = await socket.response(
            model="tools", input=filled, tools=[WEATHER], stream_id="a", previous_response_id=target
        )
        assert emulator.responses[response["id"]].input == [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "In Celsius, please."}],
            },
            *filled,
        ]
        # It was committed once, and is neither committed again nor returned.
        await socket.response(input="on", stream_id="a")
        assert "response.steer.failed" not in [event["type"] for event in socket.seen]


async def test_a_successor_continues_the_steered_response_where_others_have_its_id() -> None:
    """A server that gives one id to all responses of a connection, and has stored an earlier one."""
    emulator = Emulator(tokens_per_second=200, quirks=["xai"])
    async with emulator, wired(emulator) as wire, wire.socket(strict=False) as socket:
        stored = await socket.response(model="echo", input="earlier")
        await socket.create(model=ENDLESS, input="begin", store=False)
        await socket.until("response.output_text.delta")
        await steer(socket, stored["id"], "And now?")
        await socket.until("response.created")
        begun, successor = list(emulator.responses.values())[1:]
        assert successor.effective_context[: len(begun.input)] == begun.input
        assert "earlier" not in str(successor.effective_context)


async def test_a_held_steer_is_handed_back_when_the_lane_goes_elsewhere() -> None:
    faults, gate = open_call()
    async with speaking(faults, **CALLS) as (_, socket, target):
        await steer(socket, target, "x")
        await socket.until("response.steer.accepted")
        gate.open()
        await socket.until("response.steer.pending")
        await socket.create(model="echo", input="something else")
        events = await socket.until("response.completed")
        (failed,) = [event for event in events if event["type"] == "response.steer.failed"]
        assert failed["error"]["code"] == "response_not_active"
        assert failed["steer"]["input"] == "x"
        assert "id" in failed["steer"]


async def test_a_held_steer_is_handed_back_when_the_outputs_are_refused() -> None:
    faults, gate = open_call()
    async with speaking(faults, **CALLS) as (_, socket, target):
        await steer(socket, target, "x")
        await socket.until("response.steer.accepted")
        gate.open()
        await socket.until("response.steer.pending")
        await socket.create(input=[], previous_response_id=target)
        events = await socket.until("response.steer.failed")
        assert events[0]["type"] == "error"
        assert events[-1]["error"]["code"] == "successor_creation_failed"


async def failure(socket: Socket, target: str, given: Any = "x", **more: Any) -> Event:
    await steer(socket, target, given, **more)
    return (await socket.until("response.steer.failed"))[-1]


async def test_unknown_responses_cannot_be_steered(socket: Socket) -> None:
    event = await failure(socket, "resp_unknown", "hello")
    assert event["error"]["code"] == "response_not_found"
    assert event["error"]["type"] == "invalid_request_error"
    assert event["steer"] == {"previous_response_id": "resp_unknown", "input": "hello"}


async def test_responses_of_other_connections_cannot_be_steered() -> None:
    async with speaking() as (emulator, _, target), wired(emulator) as wire, wire.socket() as other:
        assert (await failure(other, target))["error"]["code"] == "response_not_found"


async def test_completed_and_other_ended_responses_cannot_be_steered(socket: Socket) -> None:
    done = await socket.response(input="x", stream_id="a")
    event = await failure(socket, done["id"])
    assert (event["error"]["code"], event["stream_id"]) == ("response_already_completed", "a")
    failed = await socket.turn(model="fail-server_error", input="x")
    assert (await failure(socket, failed["response"]["id"]))["error"]["code"] == "response_not_active"


async def test_old_models_and_conversations_cannot_be_steered() -> None:
    def endless(prompt: Prompt) -> list[Step]:
        return [Say(repeat(" word"))]

    async with Emulator(tokens_per_second=200) as emulator, wired(emulator) as wire, wire.socket() as socket:
        emulator.add_model("gpt-5.2", endless)
        managed: Event = {"context_management": [{"type": "compaction", "compact_threshold": 10**6}]}
        several: Event = {"multi_agent": {"enabled": True}}
        bodies: tuple[Event, ...] = ({"model": "gpt-5.2"}, {"conversation": "conv_1"}, managed, several)
        for lane, more in enumerate(bodies):
            body = {"model": ENDLESS, "input": "x", "stream_id": str(lane)} | more
            await socket.create(**body)
            events = await socket.until("response.output_text.delta", lane=str(lane))
            created = next(
                e for e in events if e["type"] == "response.created" and e["stream_id"] == str(lane)
            )
            event = await failure(socket, created["response"]["id"])
            assert event["error"]["code"] == "steering_not_supported"


async def test_only_so_many_steers_wait() -> None:
    faults, _ = open_call()
    async with speaking(faults, **CALLS) as (_, socket, target):
        for _ in range(MAX_PENDING + 1):
            await steer(socket, target, "x")
        events = await socket.until("response.steer.failed")
        assert [e["type"] for e in events].count("response.steer.accepted") == MAX_PENDING
        assert events[-1]["error"]["code"] == "too_many_pending_steers"


@pytest.mark.parametrize(
    ("given", "more"),
    [
        ([], {}),
        ("", {}),
        ([{"type": "function_call_output", "call_id": "c", "output": "x"}], {}),
        ("x", {"stream_id": "a"}),
        ("x", {"model": "echo"}),
    ],
)
async def test_only_user_messages_can_steer_and_nothing_else_be_sent(given: Any, more: Any) -> None:
    async with speaking() as (_, socket, target):
        event = await failure(socket, target, given, **more)
        assert event["error"]["code"] == "invalid_input"
        assert event["steer"]["input"] == given
        assert "id" not in event["steer"]


@pytest.mark.parametrize(
    "body", [{"input": "x"}, {"previous_response_id": "x"}, {"previous_response_id": 7, "input": "x"}]
)
async def test_a_steer_that_cannot_be_handed_back_is_an_error(socket: Socket, body: Event) -> None:
    await socket.send(type="response.steer", **body)
    event = await socket.receive()
    assert (event["type"], event["status"]) == ("error", 400)


async def test_a_steer_of_a_response_that_fails_is_handed_back() -> None:
    faults = Faults()
    gate = faults.hold(event=6)
    async with speaking(faults, model="fail-after-20-server_error") as (_, socket, target):
        await steer(socket, target, "x")
        await socket.until("response.steer.accepted")
        gate.open()
        events = await socket.until("response.steer.failed")
        assert "response.failed" in [event["type"] for event in events]
        assert events[-1]["error"]["code"] == "response_not_active"
        assert "id" in events[-1]["steer"]


async def test_steers_are_on_record() -> None:
    async with speaking(stream_id="a") as (emulator, socket, target):
        await steer(socket, target, "x")
        await socket.until("response.steer.accepted")
        request = emulator.requests[-1]
        assert (request.kind, request.lane, request.response_id) == ("response.steer", "a", target)
        await failure(socket, "resp_unknown")
        assert (emulator.requests[-1].error or {})["code"] == "response_not_found"
