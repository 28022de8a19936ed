"""Steering of a running response: on the wire, in the stream and in the history."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

import trunkline
from trunkline import Cause, ConfigurationError, ConnectionLost, SteerRefused, UsageError
from trunkline.emulator import Call, Emulator, FakeClock, FakeNetwork, Gate, Prompt, Say, Step, words
from trunkline.emulator.pace import Pace
from trunkline.events import (
    FunctionCallArgumentsDelta,
    OutputTextDelta,
    ResponseCompleted,
    ResponseCreated,
    ResponseIncomplete,
    SteerAccepted,
    SteerFailed,
    SteerPending,
)

from .peer import TEXT, Peer, Server, frame
from .promise.canonical import canonical
from .talk import (
    WEATHER,
    ask,
    assert_kept,
    client_of,
    first_text,
    hold_after_first_word,
    output_for,
    record_of,
    texts,
)
from .waiting import soon, until

CODES = [
    "response_not_found",
    "invalid_input",
    "steering_not_supported",
    "too_many_pending_steers",
    "response_already_completed",
    "response_not_active",
    "successor_creation_failed",
    "a_code_of_tomorrow",
]
ENDLESS = "words-1000000"
"""A model whose answer does not end before it is steered, even on a slow machine."""


@pytest.fixture
async def chat(emulator: Emulator, client: trunkline.Client) -> trunkline.Conversation:
    """A conversation with a model that streams a long answer."""
    emulator.pace = Pace(0.0, 300)
    return client.conversation(model=ENDLESS)


def hold_open_call(emulator: Emulator) -> Gate:
    """Hold the next answer in its first call, so that it can be steered."""
    return emulator.faults.hold(event_type="response.function_call_arguments.done")


def steers_of(emulator: Emulator) -> list[dict[str, Any]]:
    """The steering frames that the emulator received."""
    return [request.body or {} for request in emulator.requests if request.kind == "response.steer"]


# Accepted.


async def test_an_accepted_steer_is_answered_by_a_successor_in_the_same_stream(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    emulator.add_model(ENDLESS, _talks_then_answers)
    async with chat.send("tell me a story") as stream:
        await first_text(stream)
        await stream.steer("in verse, please")
        kinds = [type(event) async for event in stream]
    turning = [kind for kind in kinds if kind not in (OutputTextDelta, trunkline.events.UnknownEvent)]
    order = [kinds.index(kind) for kind in (SteerAccepted, ResponseIncomplete, ResponseCreated)]
    assert order == sorted(order), turning
    assert kinds[-1] is ResponseCompleted
    first, second = emulator.responses.values()
    assert stream.response.id == second.id
    assert second.successor_of == first.id
    assert stream.response.output_text == "As you wish: in verse, please"


def _talks_then_answers(prompt: Prompt) -> list[Step]:
    """Answer a story without end, and any other message briefly."""
    if prompt.user_text == "tell me a story":
        return [Say(f"{number} " for number in count())]
    return [Say(words(f"As you wish: {prompt.user_text}"))]


async def test_the_history_is_what_the_model_saw(emulator: Emulator, chat: trunkline.Conversation) -> None:
    emulator.add_model(ENDLESS, _talks_then_answers)
    await ask(chat, "hello")
    async with chat.send("tell me a story") as stream:
        await first_text(stream)
        await stream.steer("in verse, please")
        await stream.finish()
    assert_kept(emulator, chat, stream.response)
    said = [item["content"] for item in chat.items if item.get("role") == "user"]
    assert said == ["hello", "tell me a story", "in verse, please"]
    after = await ask(chat, "thank you")
    assert (after.metrics.mode, after.metrics.items_sent, after.metrics.recoveries) == ("delta", 1, [])
    assert_kept(emulator, chat, after.response)


@pytest.mark.parametrize("store", [True, False])
async def test_a_steered_conversation_continues_on_a_new_connection(
    emulator: Emulator, chat: trunkline.Conversation, client: trunkline.Client, store: bool
) -> None:
    emulator.add_model(ENDLESS, _talks_then_answers)
    async with chat.send("tell me a story", store=store) as stream:
        await first_text(stream)
        await stream.steer("in verse, please")
        await stream.finish()
    await emulator.drop_connections()
    await until(lambda: client.connections == 0, "the client has noticed")
    after = await ask(chat, "thank you", store=store)
    assert (after.metrics.mode, after.metrics.recoveries) == ("delta" if store else "full", [])
    assert_kept(emulator, chat, after.response)


async def test_a_steer_has_exactly_three_fields_and_no_lane(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    message: dict[str, Any] = {"role": "user", "content": [{"type": "input_text", "text": "in verse"}]}
    several: list[Any] = [message, {"role": "user", "content": "please"}]
    async with chat.send("tell me a story") as stream:
        await first_text(stream)
        await asyncio.gather(*(stream.steer(given) for given in ("in verse", message, several)))
    target = next(iter(emulator.responses))
    assert steers_of(emulator) == [
        {"type": "response.steer", "previous_response_id": target, "input": given}
        for given in ("in verse", [message], several)
    ]


async def test_several_steers_go_in_order_to_one_successor(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    emulator.add_model(ENDLESS, _talks_then_answers)
    async with chat.send("tell me a story") as stream:
        await first_text(stream)
        await asyncio.gather(*(stream.steer(words) for words in ("one", "two", "three")))
        await stream.finish()
    assert_kept(emulator, chat, stream.response)
    said = [item["content"] for item in chat.items if item.get("role") == "user"]
    assert said == ["tell me a story", "one", "two", "three"]
    assert len(emulator.responses) == 2


async def test_the_successor_can_be_steered_as_well(emulator: Emulator, chat: trunkline.Conversation) -> None:
    created = 0
    async with chat.send("tell me a story") as stream:
        async for event in stream:
            created += isinstance(event, ResponseCreated)
            if isinstance(event, OutputTextDelta) and created <= 3 and len(steers_of(emulator)) < created:
                await stream.steer(f"change {created}")
            if created == 4:
                break
    chain = list(emulator.responses.values())
    assert [record.successor_of for record in chain[1:4]] == [record.id for record in chain[:3]]
    assert [texts(record.input) for record in chain[1:4]] == [[f"user: change {n}"] for n in (1, 2, 3)]
    emulator.pace = Pace()
    after = await ask(chat, "and now?", model="echo")
    assert_kept(emulator, chat, after.response)


async def test_the_lane_stays_with_the_stream_until_the_successor_has_ended(
    emulator: Emulator, chat: trunkline.Conversation, client: trunkline.Client
) -> None:
    emulator.add_model(ENDLESS, _talks_then_answers)
    others = [client.conversation(model=ENDLESS) for _ in range(4)]
    async with chat.send("tell me a story") as stream:
        await first_text(stream)
        await stream.steer("in verse, please")
        beside = await asyncio.gather(*(ask(other, "hello") for other in others))
        await stream.finish()
    lanes = [each.metrics.lane for each in beside]
    assert stream.metrics.lane not in lanes
    assert {each.metrics.connection for each in beside} == {stream.metrics.connection}
    assert {record.lane for record in emulator.responses.values() if record.successor_of} == {
        stream.metrics.lane
    }
    after = await ask(chat, "thank you")
    assert after.metrics.lane == stream.metrics.lane


async def test_leaving_a_steered_answer_does_not_delay_the_next_turn(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    async with chat.send("tell me a story") as stream:
        await first_text(stream)
        await stream.steer("in verse, please")
    after = await soon(ask(chat, "stop", model=ENDLESS, max_output_tokens=1))
    assert after.metrics.lane != stream.metrics.lane
    assert_kept_but_for_the_end(emulator, chat, after.response)


def assert_kept_but_for_the_end(
    emulator: Emulator, chat: trunkline.Conversation, response: trunkline.Response
) -> None:
    """The model's context is the history up to this response's own output."""
    seen = emulator.effective_context(response.id)
    assert canonical(seen) == canonical(chat.items[: len(chat.items) - len(response.output)])


async def test_a_key_continues_a_steered_answer_with_the_callers_history(
    emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.pace = Pace(0.0, 300)
    emulator.add_model(ENDLESS, _talks_then_answers)
    history: list[Any] = [{"role": "user", "content": "tell me a story"}]
    async with client.stream(model=ENDLESS, input=history, key="k") as stream:
        await first_text(stream)
        await stream.steer("in verse, please")
        async for event in stream:
            if isinstance(event, ResponseIncomplete):
                history += [*event.response.output, {"role": "user", "content": "in verse, please"}]
    history += [*stream.response.output, {"role": "user", "content": "thank you"}]
    async with client.stream(model=ENDLESS, input=history, key="k") as after:
        await after.finish()
    assert (after.metrics.mode, after.metrics.items_sent) == ("delta", 1)
    assert canonical(record_of(emulator, after).effective_context) == canonical(history)


# Refused.


async def test_a_model_without_steering_refuses_the_steer_and_continues(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = hold_after_first_word(emulator)
    emulator.add_model("gpt-5.2", _talks_a_little)
    chat = client.conversation(model="gpt-5.2")
    async with chat.send("hello") as stream:
        await first_text(stream)
        with pytest.raises(SteerRefused) as refusal:
            await stream.steer("in verse")
        gate.open()
        await stream.finish()
    assert (refusal.value.code, refusal.value.input) == ("steering_not_supported", "in verse")
    assert stream.response.status == "completed"
    assert_kept(emulator, chat, stream.response)
    after = await ask(chat, "and now?")
    assert (after.metrics.mode, after.metrics.lane) == ("delta", stream.metrics.lane)


def _talks_a_little(prompt: Prompt) -> list[Step]:
    return [Say([f"{number} " for number in range(20)])]


async def test_a_steer_beyond_the_limit_of_pending_steers_is_refused(
    emulator: Emulator, client: trunkline.Client
) -> None:
    hold_open_call(emulator)
    chat = client.conversation(model="tools", tools=[WEATHER])
    async with chat.send("the weather in Oslo and in Bergen?") as stream:
        async for event in stream:
            if isinstance(event, FunctionCallArgumentsDelta):
                break
        outcomes = await asyncio.gather(*(stream.steer(str(n)) for n in range(9)), return_exceptions=True)
    assert outcomes[:8] == [None] * 8
    assert isinstance(outcomes[8], SteerRefused)
    assert (outcomes[8].code, outcomes[8].input) == ("too_many_pending_steers", "8")


async def test_a_steer_after_the_end_is_refused_and_the_turn_is_answered(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = emulator.faults.hold(event_type="response.completed")
    chat = client.conversation(model="echo")
    async with chat.send("hello") as stream:
        await first_text(stream)
        with pytest.raises(SteerRefused) as refusal:
            await stream.steer("louder")
        gate.open()
        await soon(stream.finish())
    assert (refusal.value.code, refusal.value.input) == ("response_already_completed", "louder")
    assert_kept(emulator, chat, stream.response)
    assert (await ask(chat, "and now?")).metrics.mode == "delta"


async def test_a_steer_of_a_failed_response_is_returned_and_the_lane_is_free_again(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = hold_after_first_word(emulator)
    chat = client.conversation(model="fail-after-20-invalid_prompt")
    async with chat.send("hello") as stream:
        await first_text(stream)
        await stream.steer("louder")
        gate.open()
        with pytest.raises(trunkline.ResponseFailed):
            await stream.finish()
    await until(lambda: client.state().in_flight == 0, "the lane is free")
    other = client.conversation(model="fail-after-20-invalid_prompt")
    with pytest.raises(trunkline.ResponseFailed):
        await ask(other, "hello")
    assert emulator.handshakes == 1


# Pending.


def _calls(prompt: Prompt) -> list[Step]:
    """Calls the tool for each city; with their outputs, answers."""
    if prompt.outputs:
        return [Say(["It", " is", " so."])]
    cities = [city for city in ("Oslo", "Bergen") if city in prompt.user_text]
    return [Call("get_weather", json.dumps({"city": city})) for city in cities]


@pytest.fixture
def caller(emulator: Emulator) -> str:
    """A model that calls."""
    emulator.add_model("caller", _calls)
    return "caller"


async def pending(
    emulator: Emulator, chat: trunkline.Conversation, *steers: str, question: str = "the weather in Oslo?"
) -> trunkline.ResponseStream:
    """A turn that ends with calls, and with steers that wait for their outputs."""
    gate = hold_open_call(emulator)
    async with chat.send(question) as stream:
        async for event in stream:
            if isinstance(event, FunctionCallArgumentsDelta):
                break
        await asyncio.gather(*(stream.steer(steer) for steer in steers))
        gate.open()
        kinds = [type(event) async for event in stream]
    assert kinds.count(SteerPending) == len(steers)
    return stream


@pytest.mark.parametrize("store", [True, False])
async def test_outputs_that_are_owed_go_out_alone_on_the_same_lane_and_take_the_steer_along(
    emulator: Emulator, client: trunkline.Client, caller: str, store: bool
) -> None:
    chat = client.conversation(model=caller, tools=[WEATHER], store=store)
    stream = await pending(emulator, chat, "in Fahrenheit", question="the weather in Oslo and Bergen?")
    calls = stream.response.tool_calls
    assert len(calls) == 2
    outputs = [output_for(call, "sunny") for call in calls]
    after = await ask(chat, outputs)
    assert (after.metrics.mode, after.metrics.items_sent) == ("delta", 2)
    assert (after.metrics.lane, after.metrics.connection) == (
        stream.metrics.lane,
        stream.metrics.connection,
    )
    sent = emulator.requests[-1].body or {}
    assert sent["previous_response_id"] == stream.response.id
    assert [item["call_id"] for item in sent["input"]] == [call["call_id"] for call in calls]
    seen = record_of(emulator, after).effective_context
    assert canonical(seen) == canonical(chat.items[:-1])
    assert ("user", "in Fahrenheit") in canonical(seen)
    assert_kept(emulator, chat, after.response)


async def test_several_steers_may_be_pending(
    emulator: Emulator, client: trunkline.Client, caller: str
) -> None:
    chat = client.conversation(model=caller, tools=[WEATHER])
    stream = await pending(emulator, chat, "one", "two")
    after = await ask(chat, [output_for(call, "sunny") for call in stream.response.tool_calls])
    assert_kept(emulator, chat, after.response)
    assert [item["content"] for item in chat.items if item.get("role") == "user"][1:] == ["one", "two"]


@pytest.mark.parametrize("store", [True, False])
async def test_a_pending_steer_survives_its_connection(
    emulator: Emulator, client: trunkline.Client, caller: str, store: bool
) -> None:
    chat = client.conversation(model=caller, tools=[WEATHER], store=store)
    stream = await pending(emulator, chat, "in Fahrenheit")
    await emulator.drop_connections()
    await until(lambda: client.connections == 0, "the client has noticed")
    after = await ask(chat, [output_for(call, "sunny") for call in stream.response.tool_calls])
    assert after.metrics.mode == "full", "the store holds the response, but not the steer"
    assert ("user", "in Fahrenheit") in canonical(record_of(emulator, after).effective_context)
    assert_kept(emulator, chat, after.response)


async def test_a_pending_steer_is_kept_if_the_outputs_are_refused_at_first(
    emulator: Emulator, client: trunkline.Client, caller: str
) -> None:
    chat = client.conversation(model=caller, tools=[WEATHER])
    stream = await pending(emulator, chat, "in Fahrenheit")
    emulator.faults.add("reject", status=503)
    after = await ask(chat, [output_for(call, "sunny") for call in stream.response.tool_calls])
    assert after.metrics.recoveries == [Cause.TRANSIENT]
    assert_kept(emulator, chat, after.response)


async def test_a_pending_steer_is_dropped_if_the_history_is_replaced(
    emulator: Emulator, client: trunkline.Client, caller: str
) -> None:
    chat = client.conversation(model=caller, tools=[WEATHER])
    await pending(emulator, chat, "in Fahrenheit")
    chat.replace([])
    after = await ask(chat, "hello from Oslo")
    assert_kept(emulator, chat, after.response)
    assert canonical(record_of(emulator, after).effective_context) == [("user", "hello from Oslo")]
    outputs = [output_for(call, "sunny") for call in after.response.tool_calls]
    assert_kept(emulator, chat, (await ask(chat, outputs)).response)


async def test_a_pending_steer_stays_with_its_lane_and_a_fork_resends_it(
    emulator: Emulator, client: trunkline.Client, caller: str
) -> None:
    chat = client.conversation(model=caller, tools=[WEATHER])
    stream = await pending(emulator, chat, "in Fahrenheit")
    outputs = [output_for(call, "sunny") for call in stream.response.tool_calls]
    branch = chat.fork()
    for one, mode in ((branch, "full"), (chat, "delta")):
        after = await ask(one, outputs)
        assert after.metrics.mode == mode
        assert_kept(emulator, one, after.response)


async def test_a_run_with_the_outputs_continues_the_pending_steer(
    emulator: Emulator, client: trunkline.Client, caller: str
) -> None:
    chat = client.conversation(model=caller, tools=[WEATHER])
    stream = await pending(emulator, chat, "in Fahrenheit")
    answer = await chat.run([output_for(call, "sunny") for call in stream.response.tool_calls])
    assert_kept(emulator, chat, answer)


# Invalid steers.


async def test_steering_before_the_response_or_after_its_end_raises(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = emulator.faults.hold(event=1)
    chat = client.conversation(model="echo")
    stream = chat.send("hello")
    with pytest.raises(UsageError, match="enter it first"):
        await stream.steer("x")
    async with stream:
        with pytest.raises(UsageError, match="no response is running"):
            await stream.steer("x")
        gate.open()
        await stream.finish()
        with pytest.raises(UsageError, match="no response is running"):
            await stream.steer("x")
    with pytest.raises(UsageError):
        await stream.steer("x")
    assert steers_of(emulator) == []


@pytest.mark.parametrize(
    "given",
    [
        [],
        [{"type": "function_call_output", "call_id": "c", "output": "x"}],
        {"role": "assistant", "content": "x"},
        [{"role": "user", "content": "x"}, {"role": "developer", "content": "y"}],
    ],
)
async def test_only_user_messages_can_steer(
    emulator: Emulator, chat: trunkline.Conversation, given: Any
) -> None:
    async with chat.send("tell me a story") as stream:
        await first_text(stream)
        with pytest.raises(ConfigurationError, match="user messages"):
            await stream.steer(given)
    assert steers_of(emulator) == []


# With a scripted server.

Play = Callable[[Peer], Any]


def event(kind: str, **fields: Any) -> bytes:
    return frame(TEXT, json.dumps({"type": kind, **fields}).encode())


def response(name: str, status: str, text: str = "", parent: str | None = None) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text}]
    output = [{"type": "message", "role": "assistant", "content": content}] if text else []
    return {"id": name, "status": status, "previous_response_id": parent, "output": output, "store": False}


def begin(name: str, text: str, parent: str | None = None) -> bytes:
    spot = {"item_id": "i", "output_index": 0, "content_index": 0}
    created = event("response.created", response=response(name, "in_progress", parent=parent))
    return created + event("response.output_text.delta", delta=text, **spot)


def end(name: str, text: str, parent: str | None = None, kind: str = "completed") -> bytes:
    return event(f"response.{kind}", response=response(name, kind, text, parent))


def failed(target: str, given: Any, code: str | None, steer_id: str | None = None) -> bytes:
    steer = {"previous_response_id": target, "input": given} | ({"id": steer_id} if steer_id else {})
    error = {"error": {"code": code, "message": "no", "type": "invalid_request_error"}} if code else {}
    return event("response.steer.failed", steer=steer, **error)


def accepted(target: str, steer_id: str) -> bytes:
    return event("response.steer.accepted", steer={"id": steer_id, "previous_response_id": target})


class Wire:
    """Server side of one connection."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def receive(self) -> dict[str, Any]:
        _, payload = await soon(self.peer.read())
        body: dict[str, Any] = json.loads(payload)
        return body

    def send(self, *events: bytes) -> None:
        self.peer.write(*events)


