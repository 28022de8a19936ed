from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import trunkline
from trunkline import Deadlines, Policy
from trunkline._network.wakeups import Wakeups
from trunkline._protocol.decoding import decode
from trunkline._protocol.failure import Failure
from trunkline._turns.inbox import Inbox
from trunkline.emulator import Emulator, FakeClock
from trunkline.emulator.pace import Pace
from trunkline.events import OutputTextDelta, ResponseCompleted, UnknownEvent

from ..peer import Server, frame
from ..talk import DELTA, ask, client_of, collect, first_text, hold_after_first_word, read, types_of
from ..waiting import runs_briefly, soon, until

ONCE = Policy(max_attempts=1)
LONG = runs_briefly(60)


def inbox_of(clock: FakeClock, max_events: int = 100, max_bytes: int = 2**24, **deadlines: Any) -> Inbox:
    """An inbox without a connection, at the start of its turn."""
    world = trunkline.World(clock=clock, call_later=clock.call_later)
    return Inbox(
        Deadlines(**deadlines),
        started_at=clock(),
        max_events=max_events,
        max_bytes=max_bytes,
        wakeups=Wakeups(),
        world=world,
    )


class Exchange:
    """An exchange that records when it is abandoned."""

    lane = connection = None
    may_go_on = is_barren = False
    departed_at = 0.0
    abandoned = 0

    def send(self, *, looks_up: bool) -> Any:
        raise AssertionError("it was sent")

    def steer(self, given: Any) -> None: ...

    def distrust(self) -> None: ...

    def abandon(self) -> None:
        self.abandoned += 1

    def when_drained(self, report: Any) -> None: ...


def text(piece: str, number: int | None = None) -> Any:
    event = {"type": DELTA, "delta": piece, "sequence_number": number}
    return decode(json.dumps(event).encode())


# Visible events.


async def test_the_caller_sees_every_event_of_the_wire_in_order() -> None:
    async with Emulator(frames=1000) as emulator, client_of(emulator) as client:
        async with client.conversation(model="reason").send("hello there") as stream:
            raw = [event.raw async for event in stream]
        assert raw == [frame.data for frame in emulator.frames if frame.sent]


