from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import openai
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

import trunkline
import trunkline.openai
from trunkline.emulator import Emulator, assert_context
from trunkline.gateway import session as sessions

from ..waiting import soon, until
from .running import KEYS, Running, running, with_tenants


@asynccontextmanager
async def opened(
    gateway: Running, key: str | None = None, query: str = "", **headers: str
) -> AsyncIterator[ClientConnection]:
    url = gateway.base_url.replace("http", "ws") + "/responses" + query
    headers = {"Authorization": f"Bearer {key or gateway.api_key}", **headers}
    async with connect(url, additional_headers=headers, proxy=None) as socket:
        yield socket


async def send(socket: ClientConnection, text: str, lane: str | None = None, **fields: Any) -> None:
    frame = {"type": "response.create", "model": "echo", "input": text, **fields}
    if lane is not None:
        frame["stream_id"] = lane
    await socket.send(json.dumps(frame))


async def receive(socket: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await soon(socket.recv()))
    return found


async def ended(socket: ClientConnection) -> dict[str, Any]:
    """The next event that ends a request."""
    while True:
        event = await receive(socket)
        if event["type"] in ("response.completed", "response.failed", "error"):
            return event


async def test_each_event_names_its_lane(emulator: Emulator) -> None:
    async with running(emulator) as gateway, opened(gateway) as socket:
        assert socket.response is not None
        assert socket.response.headers["x-trunkline-gateway"] == "1"
        await send(socket, "one", "a")
        await send(socket, "two", "b")
        seen: dict[str, list[str]] = {"a": [], "b": []}
        while not all("response.completed" in events for events in seen.values()):
            event = await receive(socket)
            seen[event["stream_id"]].append(event["type"])
        assert seen["a"][:2] == ["response.created", "response.in_progress"]
        await send(socket, "three")
        assert "stream_id" not in await ended(socket)


async def test_requests_of_a_lane_run_one_after_another(emulator: Emulator) -> None:
    async with running(emulator) as gateway, opened(gateway) as socket:
        for number in range(5):
            await send(socket, f"turn {number}", "a")
        for number in range(5):
            event = await ended(socket)
            assert event["response"]["output"][0]["content"][0]["text"] == f"turn {number}"


@pytest.mark.parametrize("store", [None, False])
async def test_a_lane_remembers_its_context_when_the_socket_upward_is_lost(
    emulator: Emulator, store: bool | None
) -> None:
    fields = {} if store is None else {"store": store}
    async with running(emulator) as gateway, opened(gateway) as socket:
        await send(socket, "one", "a", **fields)
        first = (await ended(socket))["response"]
        emulator.faults.add("drop", event=1, times=1)
        await send(socket, "two", "a", previous_response_id=first["id"], **fields)
        second = (await ended(socket))["response"]
        assert second["previous_response_id"] == first["id"]
        said = [
            {"type": "message", "role": "user", "content": "one"},
            {"type": "message", "role": "assistant", "content": "one"},
            {"type": "message", "role": "user", "content": "two"},
        ]
        assert_context(emulator.effective_context(second["id"]), said)
        assert len({request.connection_id for request in emulator.requests}) == 2


async def test_a_warm_up_is_continued(emulator: Emulator) -> None:
    async with running(emulator) as gateway, gateway.client() as client:
        chat = client.conversation(model="echo", instructions="Be brief.")
        await chat.warm()
        async with chat.send("hi") as stream:
            response = await stream.finish()
        assert [(request.body or {}).get("generate") for request in emulator.requests] == [False, None]
        assert_context(emulator.effective_context(response.id), chat.items[:-1])


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        ("no json", None, "not a JSON object"),
        ('{"type":"response.cancel"}', None, "send response.create"),
        ('{"type":"response.create","stream_id":""}', "invalid_stream_id", "1 to 256"),
        ('{"type":"response.create","stream_id":"a b"}', "invalid_stream_id", "1 to 256"),
        (
            '{"type":"response.create","stream_id":"a","model":"echo","input":"x","temperature":9}',
            None,
            "temperature",
        ),
    ],
)
async def test_a_wrong_frame_is_refused_and_the_socket_goes_on(
    emulator: Emulator, frame: str, code: str | None, words: str
) -> None:
    async with running(emulator) as gateway, opened(gateway) as socket:
        await socket.send(frame)
        event = await ended(socket)
        assert event["type"] == "error"
        assert event["status"] == 400
        assert words in event["error"]["message"]
        if code is not None:
            assert event["error"]["code"] == code
        await send(socket, "on")
        assert (await ended(socket))["type"] == "response.completed"