@asynccontextmanager
async def wired(server: Server, **options: Any) -> AsyncIterator[tuple[trunkline.Conversation, Wire]]:
    """A conversation over one socket, and the server side of that socket."""
    base_url = server.url.replace("ws://", "http://").removesuffix("/responses")
    async with trunkline.Client(
        base_url=base_url, api_key="sk-x", transport="websocket", **options
    ) as client:
        warming = asyncio.create_task(client.warm(model="m"))
        peer = await soon(server.next_peer())
        peer.accept()
        await warming
        yield client.conversation(model="m", store=False), Wire(peer)
        peer.writer.close()


@pytest.mark.parametrize("code", [*CODES, None])
@pytest.mark.parametrize("is_late", [False, True])
async def test_a_refused_steer_has_its_code_and_its_input(
    server: Server, code: str | None, is_late: bool
) -> None:
    """If ``is_late``, the answer ends before the steer arrives."""
    async with wired(server) as (chat, wire), chat.send("hello") as stream:
        await wire.receive()
        wire.send(begin("resp_1", "Hello"))
        await first_text(stream)
        steering = asyncio.create_task(stream.steer("louder"))
        body = await wire.receive()
        assert body == {"type": "response.steer", "previous_response_id": "resp_1", "input": "louder"}
        refusal, ending = failed("resp_1", "louder", code), end("resp_1", "Hello")
        wire.send(*((ending, refusal) if is_late else (refusal, ending)))
        with pytest.raises(SteerRefused) as refused:
            await soon(steering)
        assert (refused.value.code, refused.value.input) == (code, "louder")
        assert (await soon(stream.finish())).id == "resp_1"
        assert [item["role"] for item in chat.items] == ["user", "assistant"]