async def test_life_cycle_events_are_held_back_until_output(
    emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.faults.add("stall", event=3)
    async with client.conversation(model="echo").send("hello") as stream:
        visible: list[trunkline.ServerEvent] = []
        reading = asyncio.create_task(collect(stream, visible))
        await until(lambda: bool(emulator.faults.fired), "the answer stalls before its output")
        await until(lambda: stream.metrics.first_event_s is not None, "the first event has arrived")
        await asyncio.sleep(0)
        assert visible == []
        assert stream.metrics.first_output_s is None
        reading.cancel()
        await asyncio.wait([reading])


async def test_a_replay_is_invisible_to_the_caller(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("drop", event_type="response.in_progress")
    async with client.conversation(model="echo").send("hello") as stream:
        types = await types_of(stream)
    assert types.count("response.created") == 1
    assert types[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert stream.metrics.attempts == 2


async def test_a_turn_with_unread_output_is_replayed(emulator: Emulator) -> None:
    emulator.faults.add("drop", event=7, request=1)
    async with client_of(emulator) as client, client.conversation(model="words-5").send("go") as stream:
        await until(lambda: bool(emulator.faults.fired) and client.connections == 0, "the connection is lost")
        text = "".join([piece async for piece in stream.text()])
    assert text == stream.response.output_text
    assert (len(text.split()), stream.metrics.attempts) == (5, 2)


async def test_unknown_events_and_fields_are_passed_on(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("unknown_event", event=5)
    emulator.faults.add("unknown_field", event_type=DELTA, times=None)
    async with client.conversation(model="echo").send("one two") as stream:
        events = [event async for event in stream]
    unknown = [event for event in events if isinstance(event, UnknownEvent)]
    assert "response.emulator.unheard_of" in [event.wire_type for event in unknown]
    deltas = [event for event in events if isinstance(event, OutputTextDelta)]
    assert all(event.json()["unheard_of"] == {"x": 1} for event in deltas)
    assert stream.response.output_text == "one two"


async def test_a_cancelled_wait_for_an_event_loses_nothing(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gates = [emulator.faults.hold(event=event) for event in (1, 5, 10, 15)]
    received = ""
    async with client.conversation(model="words-20").send("go") as stream:
        for held, gate in enumerate(gates, 1):
            await until(lambda held=held: len(emulator.faults.fired) == held, "the answer is held")  # type: ignore[misc]
            received += await _waits_in_vain(stream)
            gate.open()
        received += "".join([piece async for piece in stream.text()])
    assert received == stream.response.output_text
    assert len(received.split()) == 20


async def _waits_in_vain(stream: trunkline.ResponseStream) -> str:
    """Read events until a wait times out; return their text."""
    received = ""
    while True:
        try:
            event = await asyncio.wait_for(anext(stream), runs_briefly(0.02))
        except TimeoutError:
            return received
        received += event.delta if isinstance(event, OutputTextDelta) else ""


async def test_events_received_before_a_lost_connection_can_still_be_read(
    emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.faults.add("drop", event=9)
    async with client.conversation(model="words-9").send("go") as stream:
        received = [await anext(stream)]
        await until(lambda: bool(emulator.faults.fired) and client.connections == 0, "it is dropped")
        with pytest.raises(trunkline.ConnectionLost) as lost:
            await collect(stream, received)
    assert [event.type for event in received][-4:] == [DELTA] * 4
    assert (lost.value.sent, lost.value.started, lost.value.output_seen) == (True, True, True)


async def test_an_incomplete_response_is_final(emulator: Emulator, client: trunkline.Client) -> None:
    stream = await soon(ask(client.conversation(model="words-9"), "go", max_output_tokens=3))
    assert stream.response.status == "incomplete"
    assert stream.response.incomplete_details == {"reason": "max_output_tokens"}
    assert len(stream.response.output_text.split()) == 3


# Errors and their facts.


async def test_an_error_event_has_its_facts(emulator: Emulator, client: trunkline.Client) -> None:
    headers = {"x-request-id": "req_7", "retry-after": "61"}
    emulator.faults.add("reject", status=429, code="rate_limit_exceeded", message="slower", headers=headers)
    with pytest.raises(trunkline.ResponseRefused) as refused:
        await ask(client.conversation(model="echo"), "hello")
    error = refused.value
    assert (error.status, error.code, error.request_id) == (429, "rate_limit_exceeded", "req_7")
    assert error.retry_after_s == 61
    assert (error.sent, error.started, error.output_seen) == (True, False, False)
    assert "slower" in str(error)


async def test_an_error_in_mid_answer_is_marked_as_started(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = hold_after_first_word(emulator)
    emulator.faults.add("fail", event=7, status=500)
    async with client.conversation(model="words-9").send("go") as stream:
        await first_text(stream)
        gate.open()
        with pytest.raises(trunkline.ResponseRefused) as refused:
            await stream.finish()
    assert (refused.value.started, refused.value.output_seen) == (True, True)
    assert stream.received_text


async def test_a_flat_error_is_read_as_well(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("flat_error", times=None)
    with pytest.raises(trunkline.ResponseRefused) as refused:
        await ask(client.conversation(model="refuse-400-invalid_prompt"), "hello")
    assert (refused.value.code, refused.value.status) == ("invalid_prompt", None)


async def test_a_failed_response_has_its_facts(emulator: Emulator, client: trunkline.Client) -> None:
    with pytest.raises(trunkline.ResponseFailed) as failed:
        await ask(client.conversation(model="fail-invalid_prompt"), "hello")
    error = failed.value
    assert (error.code, error.started, error.output_seen) == ("invalid_prompt", True, False)
    assert error.response_id in emulator.responses
    assert error.response is not None
    assert error.response["status"] == "failed"


async def test_a_known_event_with_impossible_fields_fails_its_own_response_alone(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=7, request=1)
    emulator.faults.add("omit", event_type="response.completed", request=2, fields=("response",))
    async with client_of(emulator, policy=ONCE) as client:
        stream = client.conversation(model="echo").send("top secret")
        async with client.conversation(model="echo").send("one two three") as neighbour:
            await first_text(neighbour)
            with pytest.raises(trunkline.ProtocolViolation, match=r"response\.completed") as broken:
                await read(stream)
            gate.open()
            await neighbour.finish()
    assert (stream.metrics.connection, neighbour.metrics.connection) == (1, 1)
    assert "secret" not in str(broken.value)


# A caller that does not read.


async def test_a_caller_that_does_not_read_loses_its_own_stream_alone(emulator: Emulator) -> None:
    gate = hold_after_first_word(emulator)
    emulator.expect("many").says("word " * 300)
    async with client_of(emulator, max_buffered_events=150) as client:
        slow, other = client.conversation(model="words-100"), client.conversation(model="words-100")
        async with slow.send("many") as stream:
            await first_text(stream)
            gate.open()
            assert len((await ask(other, "go")).response.output_text.split()) == 100
            await until(lambda: _ended(emulator) == 2, "both answers have been sent")
            with pytest.raises(trunkline.SlowConsumer) as lost:
                await stream.finish()
        assert (lost.value.buffered, lost.value.output_seen) == (150, True)
        again = await ask(slow, "again")
        assert (again.response.status, again.metrics.connection) == ("completed", 1)


async def test_a_turn_that_is_never_read_is_not_replayed(emulator: Emulator) -> None:
    async with client_of(emulator, max_buffered_events=10) as client:
        async with client.conversation(model="words-99").send("go") as stream:
            await until(lambda: any(r.status == "completed" for r in emulator.responses.values()), "it ends")
            with pytest.raises(trunkline.SlowConsumer):
                await stream.finish()
        assert len(emulator.responses) == 1


async def test_buffered_events_are_within_the_bound_until_they_are_read(emulator: Emulator) -> None:
    async with client_of(emulator, max_buffered_events=300) as client:
        stream = client.conversation(model="words-200").send("go")
        async with stream:
            await until(lambda: any(r.status == "completed" for r in emulator.responses.values()), "it ends")
            assert len((await stream.finish()).output_text.split()) == 200


def _ended(emulator: Emulator) -> int:
    return sum(record.status == "completed" for record in emulator.responses.values())


# Deadlines: each phase has its own limit.


@pytest.mark.parametrize(
    ("phase", "event"), [("first_event", 1), ("first_output", 2), ("first_output", 3), ("between_events", 6)]
)
@pytest.mark.parametrize("others_s", [LONG, None])
async def test_each_phase_has_its_deadline(
    emulator: Emulator, phase: str, event: int, others_s: float | None
) -> None:
    emulator.faults.add("stall", event=event)
    limit_s = runs_briefly(0.08)
    limits: dict[str, Any] = dict.fromkeys(("first_event", "first_output", "between_events"), others_s)
    async with client_of(emulator, deadlines=Deadlines(**limits | {phase: limit_s}), policy=ONCE) as client:
        with pytest.raises(trunkline.DeadlineExceeded) as late:
            await soon(ask(client.conversation(model="words-9"), "go"))
    assert (late.value.phase, late.value.waited_s) == (phase, limit_s)
    assert (late.value.sent, late.value.started) == (True, event > 1)
    assert late.value.output_seen == (phase == "between_events")
    assert isinstance(late.value, TimeoutError)
    assert str(late.value).endswith(f"raise Deadlines.{phase}")


async def test_a_shorter_phase_after_a_longer_one_is_held_to_its_own_limit(emulator: Emulator) -> None:
    """The first output takes longer than first_event allows; then the answer stalls between two words."""
    brief = runs_briefly(0.5)
    emulator.faults.add("delay", event=3, seconds=2 * brief)
    emulator.faults.add("stall", event=7, times=None)
    deadlines = Deadlines(first_event=brief, first_output=LONG, between_events=brief)
    async with client_of(emulator, deadlines=deadlines) as client:
        with pytest.raises(trunkline.DeadlineExceeded) as late:
            await soon(ask(client.conversation(model="words-9"), "go"))
    assert late.value.phase == "between_events"


async def test_the_whole_turn_has_a_deadline(emulator: Emulator) -> None:
    emulator.faults.add("stall", event=7)
    deadlines = Deadlines(total=runs_briefly(0.5), between_events=LONG)
    async with client_of(emulator, deadlines=deadlines) as client:
        with pytest.raises(trunkline.DeadlineExceeded) as late:
            await soon(ask(client.conversation(model="words-9"), "go"))
    assert (late.value.phase, late.value.output_seen) == ("total", True)


async def test_a_slow_but_steady_answer_is_never_late(emulator: Emulator) -> None:
    emulator.pace = Pace(0, 50)
    limit_s = runs_briefly(0.5)
    deadlines = Deadlines(first_event=limit_s, first_output=limit_s, between_events=limit_s)
    async with client_of(emulator, deadlines=deadlines) as client:
        stream = await ask(client.conversation(model=f"words-{round(75 * limit_s)}"), "go")
    assert stream.metrics.total_s is not None
    assert stream.metrics.total_s > limit_s
    assert stream.metrics.attempts == 1


async def test_a_turn_may_have_its_own_deadlines(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("stall", event=6)
    chat = client.conversation(model="words-9")
    async with chat.send("go", deadlines=Deadlines(between_events=runs_briefly(0.05))) as stream:
        with pytest.raises(trunkline.DeadlineExceeded):
            await soon(stream.finish())


async def test_after_a_deadline_the_lane_drains_and_the_connection_is_kept(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=6, request=1)
    async with client_of(emulator) as client:
        chat = client.conversation(model="words-9")
        with pytest.raises(trunkline.DeadlineExceeded):
            await ask(chat, "go", deadlines=Deadlines(between_events=runs_briefly(0.1)))
        again = await ask(chat, "again")
        gate.open()
        assert (again.metrics.connection, client.connections) == (1, 1)
        await until(lambda: client.metrics.abandoned_usage["output_tokens"] == 9, "the late answer drains")


# Final events without output, as some gateways send them.


def created(lane: str | None = None, response_id: str = "resp_1") -> dict[str, Any]:
    return _of(lane, type="response.created", response={"id": response_id, "status": "in_progress"})


def _of(lane: str | None, **event: Any) -> dict[str, Any]:
    return event | ({"stream_id": lane} if lane else {})


def message(text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


@pytest.mark.parametrize("output", [{}, {"output": []}, {"output": None}])
@pytest.mark.usefixtures("no_proxy")
async def test_output_that_the_final_event_leaves_out_is_taken_from_its_items(
    server: Server, output: dict[str, Any]
) -> None:
    base_url = f"http://127.0.0.1:{server.port}/v1"
    async with trunkline.Client(base_url=base_url, api_key="sk-x") as client:
        chat = client.conversation(model="m")
        reading = asyncio.create_task(ask(chat, "hello"))
        peer = await soon(server.next_peer())
        peer.accept()
        await soon(peer.read())
        response = {"id": "resp_1", "status": "completed", **output}
        for event in (
            created(),
            {"type": "response.output_item.done", "output_index": 0, "item": message("hi")},
            {"type": "response.completed", "response": response},
        ):
            peer.write(frame(1, json.dumps(event).encode()))
        stream = await soon(reading)
        assert chat.items[-1]["content"][0]["text"] == "hi"
        assert stream.response.output_text == "hi"
        assert isinstance(stream.response, trunkline.Response)
        peer.writer.close()


def test_terminal_events_are_read_without_their_output() -> None:
    event = decode(b'{"type":"response.completed","response":{"id":"r"}}')
    assert isinstance(event, ResponseCompleted)
    assert event.response.output == []


async def test_float_sequence_numbers_are_accepted() -> None:
    async with Emulator(frames=100) as emulator, client_of(emulator) as client:
        stream = await ask(client.conversation(model="echo"), "hello there")
        frames = [json.loads(frame.data) for frame in emulator.frames if frame.sent]
    inbox = inbox_of(FakeClock())
    for event in frames:
        if event["type"] == DELTA:
            event["sequence_number"] = float(event["sequence_number"])
        inbox.deliver(decode(json.dumps(event).encode()))
    deltas = [event.delta for event in inbox.events if isinstance(event, OutputTextDelta)]
    assert "".join(deltas) == stream.received_text == "hello there"


# Without a connection.


async def test_the_shortcut_of_deltas_delivers_the_same_events() -> None:
    quick, plain = inbox_of(FakeClock()), inbox_of(FakeClock())
    events = [text(str(number), number) for number in (0, 1, 2, 2, 4, 3, 5)]
    for event in events:
        quick.deliver_delta(event)
        plain.deliver(event)
    assert list(quick.events) == list(plain.events)
    assert "".join(event.delta for event in plain.events if isinstance(event, OutputTextDelta)) == "012345"
    assert quick.received_bytes == plain.received_bytes


@pytest.mark.parametrize("shortcut", [True, False])
async def test_more_unread_events_than_allowed_fail_the_attempt_and_leave_its_answer(shortcut: bool) -> None:
    inbox, exchange = inbox_of(FakeClock(), max_events=3), Exchange()
    inbox.listen_to(exchange)
    for number in range(5):
        (inbox.deliver_delta if shortcut else inbox.deliver)(text("x", number))
    failure = inbox.reception.failure
    assert failure is not None
    assert isinstance(failure.exception(), trunkline.SlowConsumer)
    assert (inbox.is_over, exchange.abandoned) == (True, 1)


@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize("size", [10, 1000, 20_000])
async def test_more_unread_bytes_than_allowed_fail_the_attempt(shortcut: bool, size: int) -> None:
    inbox = inbox_of(FakeClock(), max_events=10_000_000, max_bytes=1_000_000)
    number = 0
    while not inbox.is_over:
        (inbox.deliver_delta if shortcut else inbox.deliver)(text("x" * size, number))
        number += 1
    failure = inbox.reception.failure
    assert failure is not None
    error = failure.exception()
    assert isinstance(error, trunkline.SlowConsumer)
    assert error.buffered == number - 1
    assert 1_000_000 < error.buffered_bytes <= 1_000_000 + 2**16 + size


@pytest.mark.parametrize("shortcut", [True, False])
async def test_an_event_that_is_larger_than_the_buffer_is_delivered(shortcut: bool) -> None:
    inbox = inbox_of(FakeClock(), max_bytes=1000)
    for number in range(3):
        (inbox.deliver_delta if shortcut else inbox.deliver)(text("x" * 100_000, number))
        assert len(inbox.take()) == 1
        inbox.events.clear()
    assert not inbox.is_over


@pytest.mark.parametrize(
    ("events", "phase"),
    [
        ([], "first_event"),
        (["response.created"], "first_output"),
        (["response.created", DELTA], "between_events"),
    ],
)
async def test_a_phase_counts_from_the_latest_event(events: list[str], phase: str) -> None:
    clock = FakeClock()
    limits: dict[str, Any] = {"first_event": 50.0, "first_output": 50.0, "between_events": 50.0}
    inbox, exchange = inbox_of(clock, 100, **limits | {phase: 5.0}), Exchange()
    inbox.listen_to(exchange)
    for kind in events:
        clock.advance(4.0)
        inbox.deliver(decode(json.dumps({"type": kind, "delta": "x", "response": {"id": "r"}}).encode()))
    clock.advance(4.9)
    assert not inbox.is_over
    clock.advance(0.2)
    assert inbox.reception.failure is not None
    assert (inbox.reception.failure.phase, inbox.reception.failure.waited_s) == (phase, 5.0)
    assert exchange.abandoned == 1


@pytest.mark.parametrize("is_numbered", [True, False])
@pytest.mark.parametrize("shortcut", [True, False])
async def test_a_character_cut_in_two_deltas_arrives_whole(shortcut: bool, is_numbered: bool) -> None:
    inbox = inbox_of(FakeClock())
    deliver = inbox.deliver_delta if shortcut else inbox.deliver
    for number, piece in enumerate(("a", "b", "c\ud83d", "\ude00", " d", "\ud83d", " e", "f")):
        deliver(text(piece, number if is_numbered else None))
    pieces = [event.delta for event in inbox.take() if type(event) is OutputTextDelta]
    assert pieces == ["a", "b", "c\U0001f600", "", " d", "\ufffd", " e", "f"]


async def test_half_a_character_before_a_failure_can_still_be_read() -> None:
    inbox = inbox_of(FakeClock())
    inbox.deliver(text("a", 0))
    events = inbox.take()
    inbox.deliver(text("b \ud83d", 1))
    inbox.fail(Failure.lost("gone"))
    assert inbox.is_over
    assert [event.delta for event in events if type(event) is OutputTextDelta] == ["a", "b \ufffd"]


async def test_the_first_event_is_waited_for_from_the_moment_when_the_request_has_left() -> None:
    clock = FakeClock()
    inbox, exchange = inbox_of(clock, first_event=5.0), Exchange()
    inbox.listen_to(exchange)
    for _ in range(4):
        clock.advance(4.0)
        exchange.departed_at = clock()
    clock.advance(4.9)
    assert inbox.reception.failure is None
    clock.advance(0.2)
    assert inbox.reception.failure is not None
    assert inbox.reception.failure.phase == "first_event"


async def test_the_other_phases_do_not_wait_for_requests_to_leave() -> None:
    clock = FakeClock()
    inbox, exchange = inbox_of(clock, first_event=5.0, first_output=5.0), Exchange()
    inbox.listen_to(exchange)
    inbox.deliver(decode(b'{"type": "response.created", "response": {"id": "r"}}'))
    clock.advance(4.0)
    exchange.departed_at = clock()
    clock.advance(1.1)
    assert inbox.reception.failure is not None
    assert inbox.reception.failure.phase == "first_output"


def item(step: str, kind: str, index: int = 0) -> Any:
    content = {"type": kind, "summary": [], "content": []}
    data = {"type": f"response.output_item.{step}", "item": content, "output_index": index}
    return decode(json.dumps(data).encode())


def event(kind: str, **more: Any) -> Any:
    return decode(json.dumps({"type": kind, "response": {"id": "r"}, **more}).encode())


def failed_phase(inbox: Inbox) -> str | None:
    return inbox.reception.failure.phase if inbox.reception.failure is not None else None


async def test_keep_alive_comments_put_off_the_first_event_and_further_events() -> None:
    for arrived in ([], [text("x")]):
        clock = FakeClock()
        inbox = inbox_of(clock, first_event=5.0, first_output=50.0, between_events=5.0, total=60.0)
        inbox.listen_to(Exchange())
        for each in arrived:
            inbox.deliver(each)
        for _ in range(14):
            clock.advance(4.0)
            inbox.on_keep_alive()
        assert failed_phase(inbox) is None
        clock.advance(4.1)
        assert failed_phase(inbox) == "total"


@pytest.mark.parametrize("kind", ["response.in_progress", "response.queued", "keepalive", None])
async def test_only_output_puts_off_the_first_output(kind: str | None) -> None:
    clock = FakeClock()
    inbox = inbox_of(clock, first_event=5.0, first_output=20.0, between_events=5.0)
    inbox.listen_to(Exchange())
    inbox.deliver(event("response.created"))
    for _ in range(6):
        clock.advance(3.0)
        if kind is None:
            inbox.on_keep_alive()
        else:
            inbox.deliver(event(kind))
    assert failed_phase(inbox) is None
    clock.advance(2.1)
    assert failed_phase(inbox) == "first_output"


@pytest.mark.parametrize("kind", ["reasoning", "web_search_call", "mcp_call"])
async def test_the_long_limit_applies_while_only_reasoning_or_hosted_tools_are_open(kind: str) -> None:
    clock = FakeClock()
    inbox = inbox_of(clock, first_event=5.0, first_output=20.0, between_events=5.0)
    inbox.listen_to(Exchange())
    inbox.deliver(event("response.created"))
    inbox.deliver(item("added", kind))
    clock.advance(18.0)
    inbox.deliver(event(f"response.{kind}.searching", item_id="i", output_index=0))  # progress
    for _ in range(3):
        clock.advance(6.0)
        inbox.on_keep_alive()
        inbox.deliver(event("response.in_progress"))
    assert failed_phase(inbox) is None
    clock.advance(2.1)
    assert failed_phase(inbox) == "first_output"


async def test_the_short_limit_applies_again_when_the_reasoning_has_ended() -> None:
    clock = FakeClock()
    inbox = inbox_of(clock, first_event=5.0, first_output=100.0, between_events=5.0)
    inbox.listen_to(Exchange())
    inbox.deliver(item("added", "reasoning"))
    clock.advance(18.0)
    inbox.deliver(item("done", "reasoning"))
    inbox.deliver(item("added", "message", 1))
    inbox.deliver(text("x"))
    clock.advance(4.9)
    assert failed_phase(inbox) is None
    clock.advance(0.2)
    assert failed_phase(inbox) == "between_events"


@pytest.mark.parametrize(
    ("limits", "phase"),
    [
        ({"first_output": None, "between_events": 5.0}, "total"),
        ({"first_output": None, "between_events": 0.0}, "total"),
        ({"first_output": 20.0, "between_events": None}, "first_output"),
    ],
)
async def test_a_missing_limit_leaves_the_others(limits: dict[str, Any], phase: str) -> None:
    clock = FakeClock()
    inbox = inbox_of(clock, 100, **limits, total=30.0)
    inbox.listen_to(Exchange())
    inbox.deliver(item("added", "reasoning"))
    for _ in range(4):
        clock.advance(9.0)
    assert failed_phase(inbox) == phase


async def test_compacting_is_no_output() -> None:
    inbox = inbox_of(FakeClock())
    inbox.listen_to(Exchange())
    inbox.deliver(event("response.created"))
    inbox.deliver(event("response.compaction.compacting", item_id="cmp", output_index=0))
    assert inbox.reception.first_output_at is None
    assert not inbox.events


async def test_an_attempt_that_has_ended_has_no_deadline() -> None:
    clock = FakeClock()
    inbox = inbox_of(clock, total=10.0)
    inbox.listen_to(Exchange())
    for kind in ("response.created", DELTA, "response.completed"):
        inbox.deliver(decode(json.dumps({"type": kind, "delta": "x", "response": {"id": "r"}}).encode()))
    clock.advance(100.0)
    assert inbox.reception.failure is None


async def test_unread_events_of_a_failed_attempt_are_dropped_and_read_ones_stay() -> None:
    for was_read in (False, True):
        inbox = inbox_of(FakeClock())
        inbox.deliver(text("x"))
        if was_read:
            inbox.take()
        inbox.fail(Failure.lost("the connection was lost", sent=True))
        assert bool(inbox.events) is was_read