async def test_a_socket_has_32_names(emulator: Emulator) -> None:
    async with running(emulator) as gateway, opened(gateway) as socket:
        for number in range(sessions.MAX_NAMES):
            await send(socket, "hi", f"lane-{number}")
        for _ in range(sessions.MAX_NAMES):
            assert (await ended(socket))["type"] == "response.completed"
        await send(socket, "hi", "one-more")
        event = await ended(socket)
        assert event["error"]["code"] == "websocket_stream_limit_reached"
        assert event["stream_id"] == "one-more"


async def test_at_most_16_answers_run_at_a_time(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event_type="response.completed", times=None)
    async with running(emulator) as gateway, opened(gateway) as socket:
        for number in range(20):
            await send(socket, "hi", f"lane-{number}")
        await until(lambda: len(emulator.requests) == sessions.MAX_IN_FLIGHT, "16 run")
        assert gateway.gateway.life.running == sessions.MAX_IN_FLIGHT
        gate.open()
        for _ in range(20):
            assert (await ended(socket))["type"] == "response.completed"


async def test_silence_is_broken_by_harmless_events(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "BEAT_S", 0.01)
    gate = emulator.faults.hold(event_type="response.completed")
    async with running(emulator) as gateway, opened(gateway) as socket:
        await send(socket, "hi", "a")
        while (event := await receive(socket))["type"] != "keepalive":
            pass
        assert event == {"type": "keepalive", "stream_id": "a"}
        gate.open()
        assert (await ended(socket))["type"] == "response.completed"


async def test_a_caller_that_leaves_leaves_its_answers(emulator: Emulator) -> None:
    async with running(emulator) as gateway:
        async with opened(gateway) as socket:
            await send(socket, "go", "a", model="words-100000")
            await send(socket, "never", "a")
            await receive(socket)
        await until(lambda: gateway.gateway.life.running == 0, "the answer is left")
        assert len(emulator.requests) == 1


async def test_a_drain_closes_an_idle_socket_and_waits_for_a_running_answer(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event_type="response.completed")
    async with (
        running(emulator, drain={"notice_s": 0, "within_s": 3600}) as gateway,
        opened(gateway) as idle,
        opened(gateway) as busy,
    ):
        await send(busy, "long", "a")
        await until(lambda: gateway.gateway.life.running == 1, "the answer runs")
        drain = asyncio.create_task(gateway.gateway.drain())
        assert (await ended(idle))["error"]["code"] == "websocket_connection_limit_reached"
        with pytest.raises(websockets.ConnectionClosed):
            await soon(idle.recv())
        await send(busy, "never", "b")
        refused = await ended(busy)
        assert refused["error"]["code"] == "websocket_connection_limit_reached"
        assert refused["stream_id"] == "b", "without a lane it would refuse the running request too"
        gate.open()
        assert (await ended(busy))["type"] == "response.completed"
        await soon(drain)
        assert len(emulator.requests) == 1


async def test_answers_of_a_socket_beyond_the_time_of_the_drain_end_as_the_service_ends_them(
    emulator: Emulator,
) -> None:
    emulator.faults.hold(model="echo", event_type="response.created", times=None)
    emulator.faults.hold(model="words-1", event_type="response.completed", times=None)
    tools = [{"type": "mcp", "server_label": "x", "server_url": "https://example.org/mcp"}]
    async with (
        running(emulator, drain={"notice_s": 0, "within_s": 3600}) as gateway,
        opened(gateway) as socket,
    ):
        await send(socket, "long", "output", model="words-1")
        await send(socket, "long", "acts", tools=tools)
        await send(socket, "long", "silent")
        await send(socket, "never", "silent")
        while (await receive(socket))["type"] != "response.output_text.delta":
            pass
        await until(lambda: len(emulator.requests) == 3, "the answers run")
        drain = asyncio.create_task(gateway.gateway.drain())
        await until(lambda: not gateway.gateway.life.takes_work, "the gateway drains")
        gateway.gateway.life.cut()
        errors = [await ended(socket) for _ in range(4)]
        await soon(drain)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await soon(socket.recv())
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert len(emulator.requests) == 3
        found = {each.get("stream_id"): each["error"] for each in errors}
        for lane in ("output", "acts"):
            assert found[lane]["code"] == "gateway_shutting_down"
            assert found[lane]["headers"] == {"x-should-retry": "false"}
        limit = "websocket_connection_limit_reached"
        assert found["silent"]["code"] == limit
        assert errors[-1].get("stream_id") is None, "it refuses the request that waits"
        assert errors[-1]["error"]["code"] == limit