async def test_an_accepted_steer_that_fails_later_is_in_returned_steers(server: Server) -> None:
    async with wired(server) as (chat, wire), chat.send("hello") as stream:
        await wire.receive()
        wire.send(begin("resp_1", "Hello"))
        await first_text(stream)
        steering = asyncio.create_task(stream.steer("louder"))
        await wire.receive()
        wire.send(accepted("resp_1", "s1"))
        await soon(steering)
        assert stream.returned_steers == []
        wire.send(
            end("resp_1", "Hello", kind="incomplete"),
            failed("resp_1", "louder", "successor_creation_failed", "s1"),
        )
        kinds = [type(each) for each in await soon(_rest(stream))]
        assert SteerFailed in kinds
        assert stream.returned_steers == ["louder"]
        assert stream.response.id == "resp_1"
        assert [item["role"] for item in chat.items] == ["user", "assistant"], "the model never saw it"


async def _rest(stream: trunkline.ResponseStream) -> list[trunkline.ServerEvent]:
    return [each async for each in stream]


async def test_each_of_several_steers_gets_its_own_outcome(server: Server) -> None:
    async with wired(server) as (chat, wire), chat.send("hello") as stream:
        await wire.receive()
        wire.send(begin("resp_1", "Hello"))
        await first_text(stream)
        steering = [asyncio.create_task(stream.steer(words)) for words in ("one", "two", "three")]
        for words in ("one", "two", "three"):
            assert (await wire.receive())["input"] == words
        wire.send(
            accepted("resp_1", "s1"), failed("resp_1", "two", "invalid_input"), accepted("resp_1", "s3")
        )
        outcomes = await soon(asyncio.gather(*steering, return_exceptions=True))
        assert [type(outcome) for outcome in outcomes] == [type(None), SteerRefused, type(None)]
        assert isinstance(outcomes[1], SteerRefused)
        assert outcomes[1].input == "two"
        wire.send(
            end("resp_1", "Hello", kind="incomplete"),
            begin("resp_2", "As you wish", "resp_1"),
            end("resp_2", "As you wish", "resp_1"),
        )
        assert (await soon(stream.finish())).id == "resp_2"
        said = [item["content"] for item in chat.items if item["role"] == "user"]
        assert said == ["hello", "one", "three"]


