from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

import trunkline
from trunkline import Cause, PoolLimits
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from ..peer import PING, PONG, TEXT, Peer, Server, close_frame, frame
from ..talk import DELTA, ask, client_of, first_text
from ..waiting import runs_briefly, soon, until

pytestmark = pytest.mark.usefixtures("no_proxy")


@pytest.fixture
async def scripted(server: Server) -> AsyncIterator[trunkline.Client]:
    """A client, with lanes, of a server that sends what the test says."""
    base_url = f"http://127.0.0.1:{server.port}/v1"
    policy = trunkline.Policy(backoff_s=0.001)
    async with trunkline.Client(base_url=base_url, api_key="sk-x", lanes=True, policy=policy) as client:
        yield client
        for peer in server.all:
            peer.writer.transport.abort()


async def accepted(server: Server) -> Peer:
    peer = await soon(server.next_peer())
    peer.accept()
    return peer


async def request_on(peer: Peer) -> dict[str, Any]:
    opcode, payload = await soon(peer.read())
    assert opcode == TEXT
    request: dict[str, Any] = json.loads(payload)
    return request


def tell(peer: Peer, *events: dict[str, Any]) -> None:
    peer.write(*(frame(TEXT, json.dumps(event).encode()) for event in events))


def life(kind: str, lane: str, response_id: str, text: str = "") -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
    output = [item] if kind == "completed" else []
    response = {"id": response_id, "status": kind, "output": output}
    return {"type": f"response.{kind}", "stream_id": lane, "response": response}


def word(lane: str, text: str) -> dict[str, Any]:
    return {"type": DELTA, "stream_id": lane, "delta": text, "item_id": "m", "output_index": 0}


def answer(lane: str, response_id: str, text: str = "hi") -> list[dict[str, Any]]:
    return [
        life("created", lane, response_id),
        word(lane, text),
        life("completed", lane, response_id, text),
    ]


LIMIT = {
    "type": "error",
    "status": 400,
    "error": {"code": "websocket_connection_limit_reached", "message": "60 minutes"},
}


# Being made.


async def test_turns_take_their_places_while_it_is_made_and_are_sent_when_it_is(
    server: Server, scripted: trunkline.Client
) -> None:
    chats = [scripted.conversation(model="m") for _ in range(3)]
    tasks = [asyncio.create_task(ask(chat, "hello")) for chat in chats]
    peer = await soon(server.next_peer())
    assert [scripted.connections, scripted.metrics.dials] == [1, 1]
    peer.accept()
    lanes = [(await request_on(peer))["stream_id"] for _ in tasks]
    assert lanes == ["lane-0", "lane-1", "lane-2"]
    for lane in reversed(lanes):
        tell(peer, *answer(lane, f"resp_{lane}", lane))
    assert [stream.response.output_text for stream in await soon(asyncio.gather(*tasks))] == lanes


async def test_a_turn_that_is_cancelled_leaves_the_dial_to_the_others(
    server: Server, scripted: trunkline.Client
) -> None:
    first, second = (asyncio.create_task(ask(scripted.conversation(model="m"), "hello")) for _ in range(2))
    peer = await soon(server.next_peer())
    first.cancel()
    await asyncio.wait([first])
    peer.accept()
    lane = (await request_on(peer))["stream_id"]
    tell(peer, *answer(lane, "resp_1"))
    assert (await soon(second)).response.output_text == "hi"
    assert scripted.metrics.dials == 1


# Events and whose they are.