@pytest.mark.parametrize("lane", [None, "a"])
async def test_a_late_request_on_a_busy_lane_is_refused_after_the_running_answer(
    emulator: Emulator, lane: str | None
) -> None:
    """A refusal before would be taken for that of the running request, which has no event so far."""
    gate = emulator.faults.hold(event=1)
    async with (
        running(emulator, drain={"notice_s": 0, "within_s": 3600}) as gateway,
        opened(gateway) as socket,
    ):
        await send(socket, "long", lane)
        await until(lambda: len(emulator.requests) == 1, "the answer runs")
        drain = asyncio.create_task(gateway.gateway.drain())
        await until(lambda: not gateway.gateway.life.takes_work, "the gateway drains")
        await send(socket, "never", lane)
        await send(socket, "never", "another")
        assert (await ended(socket))["stream_id"] == "another"
        gate.open()
        assert (await ended(socket))["type"] == "response.completed"
        assert (await ended(socket))["error"]["code"] == "websocket_connection_limit_reached"
        await soon(drain)
        assert len(emulator.requests) == 1


async def test_a_lost_request_that_may_have_acted_is_not_repeated_by_the_drop_in(emulator: Emulator) -> None:
    emulator.faults.add("drop", event=2, times=None)
    tools: Any = [{"type": "mcp", "server_label": "x", "server_url": "https://example.org/mcp"}]
    async with running(emulator) as gateway:
        http = trunkline.openai.async_http_client(lanes=True)
        async with gateway.openai(http_client=http, max_retries=2) as client:
            with pytest.raises(openai.InternalServerError) as caught:
                await client.responses.create(model="echo", input="hello", tools=tools)
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert len(emulator.requests) == 1


async def test_our_client_moves_on_when_a_gateway_drains(emulator: Emulator) -> None:
    async with running(emulator) as other:
        async with (
            running(emulator, drain={"notice_s": 0, "within_s": 60}) as gateway,
            gateway.client() as client,
        ):
            chat = client.conversation(model="echo")
            async with chat.send("one") as stream:
                await stream.finish()
            await gateway.gateway.drain()
        async with other.client() as client:
            chat = client.conversation(model="echo", items=chat.items)
            async with chat.send("two") as stream:
                response = await stream.finish()
            assert_context(emulator.effective_context(response.id), chat.items[:-1])


@pytest.mark.parametrize(("lanes", "sockets"), [(None, 2), (True, 1), (False, 8)])
async def test_our_client_speaks_lanes_without_being_told(
    emulator: Emulator, lanes: bool | None, sockets: int
) -> None:
    gate = emulator.faults.hold(event_type="response.completed", times=None)
    async with running(emulator) as gateway, gateway.client(lanes=lanes) as client:
        await client.warm(model="echo")
        turns = [asyncio.create_task(say(client, f"turn {number}")) for number in range(8)]
        await until(lambda: len(emulator.requests) == 8, "all run")
        assert client.state().sockets == sockets
        gate.open()
        assert await asyncio.gather(*turns) == [f"turn {number}" for number in range(8)]


@pytest.mark.parametrize(("lanes", "sockets"), [(None, 2), (True, 1), (False, 9)])
async def test_the_drop_in_speaks_lanes_without_being_told(
    emulator: Emulator, lanes: bool | None, sockets: int
) -> None:
    turns: list[trunkline.TurnMetrics] = []
    hooks = trunkline.Hooks(turn_finished=turns.append)
    transport = trunkline.openai.AsyncTransport(lanes=lanes, hooks=hooks)
    http = httpx2.AsyncClient(transport=transport)
    async with running(emulator) as gateway, gateway.openai(http_client=http) as client:
        gate = emulator.faults.hold(event_type="response.completed", times=None)
        first = asyncio.create_task(client.responses.create(model="echo", input="first"))
        await until(lambda: len(emulator.requests) == 1, "the first one runs")
        more = [
            asyncio.create_task(client.responses.create(model="echo", input=f"turn {number}"))
            for number in range(8)
        ]
        await until(lambda: len(emulator.requests) == 9, "all run")
        assert transport.state().sockets == sockets
        gate.open()
        assert (await first).output_text == "first"
        assert [answer.output_text for answer in await asyncio.gather(*more)] == [
            f"turn {number}" for number in range(8)
        ]
    assert {(turn.transport, turn.attempts) for turn in turns} == {("websocket", 1)}