async def test_a_seventeenth_steer_is_refused_before_the_first_is_acknowledged(server: Server) -> None:
    """A socket that takes no bytes would buffer them without bound."""
    async with wired(server) as (chat, wire), chat.send("hello") as stream:
        await wire.receive()
        wire.send(begin("resp_1", "Hello"))
        await first_text(stream)
        steering = [asyncio.create_task(stream.steer(str(number))) for number in range(16)]
        for number in range(16):
            assert (await wire.receive())["input"] == str(number)
        with pytest.raises(SteerRefused, match="not acknowledged 16 earlier steers; wait") as refused:
            await stream.steer("16")
        assert (refused.value.code, refused.value.input) == ("too_many_pending_steers", "16")
        wire.send(accepted("resp_1", "s0"))
        await soon(steering[0])
        steering.append(asyncio.create_task(stream.steer("17")))
        assert (await wire.receive())["input"] == "17"
    await asyncio.gather(*steering, return_exceptions=True)


async def test_a_steer_without_an_answer_raises_connection_lost(
    server: Server,
) -> None:
    async with wired(server) as (chat, wire), chat.send("hello") as stream:
        await wire.receive()
        wire.send(begin("resp_1", "Hello"))
        await first_text(stream)
        steering = asyncio.create_task(stream.steer("louder"))
        await wire.receive()
        wire.peer.writer.transport.abort()
        for ending in (steering, stream.finish()):
            with pytest.raises(ConnectionLost) as loss:
                await soon(ending)
            assert (loss.value.output_seen, loss.value.sent, loss.value.started) == (True, True, True)
        assert [item["content"] for item in chat.items] == ["hello", "Hello"]


