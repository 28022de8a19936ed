"""Each fault action, its conditions and its record."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from trunkline.emulator import Action, Emulator, Fault, Faults, load_faults, parse_faults
from trunkline.emulator._protocol.events import Event
from trunkline.emulator._service.moves import HangUp, Raw, Wait
from trunkline.emulator.faults import Place
from trunkline.emulator.faults.file import describe
from trunkline.emulator.faults.strike import strike

from ..wire import TIMEOUT_S, Socket, Wire, wired

DELTA = "response.output_text.delta"


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


@pytest.fixture
async def loose(wire: Wire) -> Any:
    """A socket without checks of its events."""
    async with wire.socket(strict=False) as opened:
        yield opened


async def test_an_upgrade_is_refused(wire: Wire, emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", connection=2, status=429, headers={"retry-after": "3"}, body="slow")
    async with wire.socket() as socket:
        await socket.response(input="x")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        async with wire.socket():
            pass
    assert refusal.value.status == 429
    assert refusal.value.headers is not None
    assert refusal.value.headers["retry-after"] == "3"
    async with wire.socket() as socket:
        await socket.response(input="x")
    (fired,) = emulator.faults.fired
    assert (fired.action, fired.place.connection) == (Action.REFUSE_UPGRADE, 2)
    assert emulator.handshakes == 3


async def test_an_upgrade_is_met_with_silence(wire: Wire, emulator: Emulator) -> None:
    # More than once, because this client retries.
    emulator.faults.add("ignore_upgrade", seconds=0.05, times=None)
    with pytest.raises(aiohttp.ClientError):
        async with wire.socket():
            pass
    emulator.faults.clear()
    emulator.faults.add("ignore_upgrade")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wire.socket().__aenter__(), 0.1)


@pytest.mark.parametrize(
    ("details", "code"),
    [
        ({"action": "drop"}, 1006),
        ({"action": "reset"}, 1006),
        ({"action": "close", "close_code": 1012}, 1012),
    ],
)
async def test_a_connection_breaks_at_an_event(
    loose: Socket, emulator: Emulator, details: dict[str, Any], code: int
) -> None:
    action = details.pop("action")
    emulator.faults.add(action, event_type=DELTA, **details)
    await loose.create(input="a b c")
    assert kinds(await loose.until("response.content_part.added"))[-1] == "response.content_part.added"
    while (message := await asyncio.wait_for(loose.raw.receive(), TIMEOUT_S)).type is aiohttp.WSMsgType.TEXT:
        pass
    if action == "close":
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, code)
    else:
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        assert loose.raw.close_code == code
    (fired,) = emulator.faults.fired
    assert fired.event_type == DELTA
    assert fired.place.response_id in emulator.responses
    assert emulator.live_connections == []


async def test_a_response_stalls_for_ever_and_others_go_on(loose: Socket, emulator: Emulator) -> None:
    emulator.faults.add("stall", lane="a", event=3)
    await loose.create(input="x", stream_id="a")
    await loose.until("response.in_progress")
    for _ in range(3):
        await loose.response(input="y", stream_id="b")
    assert {event.get("stream_id") for event in loose.seen[2:]} == {"b"}


async def test_a_response_stalls_for_a_time_and_is_delayed(loose: Socket, emulator: Emulator) -> None:
    loop = asyncio.get_running_loop()
    for action in ("stall", "delay"):
        emulator.faults.add(action, event_type=DELTA, seconds=0.1)
        begun = loop.time()
        await loose.response(input="x")
        assert 0.1 <= loop.time() - begun < TIMEOUT_S


async def test_events_are_spoilt(loose: Socket, emulator: Emulator) -> None:
    for action in ("truncate", "corrupt"):
        emulator.faults.clear()
        emulator.faults.add(action, event_type=DELTA)
        await loose.create(input="x")
        await loose.until("response.content_part.added")
        message = await loose.raw.receive()
        with pytest.raises(json.JSONDecodeError):
            json.loads(message.data)
        await loose.until("response.completed")


async def test_events_are_doubled_reordered_and_invented(loose: Socket, emulator: Emulator) -> None:
    emulator.faults.add("duplicate", event_type=DELTA)
    emulator.faults.add("reorder", event_type="response.created")
    emulator.faults.add("unknown_event", event=5)
    await loose.create(input="x", stream_id="a")
    found = kinds(await loose.until("response.completed"))
    assert found == [
        "response.in_progress",
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.emulator.unheard_of",
        DELTA,
        DELTA,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert {event["stream_id"] for event in loose.seen} == {"a"}
    assert [fired.action for fired in emulator.faults.fired] == ["reorder", "duplicate", "unknown_event"]


async def test_a_last_event_that_is_held_back_still_comes(loose: Socket, emulator: Emulator) -> None:
    emulator.faults.add("reorder", event_type="response.completed")
    await loose.response(input="x")


async def test_fields_are_added_and_left_out(loose: Socket, emulator: Emulator) -> None:
    emulator.faults.add("unknown_field", event_type=DELTA)
    emulator.faults.add("omit", event_type=DELTA, fields=("logprobs", "sequence_number"))
    await loose.create(input="x")
    delta = (await loose.until(DELTA))[-1]
    assert delta["unheard_of"] == {"x": 1}
    assert not {"logprobs", "sequence_number"} & set(delta)


async def test_frames_are_fragmented_and_oversized(wire: Wire, emulator: Emulator) -> None:
    emulator.faults.add("fragment", times=None)
    emulator.faults.add("oversize", event_type=DELTA, size_bytes=2_000_000)
    async with wire.socket(strict=False) as socket:
        await socket.create(input="x")
        delta = (await socket.until(DELTA))[-1]
        assert len(json.dumps(delta, separators=(",", ":"))) == 2_000_000
        await socket.until("response.completed")


async def test_errors_are_those_of_codex(loose: Socket, emulator: Emulator) -> None:
    emulator.faults.add("fail", status=502, code="server_error", headers={"retry-after": "1"})
    emulator.faults.add("codex_error", times=None)
    await loose.create(input="x")
    (error,) = await loose.until("error")
    assert "status" not in error
    assert (error["status_code"], error["headers"]) == (502, {"retry-after": "1"})
    assert error["error"]["code"] == "stream_incomplete"
    await loose.create(input="x", previous_response_id="resp_x")
    stale = await loose.receive()
    assert (stale["status_code"], stale["error"]["code"]) == (400, "codex_previous_response_stale")


async def test_errors_are_flat(loose: Socket, emulator: Emulator) -> None:
    emulator.faults.add("flat_error", times=None)
    await loose.create(input=7)
    event = await loose.receive()
    assert event["code"] == "invalid_type"
    assert "error" not in event
    emulator.faults.add("fail", event_type=DELTA)
    await loose.create(input="x", stream_id="a")
    event = (await loose.until("error"))[-1]
    assert (event["code"], event["stream_id"]) == (None, "a")


async def test_a_response_ends_in_an_error_without_a_code(socket: Socket, emulator: Emulator) -> None:
    parent = await socket.response(input="x", store=False)
    emulator.faults.add("fail", event_type=DELTA, status=500)
    await socket.create(input="y", store=False, previous_response_id=parent["id"])
    error = (await socket.until("error"))[-1]
    assert (error["status"], error["error"]["code"], error["error"]["type"]) == (500, None, "server_error")
    # A failed continuation of its own lane.
    assert (await socket.refused(input="y", previous_response_id=parent["id"]))["status"] == 400
    await socket.response(input="z")


async def test_the_connection_limit_comes_in_the_middle_of_an_answer(wire: Wire, emulator: Emulator) -> None:
    emulator.faults.add("connection_limit", event_type=DELTA)
    async with wire.socket() as socket:
        await socket.create(input="x", stream_id="a")
        event = (await socket.until("error"))[-1]
        assert event["error"]["code"] == "websocket_connection_limit_reached"
        assert "stream_id" not in event
        assert (await socket.raw.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_requests_are_rejected(wire: Wire, socket: Socket, emulator: Emulator) -> None:
    details = {"status": 429, "code": "rate_limit_exceeded", "headers": {"retry-after": "1"}}
    emulator.faults.add("reject", request=2, **details)
    emulator.faults.add("reject", transport="http", **details)
    await socket.response(input="x")
    error = await socket.refused(input="x")
    assert (error["status"], error["code"], error["headers"]) == (
        429,
        "rate_limit_exceeded",
        {"retry-after": "1"},
    )
    await socket.response(input="x")
    url = f"{emulator.base_url}/responses"
    async with wire.session.post(url, json={"model": "echo", "input": "x"}) as answer:
        assert answer.status == 429
        assert answer.headers["retry-after"] == "1"
    assert [fired.place.request for fired in emulator.faults.fired] == [2, 4]
    assert emulator.requests[1].error is not None


async def test_memory_is_lost_before_a_request(socket: Socket, emulator: Emulator) -> None:
    first = await socket.response(input="x", store=False)
    emulator.faults.add("forget")
    error = await socket.refused(input="y", previous_response_id=first["id"])
    assert error["code"] == "previous_response_not_found"


async def test_the_server_reads_slowly(socket: Socket, emulator: Emulator) -> None:
    emulator.faults.add("slow_read", seconds=0.5)
    begun = asyncio.get_running_loop().time()
    await socket.response(input="x")
    await socket.response(input="y")
    assert asyncio.get_running_loop().time() - begun >= 0.5


async def test_faults_strike_http_too(wire: Wire, emulator: Emulator) -> None:
    emulator.faults.add("fail", transport="http", event_type=DELTA, status=503, code="overloaded")
    status, body = await wire.post(input="x")
    assert (status, body["error"]["code"]) == (503, "overloaded")
    emulator.faults.add("drop", transport="http", event_type=DELTA)
    with pytest.raises(aiohttp.ClientError):
        await wire.sse(input="x")


async def test_chance_is_repeatable() -> None:
    async def struck(seed: int) -> list[int | None]:
        faults = Faults([Fault(Action.UNKNOWN_EVENT, probability=0.3, times=None)], seed=seed)
        emulator = Emulator(faults=faults)
        async with emulator, wired(emulator) as wire, wire.socket(strict=False) as socket:
            await socket.response(model="words-30", input="x")
        return [fired.event_number for fired in emulator.faults.fired]

    first = await struck(7)
    assert first == await struck(7)
    assert first != await struck(8)
    assert 0 < len(first) < 38


def test_conditions_all_have_to_hold() -> None:
    fault = Fault(Action.DROP, connection=1, lane="a", model="echo")
    assert fault.holds_at(Place(connection=1, lane="a", model="echo"))
    assert not fault.holds_at(Place(connection=2, lane="a", model="echo"))
    assert not fault.holds_at(Place(connection=1, lane=None, model="echo"))


def test_every_action_at_an_event_is_known_to_do_something() -> None:
    event = Event(
        "error", b'{"type":"error","status":400,"error":{"code":"x","message":"m"},"sequence_number":1}'
    )
    elsewhere = {"refuse_upgrade", "ignore_upgrade", "reject", "forget", "slow_read", "ignore_parent"}
    for action in Action:
        if action in {*elsewhere, "one_place", "reorder"}:
            continue
        moves, ends = strike([event], event, Fault(action, seconds=1), "a")
        assert moves != [event]
        assert ends == (action in ("drop", "reset", "close", "fail", "connection_limit"))
        assert all(isinstance(move, Event | HangUp | Raw | Wait) for move in moves)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_faults_are_read_from_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"faults{suffix}"
    entries = [
        {"action": "drop", "event_type": DELTA, "connection": 2},
        {"action": "omit", "fields": ["logprobs"], "probability": 0.5, "times": None},
    ]
    path.write_text(json.dumps({"seed": 3, "faults": entries}))
    faults = load_faults(path)
    assert bool(faults)
    assert bool(parse_faults(entries))
    assert not parse_faults([])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("drop", "expected a list of faults"),
        ([7], "fault 1: expected an object"),
        ([{"action": "explode"}], "fault 1: unknown action 'explode'; use one of refuse_upgrade"),
        ([{"action": "drop"}, {"action": "drop", "when": 1}], "fault 2: unknown field 'when'"),
        ([{"action": "stall", "gate": "open"}], "fault 1: unknown field 'gate'"),
    ],
)
def test_nonsense_in_a_file_is_named(content: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_faults(content)


def test_a_fault_can_be_described() -> None:
    assert describe(Fault(Action.CLOSE, event=3, close_code=1012)) == {
        "action": "close",
        "event": 3,
        "close_code": 1012,
    }


async def test_a_parent_is_ignored(socket: Socket, emulator: Emulator) -> None:
    parent = await socket.response(input="x")
    emulator.faults.add("ignore_parent")
    ignored = await socket.response(input="y", previous_response_id=parent["id"])
    used = await socket.response(input="y", previous_response_id=parent["id"])
    assert (ignored["previous_response_id"], used["previous_response_id"]) == (None, parent["id"])
    assert len(emulator.responses[ignored["id"]].effective_context) == 1
    assert len(emulator.responses[used["id"]].effective_context) == 3


@pytest.mark.parametrize("place", ["deltas", "done", "final"])
async def test_the_text_of_a_response_stands_in_one_place(
    socket: Socket, emulator: Emulator, place: str
) -> None:
    emulator.faults.add("one_place", place=place)
    await socket.create(input="one two")
    events = await socket.until("response.completed")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = {event["type"] for event in events[:-1]}
    assert (DELTA in kinds) == (place == "deltas")
    assert (
        ("response.output_text.done" in kinds) == ("response.output_item.done" in kinds) == (place == "done")
    )
    assert bool(events[-1]["response"]["output"]) == (place == "final")
    whole = await socket.response(input="three")
    assert whole["output"]


def test_a_place_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="one of deltas, done, final, not 'first'"):
        Fault(Action.ONE_PLACE, place="first")  # type: ignore[arg-type]