async def test_what_is_remembered_does_not_depend_on_the_model_in_the_url(emulator: Emulator) -> None:
    """Clients name the model in the URL of the upgrade too."""
    async with running(emulator) as gateway:
        async with opened(gateway, query="?model=echo&version=1") as socket:
            await send(socket, "one", store=False)
            first = (await ended(socket))["response"]
        async with opened(gateway, query="?version=1&model=reason") as socket:
            await send(socket, "two", store=False, model="reason", previous_response_id=first["id"])
            second = (await ended(socket))["response"]
    said = [
        {"type": "message", "role": "user", "content": "one"},
        {"type": "message", "role": "assistant", "content": "one"},
        {"type": "message", "role": "user", "content": "two"},
    ]
    assert_context(emulator.effective_context(second["id"]), said)


async def say(client: trunkline.Client, text: str) -> str:
    async with client.conversation(model="echo").send(text) as stream:
        return (await stream.finish()).output_text


async def test_upgrades_are_admitted_like_requests(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    async with with_tenants(emulator) as gateway:
        for key, headers, status in (("sk-wrong", {}, 401), (KEYS["voice"], {"Origin": "https://evil"}, 403)):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await opened(gateway, key, **headers).__aenter__()
            assert refused.value.response.status_code == status
        async with opened(gateway) as socket:
            await send(socket, "hi", previous_response_id="resp_of_another")
            assert (await ended(socket))["error"]["code"] == "previous_response_not_found"
        async with gateway.client("sk-wrong", transport="websocket") as client:
            with pytest.raises(trunkline.UpgradeRefused, match="401"):
                await client.warm(model="echo")
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_the_limits_of_a_tenant_count_frames(emulator: Emulator) -> None:
    async with with_tenants(emulator, {"turns_per_minute": 1}) as gateway, opened(gateway) as socket:
        await send(socket, "hi", "a")
        assert (await ended(socket))["type"] == "response.completed"
        await send(socket, "hi", "a")
        event = await ended(socket)
        assert (event["status"], event["stream_id"]) == (429, "a")
        assert int(event["error"]["headers"]["retry-after"]) >= 1


async def test_too_many_sockets_are_refused(emulator: Emulator) -> None:
    async with running(emulator, bounds={"sockets_inward": 1}) as gateway, opened(gateway):
        with pytest.raises(websockets.InvalidStatus):
            await opened(gateway).__aenter__()


async def test_a_caller_that_does_not_read_loses_that_answer_alone(emulator: Emulator) -> None:
    emulator.expect("much").says(f"{'x' * 100_000} " * 160)
    async with (
        running(emulator, bounds={"unread_bytes": 100_000}) as gateway,
        opened(gateway) as socket,
        opened(gateway) as neighbour,
    ):
        await send(socket, "much", "a")
        await until(lambda: "completed" in statuses(emulator), "the answer was sent", within_s=60)
        await send(neighbour, "hi")
        assert (await ended(neighbour))["type"] == "response.completed"
        event = await ended(socket)
        assert (event["type"], event["stream_id"], event["error"]["code"]) == ("error", "a", "slow_consumer")
        unread = int(event["error"]["message"].partition(" ")[0].replace(",", ""))
        assert 100_000 < unread < 1_000_000
        await send(socket, "on", "a")
        assert (await ended(socket))["type"] == "response.completed"


def statuses(emulator: Emulator) -> list[str]:
    return [str(record.status) for record in emulator.responses.values()]


async def test_too_many_requests_that_wait_are_refused(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event_type="response.completed")
    async with running(emulator, bounds={"waiting_frames": 2}) as gateway, opened(gateway) as socket:
        await send(socket, "runs", "a")
        await until(lambda: len(emulator.requests) == 1, "it runs")
        for number in range(3):
            await send(socket, f"waits {number}", "a")
        event = await ended(socket)
        assert (event["status"], event["stream_id"]) == (429, "a")
        assert event["error"]["code"] == "too_many_waiting_requests"
        gate.open()
        said = [(await ended(socket))["response"]["output"][0]["content"][0]["text"] for _ in range(3)]
        assert said == ["runs", "waits 0", "waits 1"]


async def test_the_memory_of_frames_is_bounded_and_given_back(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event_type="response.completed")
    async with running(emulator, bounds={"bodies_bytes": 5000}) as gateway:
        async with opened(gateway) as leaving:
            await send(leaving, "x" * 1000, "a")
            await send(leaving, "x" * 3000, "a")
            await until(lambda: len(emulator.requests) == 1, "one runs, one waits")
            async with opened(gateway) as socket:
                await send(socket, "x" * 2000)
                event = await ended(socket)
                assert (event["status"], event["error"]["message"]) == (
                    503,
                    "the gateway has no memory left for this request",
                )
        await until(lambda: gateway.gateway.life.running == 0, "the caller has left")
        gate.open()
        async with opened(gateway) as socket:
            for _ in range(2):
                await send(socket, "x" * 4000)
                assert (await ended(socket))["type"] == "response.completed"