@pytest.mark.parametrize("is_read", [True, False])
async def test_a_steer_that_breaks_off_tells_whether_the_history_is_as_it_was(
    server: Server, is_read: bool
) -> None:
    async with wired(server) as (chat, wire):

        async def lose_a_steer() -> None:
            async with chat.send("hello") as stream:
                await wire.receive()
                wire.send(begin("resp_1", "Hello"))
                await until(lambda: stream.metrics.response_id is not None, "the response has begun")
                if is_read:
                    await first_text(stream)
                steering = asyncio.create_task(stream.steer("louder"))
                await wire.receive()
                wire.peer.writer.transport.abort()
                await soon(steering)

        with pytest.raises(ConnectionLost) as loss:
            await lose_a_steer()
        assert loss.value.output_seen is is_read
        assert [item["content"] for item in chat.items] == (["hello", "Hello"] if is_read else [])


def error(lane: str | None, **fields: Any) -> bytes:
    named = {} if lane is None else {"stream_id": lane}
    return event("error", error={"message": "no such type", **fields}, **named)


def on(lane: str, frames: bytes) -> bytes:
    """The same events on a named lane."""
    named = b""
    while frames:
        start, size = (4, int.from_bytes(frames[2:4])) if frames[1] == 126 else (2, frames[1])
        body = json.loads(frames[start : start + size])
        named += frame(TEXT, json.dumps({**body, "stream_id": lane}).encode())
        frames = frames[start + size :]
    return named


