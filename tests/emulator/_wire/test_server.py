"""WebSocket, JSON and server-sent events, and authentication for each."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref

import aiohttp
import pytest

from trunkline.emulator import Emulator, RequestRecord

from ..wire import TIMEOUT_S, Socket, Wire, text_of, wired


async def test_a_socket_streams_a_response_in_the_services_order(socket: Socket) -> None:
    await socket.create(input="hello big world")
    events = await socket.until("response.completed")
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert text_of(events[-1]["response"]) == "hello big world"


async def test_a_post_answers_with_the_whole_response(wire: Wire) -> None:
    status, response = await wire.post(input="hello")
    assert status == 200
    assert response["status"] == "completed"
    assert text_of(response) == "hello"
    record = wire.emulator.responses[response["id"]]
    assert (record.transport, record.connection_id, record.lane) == ("http", None, None)


async def test_a_post_with_stream_answers_with_events(wire: Wire) -> None:
    events = await wire.sse(input="hello world")
    assert all(name == data["type"] for name, data in events)
    assert events[0][0] == "response.created"
    assert events[-1][0] == "response.completed"
    assert [data["delta"] for name, data in events if name.endswith("text.delta")] == ["hello", " world"]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, None),
        ({"Authorization": "Bearer wrong"}, "invalid_api_key"),
        ({"Authorization": "Basic x"}, None),
    ],
)
async def test_without_the_key_nobody_comes_in(
    emulator: Emulator, headers: dict[str, str], code: str | None
) -> None:
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{emulator.base_url}/responses", json={}) as answer:
            assert answer.status == 401
            error = (await answer.json())["error"]
            assert (error["type"], error["code"]) == ("invalid_request_error", code)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect(f"{emulator.base_url}/responses")
        assert refusal.value.status == 401
    assert emulator.live_connections == []


async def test_any_key_will_do_where_none_is_set() -> None:
    async with Emulator(api_key=None) as emulator, wired(emulator) as wire:
        status, _ = await wire.post(input="hello")
        assert status == 200


async def test_every_answer_has_a_request_id(wire: Wire) -> None:
    async with wire.session.post(f"{wire.emulator.base_url}/responses", json={}) as answer:
        assert answer.status == 400
        assert answer.headers["x-request-id"].startswith("req_")


async def test_unknown_paths_and_methods_are_refused_as_json(wire: Wire) -> None:
    status, body = await wire.call("GET", "/nothing")
    assert (status, body["error"]["type"]) == (404, "invalid_request_error")
    status, body = await wire.call("PUT", "/responses")
    assert (status, body["error"]["code"]) == (405, "method_not_supported")
    status, body = await wire.call("GET", "/responses")
    assert (status, body["error"]["code"]) == (426, "upgrade_required")


async def test_connections_are_on_record(wire: Wire) -> None:
    emulator = wire.emulator
    async with wire.session.ws_connect(
        f"{emulator.base_url}/responses?model=echo", headers={"x-a": "1"}
    ) as raw:
        (connection,) = emulator.live_connections
        assert connection.query == {"model": "echo"}
        assert connection.headers["x-a"] == "1"
        await Socket(raw).response(input="x", stream_id="main")
        assert connection.lane_names == ["main"]
        assert connection.peak_in_flight == 1
    assert emulator.handshakes == 1


async def test_dropping_connections_breaks_them_off_or_closes_them_with_a_code(wire: Wire) -> None:
    async with wire.socket() as socket:
        await wire.emulator.drop_connections()
        message = await socket.raw.receive()
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        assert socket.raw.close_code == 1006
    async with wire.socket() as socket:
        await wire.emulator.drop_connections(1012)
        message = await socket.raw.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1012)


async def test_a_response_whose_client_left_is_cancelled_and_not_remembered() -> None:
    async with Emulator(tokens_per_second=1) as emulator, wired(emulator) as wire:
        async with wire.socket() as socket:
            await socket.create(model="words-50", input="x")
            await socket.until("response.output_text.delta")
        (record,) = emulator.responses.values()
        await emulator.drop_connections()
        while emulator.live_connections:
            await asyncio.sleep(0)
        assert record.status == "cancelled"
        status, body = await wire.post(input="y", previous_response_id=record.id)
        assert (status, body["error"]["code"]) == (400, "previous_response_not_found")


async def test_stopping_does_not_wait_for_clients_that_are_connected() -> None:
    emulator = Emulator(tokens_per_second=1)
    await emulator.start()
    async with wired(emulator) as wire, wire.socket() as socket:
        await socket.create(model="words-50", input="x")
        await socket.until("response.output_text.delta")
        post = asyncio.create_task(wire.sse(model="words-50", input="x"))
        while len(emulator.responses) < 2:
            await asyncio.sleep(0)
        begun = time.monotonic()
        await emulator.stop()
        assert time.monotonic() - begun < TIMEOUT_S / 2
        message = await socket.raw.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
        with pytest.raises(aiohttp.ClientError):
            await post


async def test_the_pace_is_kept() -> None:
    async with Emulator(first_token_s=0.05, tokens_per_second=100) as emulator, wired(emulator) as wire:
        begun = time.monotonic()
        await wire.post(model="words-11", input="x")
        assert 0.15 <= time.monotonic() - begun < TIMEOUT_S / 2


async def test_listeners_hear_of_every_request(wire: Wire) -> None:
    heard: list[RequestRecord] = []
    wire.emulator.on_request.append(heard.append)
    await wire.post(input="hello")
    async with wire.socket() as socket:
        await socket.response(input="hello", stream_id="a")
        await socket.refused(input=7)
        await socket.raw.send_str("no json")
        await socket.receive()
    assert heard == wire.emulator.requests
    assert [(one.kind, one.transport, one.lane) for one in heard] == [
        ("response.create", "http", None),
        ("response.create", "websocket", "a"),
        ("response.create", "websocket", None),
        ("invalid", "websocket", None),
    ]
    assert [bool(one.error) for one in heard] == [False, False, True, True]
    assert heard[1].response_id in wire.emulator.responses
    assert heard[3].body is None
    assert heard[3].size_bytes == 7


async def test_a_failing_observer_is_logged_and_ends_no_connection(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(request: RequestRecord) -> None:
        raise LookupError("in the observer")

    heard: list[RequestRecord] = []
    wire.emulator.on_request += [failing, heard.append]
    await wire.post(input="hello")
    async with wire.socket() as socket:
        await socket.response(input="hello")
        await socket.refused(input=7)
        await socket.send(type="response.steer", previous_response_id="resp_x", input="hello")
        assert (await socket.receive())["type"] == "response.steer.failed"
        await socket.response(input="hello again")
        assert len(wire.emulator.live_connections) == 1
    assert heard == wire.emulator.requests
    assert len(heard) == 5
    logged = [record.exc_info for record in caplog.records if record.name == "trunkline.emulator"]
    assert [info[0] for info in logged if info] == [LookupError] * 5


async def test_nothing_keeps_a_stopped_emulator() -> None:
    async with Emulator() as running, wired(running) as wire:
        await wire.post(input="hello")
    emulator = weakref.ref(running)
    del running, wire
    for _ in range(5):  # callbacks of closed connections
        await asyncio.sleep(0)
    gc.collect()
    assert emulator() is None
