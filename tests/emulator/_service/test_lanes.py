"""Lanes, as a data structure and over a socket."""

from __future__ import annotations

import asyncio

import pytest

from trunkline.emulator import ApiError, Emulator
from trunkline.emulator._service.lanes import Lanes

from ...waiting import until
from ..wire import Socket, wired


def test_a_lane_never_overlaps() -> None:
    lanes: Lanes[int] = Lanes()
    lanes.push(None, 1)
    lanes.push(None, 2)
    assert lanes.take() == (None, 1)
    assert lanes.take() is None
    lanes.finish(None)
    assert lanes.take() == (None, 2)


def test_jobs_start_in_order_of_arrival_among_the_lanes() -> None:
    lanes: Lanes[int] = Lanes(max_in_flight=1)
    for name in "abc":
        lanes.admit(name)
    for job, name in enumerate("abac"):
        lanes.push(name, job)
    started = []
    while (taken := lanes.take()) is not None:
        started.append(taken)
        lanes.finish(taken[0])
    assert started == [("a", 0), ("b", 1), ("a", 2), ("c", 3)]


def test_at_most_sixteen_run_and_the_others_wait() -> None:
    lanes: Lanes[int] = Lanes()
    for job in range(20):
        lanes.admit(str(job))
        lanes.push(str(job), job)
    assert [lanes.take() is not None for _ in range(17)] == [True] * 16 + [False]
    lanes.finish("3")
    assert lanes.take() == ("16", 16)


def test_only_distinct_names_count_and_the_default_lane_does_not() -> None:
    lanes: Lanes[int] = Lanes()
    for number in range(32):
        lanes.admit(str(number))
    lanes.admit("0")
    lanes.admit(None)
    with pytest.raises(ApiError) as refusal:
        lanes.admit("one too many")
    assert refusal.value.code == "websocket_stream_limit_reached"


async def test_every_event_of_a_named_lane_carries_its_name_and_none_of_the_default_lane(
    socket: Socket,
) -> None:
    await socket.create(model="mixed", input="x", stream_id="A.b-1_")
    for event in await socket.until("response.completed"):
        assert event["stream_id"] == "A.b-1_"
    assert (await socket.turn(input=1, stream_id="A.b-1_"))["stream_id"] == "A.b-1_"
    await socket.create(model="mixed", input="x")
    await socket.send(type="response.create", model="echo", input=7)
    for event in await socket.until("error"):
        assert "stream_id" not in event


@pytest.mark.parametrize("name", ["", " ", "a b", "é", "x" * 257, "a/b", 7, None])
async def test_a_bad_name_is_refused_without_an_echo(socket: Socket, name: object) -> None:
    await socket.create(input="x", stream_id=name)
    event = await socket.receive()
    assert event["error"]["code"] == "invalid_stream_id"
    assert event["status"] == 400
    assert "stream_id" not in event


async def test_the_thirty_third_name_is_refused_and_the_old_ones_go_on(socket: Socket) -> None:
    for number in range(32):
        await socket.response(input="x", stream_id=f"lane-{number}")
    error = await socket.refused(input="x", stream_id="lane-32")
    assert (error["status"], error["code"]) == (400, "websocket_stream_limit_reached")
    await socket.response(input="x", stream_id="lane-0")
    await socket.response(input="x")


async def test_lanes_interleave_and_one_lane_is_first_in_first_out() -> None:
    async with Emulator() as emulator, wired(emulator) as wire, wire.socket() as socket:
        gate = emulator.faults.hold(event=6, lane="a")
        for name, text in (("a", "1 2 3 4 5"), ("a", "6 7 8 9 0"), ("b", "v w x y z")):
            await socket.create(input=text, stream_id=name)
        await socket.until("response.completed", lane="b")
        gate.open()
        for _ in range(2):
            await socket.until("response.completed", lane="a")
        order = [e["stream_id"] for e in socket.seen if e["type"] == "response.output_text.delta"]
        assert order == ["a", *["b"] * 5, *["a"] * 9]
        texts = [record.output[0]["content"][0]["text"] for record in emulator.responses.values()]
        assert texts == ["1 2 3 4 5", "v w x y z", "6 7 8 9 0"]


async def test_sixteen_run_at_once_and_the_seventeenth_waits_for_one_to_end() -> None:
    async with Emulator() as emulator, wired(emulator) as wire, wire.socket() as socket:
        gate = emulator.faults.hold(event=2, times=None)
        for number in range(17):
            await socket.create(model="words-5", input="x", stream_id=f"lane-{number}")
        await until(lambda: gate.held == 16 and len(emulator.requests) == 17, "all are asked")
        gate.open()
        kinds = []
        for _ in range(17):
            kinds += [event["type"] for event in await socket.until("response.completed")]
        assert emulator.connections[0].peak_in_flight == 16
        assert kinds[: kinds.index("response.completed")].count("response.created") == 16
        assert kinds.count("response.created") == 17


async def test_a_hundred_requests_sent_at_once_all_come_through(socket: Socket) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(socket.create(input="hello", stream_id=f"lane-{number % 32}"))
    for _ in range(100):
        await socket.until("response.completed")