@dataclass
class Neighbours:
    """Two answers on lanes of one connection, of which the first is being steered."""

    chat: trunkline.Conversation
    wire: Wire
    lanes: list[str]
    stream: trunkline.ResponseStream
    other: trunkline.ResponseStream
    steering: asyncio.Task[None]

    def end(self, refusal: bytes, *, is_late: bool) -> None:
        """Refuse the steer, before its answer ends or after it; both answers end."""
        ending = on(self.lanes[0], end("resp_1", "Hello"))
        first = (ending, refusal) if is_late else (refusal, ending)
        self.wire.send(*first, on(self.lanes[1], end("resp_2", "Hi")))


@asynccontextmanager
async def neighbours(server: Server) -> AsyncIterator[Neighbours]:
    """Two answers that have begun, and a steer that the server has received."""
    async with (
        wired(server, lanes=True) as (chat, wire),
        chat.send("hello") as stream,
        chat.fork().send("hi") as other,
    ):
        lanes = [(await wire.receive())["stream_id"] for _ in range(2)]
        wire.send(on(lanes[0], begin("resp_1", "Hello")), on(lanes[1], begin("resp_2", "Hi")))
        await first_text(stream)
        await first_text(other)
        steering = asyncio.create_task(stream.steer("louder"))
        await wire.receive()
        yield Neighbours(chat, wire, lanes, stream, other, steering)


@pytest.mark.parametrize("names_lane", [True, False])
@pytest.mark.parametrize("is_late", [True, False])
@pytest.mark.parametrize("fields", [{}, {"code": "unknown_type", "status": 400}], ids=["bare", "coded"])
async def test_an_error_that_refuses_a_steer_harms_no_answer(
    server: Server, names_lane: bool, is_late: bool, fields: dict[str, Any]
) -> None:
    """A neighbour on another lane of the same connection goes on as well."""
    async with neighbours(server) as both:
        both.end(error(both.lanes[0] if names_lane else None, **fields), is_late=is_late)
        with pytest.raises(SteerRefused) as refused:
            await soon(both.steering)
        assert (refused.value.code, refused.value.input) == (fields.get("code"), "louder")
        assert (await soon(both.stream.finish())).id == "resp_1"
        assert (await soon(both.other.finish())).id == "resp_2"
    assert [item["content"] for item in both.chat.items if item["role"] == "user"] == ["hello"]


@pytest.mark.parametrize("is_late", [True, False])
@pytest.mark.parametrize("target", ["resp_1", "resp_unknown"])
async def test_a_steer_that_is_refused_without_stream_id_harms_no_answer(
    server: Server, target: str, is_late: bool
) -> None:
    """A gateway refuses it so where it does not find the response, because that has ended."""
    async with neighbours(server) as both:
        both.end(failed(target, "louder", "response_not_found"), is_late=is_late)
        assert (await soon(both.other.finish())).id == "resp_2"
        if target == "resp_1":
            with pytest.raises(SteerRefused, match="response_not_found"):
                await soon(both.steering)
            assert (await soon(both.stream.finish())).id == "resp_1"
    await asyncio.gather(both.steering, return_exceptions=True)


async def test_an_error_of_the_server_ends_a_steered_answer(server: Server) -> None:
    async with wired(server) as (chat, wire), chat.send("hello") as stream:
        await wire.receive()
        wire.send(begin("resp_1", "Hello"))
        await first_text(stream)
        steering = asyncio.create_task(stream.steer("louder"))
        await wire.receive()
        wire.send(error(None, code="server_error", status=500))
        for ending in (steering, stream.finish()):
            with pytest.raises(trunkline.ResponseRefused):
                await soon(ending)


def ruled_by(clock: FakeClock) -> dict[str, Any]:
    """The options of a client whose time is that of a clock: no PING is answered in no time."""
    world = trunkline.World(clock=clock, call_later=clock.call_later)
    limits = trunkline.PoolLimits(ping_after_s=100.0, doubt_after_s=200.0, dead_after_s=math.inf)
    return {"world": world, "limits": limits}