async def test_events_of_lanes_interleave_and_each_turn_gets_its_own(
    emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.pace = Pace(0, 500)
    chats = [client.conversation(model="echo") for _ in range(8)]
    asked = [" ".join([f"w{number}"] * 20) for number in range(8)]
    streams = await asyncio.gather(*(ask(chat, words) for chat, words in zip(chats, asked, strict=True)))
    assert [stream.received_text for stream in streams] == asked
    assert {stream.metrics.connection for stream in streams} == {1}


async def test_events_that_belong_to_nobody_are_counted_and_harm_nothing(
    server: Server, scripted: trunkline.Client
) -> None:
    chat = scripted.conversation(model="m")
    running = asyncio.create_task(ask(chat, "hello"))
    peer = await accepted(server)
    lane = (await request_on(peer))["stream_id"]
    tell(peer, word("lane-77", "foreign"), *answer(lane, "resp_1"), word(lane, "late"))
    assert (await soon(running)).received_text == "hi"
    again = asyncio.create_task(ask(chat, "and then?"))
    assert (await request_on(peer))["stream_id"] == lane
    tell(peer, word(lane, "too early"), *answer(lane, "resp_2"))
    assert (await soon(again)).received_text == "hi"
    await until(lambda: scripted.metrics.strays == 3, "all three are counted")
    assert texts_of(chat) == ["hello", "hi", "and then?", "hi"]


def texts_of(chat: trunkline.Conversation) -> list[Any]:
    return [i["content"] if isinstance(i["content"], str) else i["content"][0]["text"] for i in chat.items]


async def test_an_error_that_names_no_lane_is_that_of_the_only_turn(
    server: Server, scripted: trunkline.Client
) -> None:
    running = asyncio.create_task(ask(scripted.conversation(model="m"), "hello"))
    peer = await accepted(server)
    await request_on(peer)
    tell(peer, {"type": "error", "status": 400, "error": {"code": "invalid_stream_id", "message": "no"}})
    with pytest.raises(trunkline.ResponseRefused) as refused:
        await soon(running)
    assert refused.value.code == "invalid_stream_id"
    assert scripted.connections == 1


async def test_an_error_that_names_no_lane_while_several_run_fails_the_socket(
    server: Server, scripted: trunkline.Client
) -> None:
    tasks = [asyncio.create_task(ask(scripted.conversation(model="m"), "hello")) for _ in range(2)]
    peer = await accepted(server)
    for _ in tasks:
        await request_on(peer)
    tell(peer, {"type": "error", "status": 400, "error": {"code": "what", "message": "whose?"}})
    await soon(peer.ended())
    other = await accepted(server)
    for number in range(2):
        lane = (await request_on(other))["stream_id"]
        tell(other, *answer(lane, f"resp_{number}"))
    for stream in await soon(asyncio.gather(*tasks)):
        assert stream.metrics.recoveries == [Cause.CONNECTION]


async def test_a_frame_that_is_no_event_ends_the_socket_and_every_turn_goes_elsewhere(
    emulator: Emulator,
) -> None:
    emulator.faults.add("stall", event=2, request=1)
    emulator.faults.add("corrupt", event=2, request=2)
    async with client_of(emulator, policy=trunkline.Policy(backoff_s=0.001)) as client:
        chats = [client.conversation(model="echo") for _ in range(2)]
        streams = await soon(asyncio.gather(*(ask(chat, "hello") for chat in chats)))
        assert [stream.metrics.recoveries for stream in streams] == [[Cause.CONNECTION]] * 2
        assert client.connections == 1


# Its end.


async def test_every_turn_on_a_lost_socket_hears_of_it_with_its_own_facts(emulator: Emulator) -> None:
    emulator.faults.add("stall", event=7, request=1)
    emulator.faults.add("stall", event=1, request=2)
    async with client_of(emulator, policy=trunkline.Policy(max_attempts=1)) as client:
        chats = [client.conversation(model="echo") for _ in range(2)]
        async with chats[0].send("one two three") as spoken, chats[1].send("hello") as silent:
            await first_text(spoken)
            await until(lambda: len(emulator.faults.fired) == 2, "both stall")
            await emulator.drop_connections(1012)
            errors = []
            for stream in (spoken, silent):
                with pytest.raises(trunkline.ConnectionLost) as lost:
                    await soon(stream.finish())
                errors.append(lost.value)
        assert client.connections == 0
    assert errors[0] is not errors[1]
    assert [(e.sent, e.started, e.output_seen) for e in errors] == [(True, True, True), (True, False, False)]
    assert [e.close_code for e in errors] == [1012, 1012]


async def test_a_socket_that_ends_while_idle_is_gone_at_once(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo")
    await ask(chat, "one")
    for code in (None, 1001):
        await emulator.drop_connections(code)
        await until(lambda: client.connections == 0, "the client knows, without sending anything")
        stream = await ask(chat, "two")
        assert stream.metrics.attempts == 1


async def test_a_request_is_not_sent_on_a_socket_that_has_just_died(
    server: Server, scripted: trunkline.Client
) -> None:
    """The CLOSE frame waits to be read when the next turn is asked: that turn is not lost."""
    chat = scripted.conversation(model="m")
    running = asyncio.create_task(ask(chat, "one"))
    peer = await accepted(server)
    tell(peer, *answer((await request_on(peer))["stream_id"], "resp_1"))
    await soon(running)
    peer.write(close_frame(1001))
    peer.writer.close()
    following = asyncio.create_task(ask(chat, "two"))
    other = await accepted(server)
    request = await request_on(other)
    tell(other, *answer(request["stream_id"], "resp_2", "again"))
    assert (await soon(following)).response.output_text == "again"
    assert "previous_response_id" not in request


# The hour is over.


async def test_when_its_time_is_up_what_has_begun_ends_there_and_what_has_not_goes_elsewhere(
    server: Server, scripted: trunkline.Client
) -> None:
    first, second = (asyncio.create_task(ask(scripted.conversation(model="m"), "hello")) for _ in range(2))
    peer = await accepted(server)
    begun, queued = [(await request_on(peer))["stream_id"] for _ in range(2)]
    tell(peer, life("created", begun, "resp_1"), word(begun, "a"), LIMIT)
    other = await accepted(server)
    moved = await request_on(other)
    tell(other, *answer(moved["stream_id"], "resp_2", "elsewhere"))
    assert (await soon(second)).metrics.recoveries == [Cause.LIMIT]
    tell(peer, word(begun, "b"), life("completed", begun, "resp_1", "ab"))
    stream = await soon(first)
    assert (stream.received_text, stream.metrics.attempts) == ("ab", 1)
    assert (await soon(peer.read()))[0] == 8  # it is closed after its last response
    assert queued != begun


async def test_a_limit_with_a_lane_moves_that_request_alone_and_all_later_ones(
    server: Server, scripted: trunkline.Client
) -> None:
    first, second = (asyncio.create_task(ask(scripted.conversation(model="m"), "hello")) for _ in range(2))
    peer = await accepted(server)
    waiting, refused = [(await request_on(peer))["stream_id"] for _ in range(2)]
    tell(peer, {**LIMIT, "stream_id": refused})
    other = await accepted(server)
    tell(other, *answer((await request_on(other))["stream_id"], "resp_2"))
    assert (await soon(second)).metrics.recoveries == [Cause.LIMIT]
    third = asyncio.create_task(ask(scripted.conversation(model="m"), "hello"))
    tell(other, *answer((await request_on(other))["stream_id"], "resp_3"))
    assert (await soon(third)).metrics.attempts == 1
    tell(peer, *answer(waiting, "resp_1"))
    assert (await soon(first)).metrics.attempts == 1
    assert (await soon(peer.read()))[0] == 8


async def test_a_connection_whose_time_is_up_takes_no_more_turns(
    server: Server, scripted: trunkline.Client
) -> None:
    chat = scripted.conversation(model="m")
    running = asyncio.create_task(ask(chat, "one"))
    peer = await accepted(server)
    lane = (await request_on(peer))["stream_id"]
    tell(peer, *answer(lane, "resp_1"), LIMIT)
    await soon(running)
    assert (await soon(peer.read()))[0] == 8
    following = asyncio.create_task(ask(chat, "two"))  # although the server has not answered the CLOSE
    other = await accepted(server)
    tell(other, *answer((await request_on(other))["stream_id"], "resp_2"))
    assert (await soon(following)).metrics.attempts == 1


# Pings.


async def test_pings_are_answered_while_nobody_reads(server: Server, scripted: trunkline.Client) -> None:
    running = asyncio.create_task(scripted.warm(model="m"))
    peer = await accepted(server)
    await soon(running)
    peer.write(frame(PING, b"are you there"))
    assert await soon(peer.read()) == (PONG, b"are you there")


async def test_a_server_that_answers_no_ping_is_left(server: Server) -> None:
    base_url = f"http://127.0.0.1:{server.port}/v1"
    limits = PoolLimits(ping_after_s=runs_briefly(0.1), doubt_after_s=1.0, dead_after_s=runs_briefly(0.3))
    async with trunkline.Client(
        base_url=base_url, api_key="sk-x", ping_interval_s=runs_briefly(0.1), limits=limits
    ) as client:
        running = asyncio.create_task(client.warm(model="m"))
        await accepted(server)
        await soon(running)
        assert client.connections == 1
        await until(lambda: client.connections == 0, "it is given up")


# What it tells of itself.


async def test_an_abandoned_turn_that_was_not_sent_gives_its_place_back(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade", seconds=runs_briefly(0.05))
    limits = PoolLimits(max_connections=1, max_in_flight=1)
    async with client_of(emulator, limits=limits, transport="websocket") as client:
        waiting = asyncio.create_task(ask(client.conversation(model="echo"), "hello"))
        await until(lambda: emulator.handshakes == 1, "it is dialling")
        waiting.cancel()
        await asyncio.wait([waiting])
        assert (await soon(ask(client.conversation(model="echo"), "next"))).response.output_text == "next"
        assert client.metrics.abandoned == 0
