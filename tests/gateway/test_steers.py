"""Steers through the gateway: into answers of the same WebSocket, with the outcomes of the service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection

import trunkline
from trunkline.emulator import Call, Emulator, Prompt, Say, Step, words
from trunkline.emulator.pace import Pace
from trunkline.events import ResponseCreated, SteerAccepted

from ..peer import Server
from ..talk import WEATHER, ask, assert_kept, first_text, output_for, texts
from ..test_steering import Wire, begin, end, error, on
from ..waiting import soon, until
from .running import KEYS, Running, running, with_tenants
from .test_sockets import ended, opened, receive, send

STORY = "words-1000000"


def told(prompt: Prompt) -> list[Step]:
    """A story without end, and a brief answer to any other message."""
    if prompt.user_text == "tell me a story":
        return [Say(f"{number} " for number in count())]
    return [Say(words(f"As you wish: {prompt.user_text}"))]


@pytest.fixture(autouse=True)
def story(emulator: Emulator) -> None:
    emulator.pace = Pace(0.0, 300)
    emulator.add_model(STORY, told)


def calls_once(prompt: Prompt) -> list[Step]:
    """A call, then an answer to its output."""
    if prompt.outputs:
        return [Say(words("It is sunny."))]
    return [Call("get_weather", json.dumps({"city": "Oslo"}))]


async def steer(socket: ClientConnection, response_id: str, given: Any = "in verse", **more: Any) -> None:
    body = {"type": "response.steer", "previous_response_id": response_id, "input": given, **more}
    await socket.send(json.dumps(body))


async def until_text(socket: ClientConnection) -> str:
    """The id of the response whose first text has arrived."""
    response_id = ""
    while (event := await receive(socket))["type"] != "response.output_text.delta":
        if event["type"] == "response.created":
            response_id = event["response"]["id"]
    return response_id


async def outcome(socket: ClientConnection) -> dict[str, Any]:
    """The next event about a steer."""
    while not (event := await receive(socket))["type"].startswith("response.steer."):
        pass
    return event


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("store", [True, False])
async def test_the_history_is_what_the_model_saw(emulator: Emulator, lanes: bool, store: bool) -> None:
    async with running(emulator) as gateway, gateway.client(lanes=lanes) as client:
        chat = client.conversation(model=STORY, store=store)
        await ask(chat, "hello")
        async with chat.send("tell me a story") as stream:
            await first_text(stream)
            await stream.steer("in verse")
            kinds = [type(event) async for event in stream]
        assert kinds.index(SteerAccepted) < kinds.index(ResponseCreated)
        assert stream.response.output_text == "As you wish: in verse"
        assert_kept(emulator, chat, stream.response)
        after = await ask(chat, "thank you")
        assert (after.metrics.mode, after.metrics.recoveries) == ("delta", [])
        assert_kept(emulator, chat, after.response)
        # The gateway remembers the whole context, without the socket that the service had it on.
        await emulator.drop_connections()
        state = gateway.gateway.callers[""].door.state
        await until(lambda: state().sockets == 0, "the gateway has noticed")
        again = await ask(chat, "and on")
        assert (again.metrics.mode, again.metrics.recoveries) == ("delta", [])
        assert_kept(emulator, chat, again.response)


async def test_several_steers_and_successors(emulator: Emulator) -> None:
    async with running(emulator) as gateway, gateway.client() as client:
        chat = client.conversation(model=STORY)
        async with chat.send("tell me a story") as stream:
            await first_text(stream)
            await stream.steer("tell me a story")
            await first_text(stream)
            async for event in stream:
                if isinstance(event, ResponseCreated):
                    break
            await first_text(stream)
            await asyncio.gather(stream.steer("in verse"), stream.steer("shorter"))
            await stream.finish()
        assert_kept(emulator, chat, stream.response)


async def test_the_caller_sees_the_parents_that_it_knows(emulator: Emulator) -> None:
    async with running(emulator) as gateway, opened(gateway) as socket:
        await send(socket, "hello", "a", model=STORY)
        before = (await ended(socket))["response"]["id"]
        await send(socket, "tell me a story", "a", model=STORY, previous_response_id=before)
        first = await until_text(socket)
        await steer(socket, first)
        accepted = await outcome(socket)
        assert (accepted["type"], accepted["stream_id"]) == ("response.steer.accepted", "a")
        assert accepted["steer"]["previous_response_id"] == first
        while (event := await receive(socket))["type"] != "response.incomplete":
            pass
        assert event["response"]["previous_response_id"] == before
        last = (await ended(socket))["response"]
        assert last["previous_response_id"] == first


async def test_a_steer_reaches_answers_of_the_same_socket_only(emulator: Emulator) -> None:
    async with running(emulator) as gateway, opened(gateway) as socket, opened(gateway) as other:
        await send(socket, "tell me a story", "a", model=STORY)
        response_id = await until_text(socket)
        await steer(other, response_id, "stop")
        failed = await outcome(other)
        assert failed["type"] == "response.steer.failed"
        assert failed["steer"] == {"previous_response_id": response_id, "input": "stop"}
        assert failed["error"]["code"] == "response_not_found"
        assert "stream_id" not in failed
        await steer(socket, response_id)
        assert (await ended(socket))["response"]["previous_response_id"] == response_id
        await steer(socket, response_id, "too late")
        assert (await outcome(socket))["error"]["code"] == "response_not_found"
    steers = [request.body for request in emulator.requests if request.kind == "response.steer"]
    assert [each["input"] for each in steers if each] == ["in verse"]


@pytest.mark.parametrize(
    ("given", "more", "code"),
    [
        ("", {}, "invalid_input"),
        ([{"type": "message", "role": "assistant", "content": "x"}], {}, "invalid_input"),
        ("x", {"stream_id": "a"}, "invalid_input"),
    ],
)
async def test_a_steer_that_is_wrong_is_handed_back(
    emulator: Emulator, given: Any, more: dict[str, Any], code: str
) -> None:
    async with running(emulator) as gateway, opened(gateway) as socket:
        await send(socket, "tell me a story", "a", model=STORY)
        response_id = await until_text(socket)
        await steer(socket, response_id, given, **more)
        failed = await outcome(socket)
        assert failed["steer"]["input"] == given
        assert failed["error"]["code"] == code
        await socket.send('{"type":"response.steer","input":"x"}')
        while (event := await receive(socket))["type"] != "error":
            pass
        assert event["error"]["param"] == "previous_response_id"
        await steer(socket, response_id)
        assert (await ended(socket))["type"] == "response.completed"


async def test_a_refusal_of_the_service_arrives(emulator: Emulator) -> None:
    emulator.add_model("gpt-5-told", told)
    async with (
        running(emulator) as gateway,
        gateway.client() as client,
        client.conversation(model="gpt-5-told").send("tell me a story") as stream,
    ):
        await first_text(stream)
        with pytest.raises(trunkline.SteerRefused) as refused:
            await stream.steer("in verse")
        assert (refused.value.code, refused.value.input) == ("steering_not_supported", "in verse")


async def test_a_steer_that_a_server_does_not_know_is_handed_back_with_its_input(
    emulator: Emulator, server: Server
) -> None:
    """Such servers answer with an error, without the input."""
    upstream = {"openai": {"base_url": f"http://127.0.0.1:{server.port}/v1", "lanes": True}}
    async with running(emulator, upstream=upstream) as gateway, opened(gateway) as socket:
        await send(socket, "hi", "a")
        peer = await soon(server.next_peer())
        peer.accept()
        wire = Wire(peer)
        lane = (await wire.receive())["stream_id"]
        wire.send(on(lane, begin("resp_1", "Hello")))
        assert await until_text(socket) == "resp_1"
        await steer(socket, "resp_1", "in verse")
        assert (await wire.receive())["type"] == "response.steer"
        wire.send(error(None, code="unknown_type"), on(lane, end("resp_1", "Hello")))
        failed = await outcome(socket)
        assert failed["steer"] == {"input": "in verse"}
        assert failed["error"]["code"] == "unknown_type"
        assert (await ended(socket))["type"] == "response.completed"


@pytest.mark.parametrize("lanes", [True, False], ids=["lanes", "no lanes"])
@pytest.mark.parametrize("store", [True, False], ids=["stored", "unstored"])
async def test_a_steer_that_would_wait_for_tool_outputs_is_handed_back(
    emulator: Emulator, store: bool, lanes: bool
) -> None:
    upstream = {"openai": {"base_url": emulator.base_url, "lanes": lanes}}
    emulator.add_model("caller", calls_once)
    gate = emulator.faults.hold(event_type="response.function_call_arguments.done")
    async with running(emulator, upstream=upstream) as gateway, gateway.client() as client:
        chat = client.conversation(model="caller", tools=[WEATHER], store=store)
        async with chat.send("the weather in Oslo?") as stream:
            async for event in stream:
                if event.type == "response.function_call_arguments.delta":
                    break
            await stream.steer("in Fahrenheit")
            gate.open()
            await stream.finish()
        assert stream.returned_steers == ["in Fahrenheit"]
        assert_kept(emulator, chat, stream.response)
        (call,) = stream.response.tool_calls
        user = {"role": "user", "content": "in Fahrenheit"}
        after = await ask(chat, [output_for(call, "sunny"), user])
        assert after.metrics.recoveries == []
        assert_kept(emulator, chat, after.response)
        seen = emulator.responses[after.response.id].effective_context
        assert texts(seen).count("user: in Fahrenheit") == 1


async def test_the_steers_of_a_tenant_are_checked_and_counted(emulator: Emulator) -> None:
    voice = {"turns_in_flight": 1, "turns_per_minute": 2}
    async with with_tenants(emulator, voice) as gateway, opened(gateway, KEYS["voice"]) as socket:
        await send(socket, "tell me a story", "a", model=STORY)
        response_id = await until_text(socket)
        image = [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]
        await steer(socket, response_id, image)
        assert (await outcome(socket))["error"]["code"] == "invalid_input"
        await steer(socket, response_id, "tell me a story")
        assert (await outcome(socket))["type"] == "response.steer.accepted"
        successor = await until_text(socket)
        await steer(socket, successor or response_id)
        assert (await outcome(socket))["error"]["code"] == "rate_limit_exceeded"
    await until(lambda: gateway.gateway.callers["voice"].allowance.running == 0, "the turn is given back")


@asynccontextmanager
async def draining(emulator: Emulator) -> AsyncIterator[Running]:
    async with running(emulator, drain={"notice_s": 0, "within_s": 3600}) as gateway:
        yield gateway


async def test_no_steer_is_executed_after_the_notice(emulator: Emulator) -> None:
    async with draining(emulator) as gateway, opened(gateway) as socket:
        await send(socket, "tell me a story", "a", model=STORY)
        response_id = await until_text(socket)
        drain = asyncio.create_task(gateway.gateway.drain())
        await until(lambda: not gateway.gateway.life.takes_work, "it drains")
        await steer(socket, response_id)
        assert (await outcome(socket))["error"]["code"] == "response_not_active"
        gateway.gateway.life.cut()
        await soon(drain)