@pytest.mark.parametrize("is_late", [True, False])
async def test_a_steer_that_the_server_ignores_is_given_up(server: Server, is_late: bool) -> None:
    """If ``is_late``, the service accepts it afterwards all the same."""
    clock = FakeClock()
    async with wired(server, **ruled_by(clock)) as (chat, wire), chat.send("hello") as stream:
        await wire.receive()
        wire.send(begin("resp_1", "Hello"))
        await first_text(stream)
        steering = asyncio.create_task(stream.steer("louder"))
        await wire.receive()
        if not is_late:
            wire.send(end("resp_1", "Hello"))
        clock.advance(9.0)
        assert not steering.done()
        clock.advance(1.5)
        with pytest.raises(SteerRefused) as refused:
            await soon(steering)
        assert (refused.value.code, refused.value.input) == ("not_acknowledged", "louder")
        if is_late:
            wire.send(accepted("resp_1", "s1"), end("resp_1", "Hello"))
        assert (await soon(stream.finish())).id == "resp_1"
        assert [item["role"] for item in chat.items] == ["user", "assistant"]


async def give_a_steer_up(stream: trunkline.ResponseStream, wire: Wire, clock: FakeClock) -> None:
    """Begin ``resp_1``, and leave a steer into it without an answer."""
    await wire.receive()
    wire.send(begin("resp_1", "Hello"))
    await first_text(stream)
    steering = asyncio.create_task(stream.steer("louder"))
    await wire.receive()
    clock.advance(10.5)
    with pytest.raises(SteerRefused):
        await soon(steering)


async def test_the_successor_of_a_steer_that_is_accepted_too_late_answers_no_later_turn(
    server: Server,
) -> None:
    """It begins on the lane of the steered response, without a request, when the next turn may be waiting."""
    clock = FakeClock()
    async with wired(server, **ruled_by(clock)) as (chat, wire):
        async with chat.send("hello") as stream:
            await give_a_steer_up(stream, wire, clock)
            wire.send(accepted("resp_1", "s1"), end("resp_1", "Hello", kind="incomplete"))
            await soon(stream.finish())
        turn = asyncio.create_task(_finished(chat.send("louder, please")))
        peer = await soon(server.next_peer())  # not the socket on which the successor may begin
        peer.accept()
        second = Wire(peer)
        request = await second.receive()
        wire.send(begin("resp_2", "HELLO", "resp_1"), end("resp_2", "HELLO", "resp_1"))
        second.send(begin("resp_3", "Yes"), end("resp_3", "Yes"))
        assert (await soon(turn)).id == "resp_3"
        assert len(request["input"]) == 3
        assert [item["role"] for item in chat.items] == ["user", "assistant"] * 2
        peer.writer.close()


async def test_a_successor_with_a_steer_that_was_given_up_is_not_continued(server: Server) -> None:
    clock = FakeClock()
    async with wired(server, **ruled_by(clock)) as (chat, wire):
        async with chat.send("hello", store=True) as stream:
            await give_a_steer_up(stream, wire, clock)
            second = asyncio.create_task(stream.steer("slower"))
            await wire.receive()
            wire.send(accepted("resp_1", "s1"), accepted("resp_1", "s2"), end("resp_1", "Hello"))
            await soon(second)
            stored = response("resp_2", "completed", "HEL-LO", "resp_1") | {"store": True}
            wire.send(begin("resp_2", "HEL-LO", "resp_1"), event("response.completed", response=stored))
            assert (await soon(stream.finish())).id == "resp_2"
        turn = asyncio.create_task(_finished(chat.send("thanks")))
        peer = await soon(server.next_peer())
        peer.accept()
        other = Wire(peer)
        request = await other.receive()
        assert request.get("previous_response_id") is None, "its context has a message that the history lacks"
        assert len(request["input"]) == len(chat.items) + 1
        other.send(begin("resp_3", "Yes"), end("resp_3", "Yes"))
        await soon(turn)
        peer.writer.close()


async def _finished(stream: trunkline.ResponseStream) -> trunkline.Response:
    async with stream:
        return await stream.finish()


async def test_a_stream_that_was_left_cannot_be_steered(server: Server) -> None:
    async with wired(server) as (chat, wire):
        async with chat.send("hello") as stream:
            await wire.receive()
            wire.send(begin("resp_1", "Hello"))
            await first_text(stream)
            drained = asyncio.Event()
            stream.when_drained(lambda _: drained.set())
        with pytest.raises(UsageError, match="no response is running"):
            await soon(stream.steer("louder"))
        wire.send(end("resp_1", "Hello"))
        await soon(drained.wait())
        following = asyncio.create_task(_finished(chat.send("again")))
        assert (await wire.receive())["type"] == "response.create", "no steer was sent into the answer"
        wire.send(begin("resp_2", "Hi"), end("resp_2", "Hi"))
        await soon(following)


async def test_leaving_the_stream_ends_a_waiting_steer(server: Server) -> None:
    async with wired(server) as (chat, wire):
        async with chat.send("hello") as stream:
            await wire.receive()
            wire.send(begin("resp_1", "Hello"))
            await first_text(stream)
            steering = asyncio.create_task(stream.steer("louder"))
            await wire.receive()
        with pytest.raises(trunkline.TrunklineError):
            await soon(steering)


async def test_a_steered_turn_is_not_replayed(emulator: Emulator) -> None:
    emulator.pace = Pace(60.0, None)  # no output yet, so that the turn could be replayed
    async with client_of(emulator) as client:
        chat = client.conversation(model=ENDLESS)
        stream = chat.send("tell me a story")
        async with stream:
            reading = asyncio.create_task(stream.finish())
            await until(lambda: stream.metrics.response_id is not None, "the response has begun")
            await soon(stream.steer("in verse"))
            await emulator.drop_connections()
            with pytest.raises(ConnectionLost) as loss:
                await soon(reading)
    assert (loss.value.output_seen, stream.metrics.attempts) == (False, 1)
    assert len(emulator.responses) == 1
    assert chat.items == []


async def test_a_replayed_turn_can_be_steered(emulator: Emulator, chat: trunkline.Conversation) -> None:
    emulator.add_model(ENDLESS, _talks_then_answers)
    emulator.faults.add("drop", event=1)
    async with chat.send("tell me a story") as stream:
        await first_text(stream)
        await stream.steer("in verse, please")
        await stream.finish()
    assert stream.metrics.recoveries == [Cause.CONNECTION]
    assert_kept(emulator, chat, stream.response)


async def test_the_connection_may_be_lost_between_an_answer_and_its_successor(server: Server) -> None:
    async with wired(server) as (chat, wire), chat.send("hello") as stream:
        await wire.receive()
        wire.send(begin("resp_1", "Hello"))
        await first_text(stream)
        steering = asyncio.create_task(stream.steer("louder"))
        await wire.receive()
        wire.send(accepted("resp_1", "s1"), end("resp_1", "Hello", kind="incomplete"))
        await soon(steering)
        wire.peer.writer.close()
        with pytest.raises(ConnectionLost):
            await soon(stream.finish())


async def test_a_successor_may_be_in_progress_before_it_is_created(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    emulator.add_model(ENDLESS, _talks_then_answers)
    async with chat.send("tell me a story") as stream:
        await first_text(stream)
        emulator.faults.add("reorder", event_type="response.created")
        await stream.steer("in verse, please")
        await stream.finish()
    assert stream.response.output_text == "As you wish: in verse, please"
    assert_kept(emulator, chat, stream.response)
    after = await ask(chat, "thank you")
    assert_kept(emulator, chat, after.response)


@pytest.mark.parametrize("fault", ["fail", "truncate", "drop"])
async def test_a_successor_that_fails_ends_the_turn_and_the_steer_is_kept(
    emulator: Emulator, chat: trunkline.Conversation, fault: str
) -> None:
    emulator.add_model(ENDLESS, _talks_then_answers)
    stream = chat.send("tell me a story")
    async with stream:
        await first_text(stream)
        emulator.faults.add(fault, event_type="response.created")
        await stream.steer("in verse, please")
        with pytest.raises(trunkline.TurnError) as failure:
            await stream.finish()
        assert failure.value.output_seen
    held = [(item["role"], item["content"]) for item in chat.items]
    assert held == [
        ("user", "tell me a story"),
        ("assistant", stream.received_text),
        ("user", "in verse, please"),
    ]
    after = await ask(chat, "thank you")
    assert_kept(emulator, chat, after.response)


@pytest.mark.parametrize("place", ["deltas", "final", "everywhere"])
async def test_the_text_of_a_steered_response_may_stand_in_one_place(place: str) -> None:
    network, clock = FakeNetwork(), FakeClock()
    world = trunkline.World(clock=clock, call_later=clock.call_later, dial=network.dial)

    def response(number: int, text: str, **more: Any) -> dict[str, Any]:
        said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        output = [said] if place != "deltas" else []
        return {"response": {"id": f"r{number}", "output": output, **more}}

    async with trunkline.Client(api_key="k", base_url="http://fake/v1", lanes=False, world=world) as client:
        chat = client.conversation(model="m")
        async with chat.send("go") as stream:
            [socket] = network.sockets
            reading = asyncio.create_task(_pieces(stream))
            delta = {"type": "response.output_text.delta"}
            socket.receive({"type": "response.created", **response(1, "")})
            if place != "final":
                socket.receive({**delta, "delta": "one "})
            steering = asyncio.create_task(stream.steer("more"))
            await asyncio.sleep(0)
            steer = {"id": "s", "previous_response_id": "r1"}
            socket.receive({"type": "response.steer.accepted", "steer": steer})
            steered = {"incomplete_details": {"reason": "steered"}}
            socket.receive({"type": "response.incomplete", **response(1, "one ", **steered)})
            socket.receive({"type": "response.created", **response(2, "", previous_response_id="r1")})
            socket.receive({**delta, "delta": "two"})
            socket.receive({"type": "response.completed", **response(2, "two", previous_response_id="r1")})
            await steering
            assert await reading == ["one ", "two"]
        assert texts(chat.items) == ["user: go", "assistant: one ", "user: more", "assistant: two"]


async def _pieces(stream: trunkline.ResponseStream) -> list[str]:
    return [piece async for piece in stream.text()]
