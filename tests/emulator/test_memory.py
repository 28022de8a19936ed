"""Caches and stores of the server, and eviction from them."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import aiohttp
import pytest

from trunkline.emulator import Emulator

from .wire import WEATHER, Event, Socket, Wire, calls_of, output, wired

NOT_FOUND = "previous_response_not_found"


def user(text: str) -> Event:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


@pytest.fixture
async def unstored(socket: Socket) -> Socket:
    """A socket whose responses are stored only on request."""
    create = socket.create

    async def create_unstored(**body: Any) -> None:
        await create(**{"store": False} | body)

    socket.create = create_unstored  # type: ignore[method-assign]
    return socket


async def test_a_continuation_sees_the_parents_context_and_output(emulator: Emulator, socket: Socket) -> None:
    first = await socket.response(input="one")
    second = await socket.response(input="two", previous_response_id=first["id"])
    third = await socket.response(
        input=[{"role": "user", "content": "three"}], previous_response_id=second["id"]
    )
    assert emulator.effective_context(third["id"]) == [
        user("one"),
        *first["output"],
        user("two"),
        *second["output"],
        {"role": "user", "content": "three"},
    ]
    assert emulator.responses[third["id"]].input == [{"role": "user", "content": "three"}]
    assert emulator.responses[second["id"]].effective_context == [user("one"), *first["output"], user("two")]


async def test_instructions_and_tools_do_not_carry_over(emulator: Emulator, socket: Socket) -> None:
    first = await socket.response(input="one", instructions="Be brief.", tools=[WEATHER])
    second = await socket.response(input="two", previous_response_id=first["id"])
    assert (first["instructions"], second["instructions"]) == ("Be brief.", None)
    assert emulator.responses[second["id"]].tools == []


async def test_the_latest_of_a_lane_can_be_continued_without_store(unstored: Socket) -> None:
    first = await unstored.response(input="one", stream_id="a")
    second = await unstored.response(input="two", stream_id="a", previous_response_id=first["id"])
    error = await unstored.refused(input="three", stream_id="a", previous_response_id=first["id"])
    assert (error["status"], error["code"], error["param"]) == (400, NOT_FOUND, "previous_response_id")
    assert error["message"] == f"Previous response with id '{first['id']}' not found."
    # The failed request named another parent than the lane's latest response, which stays cached.
    await unstored.response(input="three", stream_id="a", previous_response_id=second["id"])


async def test_what_is_stored_can_be_continued_from_anywhere(wire: Wire, socket: Socket) -> None:
    first = await socket.response(input="one")
    await socket.response(input="two", previous_response_id=first["id"])
    assert (await wire.post(input="again", previous_response_id=first["id"]))[0] == 200
    async with wire.socket() as other:
        await other.response(input="again", previous_response_id=first["id"])


async def test_nothing_unstored_outlives_its_connection(wire: Wire) -> None:
    async with wire.socket() as socket:
        first = await socket.response(input="one", store=False)
    async with wire.socket() as socket:
        assert (await socket.refused(input="two", previous_response_id=first["id"]))["code"] == NOT_FOUND


async def test_zero_data_retention_stores_nothing_whatever_is_asked() -> None:
    async with Emulator(zdr=True) as emulator, wired(emulator) as wire, wire.socket() as socket:
        first = await socket.response(input="one", store=True)
        assert first["store"] is False
        assert emulator.responses[first["id"]].store is False
        second = await socket.response(input="two", previous_response_id=first["id"])
        assert (await socket.refused(input="x", previous_response_id=first["id"]))["code"] == NOT_FOUND
        async with wire.socket() as other:
            assert (await other.refused(input="x", previous_response_id=second["id"]))["code"] == NOT_FOUND


async def test_zero_data_retention_can_go_unsaid() -> None:
    async with Emulator(zdr="silent") as emulator, wired(emulator) as wire:
        _, made = await wire.post(input="one")
        assert made["store"] is True
        assert emulator.responses[made["id"]].store is False
        assert (await wire.post(input="two", previous_response_id=made["id"]))[0] == 400


async def test_store_is_the_default_and_false_keeps_nothing(wire: Wire) -> None:
    _, kept = await wire.post(input="one")
    _, dropped = await wire.post(input="one", store=False)
    assert (kept["store"], dropped["store"]) == (True, False)
    assert (await wire.post(input="two", previous_response_id=kept["id"]))[0] == 200
    status, body = await wire.post(input="two", previous_response_id=dropped["id"])
    assert (status, body["error"]["code"]) == (400, NOT_FOUND)


@pytest.mark.parametrize(
    "fault",
    [{"input": 7}, {"model": "refuse-503-server_error"}, {"tools": [{}]}, {"input": [{"type": "nonsense"}]}],
)
async def test_a_failed_continuation_evicts_the_parent_of_its_own_lane(
    unstored: Socket, fault: Event
) -> None:
    first = await unstored.response(input="one", stream_id="a")
    await unstored.refused(**{"input": "x", "stream_id": "a", "previous_response_id": first["id"]} | fault)
    error = await unstored.refused(input="x", stream_id="a", previous_response_id=first["id"])
    assert error["code"] == NOT_FOUND


async def test_a_failed_fork_keeps_the_parent_for_its_lane(unstored: Socket) -> None:
    first = await unstored.response(input="one", stream_id="a")
    await unstored.refused(input=7, stream_id="b", previous_response_id=first["id"])
    await unstored.response(input="two", stream_id="a", previous_response_id=first["id"])


async def test_a_refused_request_that_names_no_parent_evicts_nothing(unstored: Socket) -> None:
    first = await unstored.response(input="one")
    await unstored.refused(input=7)
    await unstored.response(input="two", previous_response_id=first["id"])


async def test_a_fork_runs_on_another_lane_and_both_go_on(emulator: Emulator, unstored: Socket) -> None:
    first = await unstored.response(input="one", stream_id="a")
    fork = await unstored.response(input="left", stream_id="b", previous_response_id=first["id"])
    main = await unstored.response(input="right", stream_id="a", previous_response_id=first["id"])
    beginning = [user("one"), *first["output"]]
    assert emulator.effective_context(fork["id"]) == [*beginning, user("left")]
    assert emulator.effective_context(main["id"]) == [*beginning, user("right")]


async def test_a_fork_that_starts_after_its_source_went_on_finds_no_parent(unstored: Socket) -> None:
    first = await unstored.response(input="one", stream_id="a")
    await unstored.create(input="on", stream_id="a", previous_response_id=first["id"])
    await unstored.create(input="fork", stream_id="b", previous_response_id=first["id"])
    events = await unstored.until("error")
    assert events[-1]["stream_id"] == "b"
    assert events[-1]["error"]["code"] == NOT_FOUND


async def test_a_response_that_still_runs_is_nobodys_parent() -> None:
    async with Emulator() as emulator, wired(emulator) as wire, wire.socket() as socket:
        gate = emulator.faults.hold(event=6, lane="a")
        await socket.create(model="words-5", input="x", stream_id="a")
        (created,) = await socket.until("response.created")
        await socket.create(input="fork", stream_id="b", previous_response_id=created["response"]["id"])
        events = await socket.until("error")
        assert events[-1]["stream_id"] == "b"
        # On its own lane the request is queued until the response has ended.
        await socket.create(input="next", stream_id="a", previous_response_id=created["response"]["id"])
        gate.open()
        await socket.until("response.completed", lane="a")
        await socket.until("response.completed", lane="a")


async def test_a_failed_response_is_nobodys_parent(socket: Socket) -> None:
    event = await socket.turn(model="fail-server_error", input="x")
    error = await socket.refused(input="y", previous_response_id=event["response"]["id"])
    assert error["code"] == NOT_FOUND


async def test_warming_up_makes_no_output_and_can_be_continued(emulator: Emulator, unstored: Socket) -> None:
    await unstored.create(input="context", generate=False, tools=[WEATHER])
    events = await unstored.until("response.completed")
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    warm = events[-1]["response"]
    assert warm["output"] == []
    assert warm["usage"]["input_tokens"] > 0
    assert warm["usage"]["output_tokens"] == 0
    assert emulator.responses[warm["id"]].generate is False
    response = await unstored.response(input="now", previous_response_id=warm["id"])
    assert emulator.effective_context(response["id"]) == [user("context"), user("now")]


async def test_a_warm_up_needs_no_input(socket: Socket) -> None:
    warm = await socket.response(generate=False, instructions="Be brief.")
    await socket.response(input="x", previous_response_id=warm["id"])


async def test_forgetting_drops_memory_but_not_the_store(emulator: Emulator, socket: Socket) -> None:
    stored = await socket.response(input="one", stream_id="a")
    gone = await socket.response(input="one", stream_id="b", store=False)
    kept = await socket.response(input="one", stream_id="c", store=False)
    emulator.forget(gone["id"])
    error = await socket.refused(input="x", stream_id="b", previous_response_id=gone["id"])
    assert error["code"] == NOT_FOUND
    kept = await socket.response(input="x", stream_id="c", store=False, previous_response_id=kept["id"])
    emulator.forget()
    error = await socket.refused(input="x", stream_id="c", previous_response_id=kept["id"])
    assert error["code"] == NOT_FOUND
    await socket.response(input="x", stream_id="a", previous_response_id=stored["id"])
    emulator.delete(stored["id"])
    error = await socket.refused(input="x", stream_id="a", previous_response_id=stored["id"])
    assert error["code"] == NOT_FOUND


async def test_a_conversation_cannot_be_given_with_a_parent(socket: Socket) -> None:
    first = await socket.response(input="one")
    error = await socket.refused(input="x", conversation="conv_1", previous_response_id=first["id"])
    assert error["code"] == "mutually_exclusive_parameters"


async def test_tool_calls_have_to_be_answered(unstored: Socket) -> None:
    first = await unstored.response(model="tools", input="weather in Oslo and Bergen?", tools=[WEATHER])
    one, other = calls_of(first)
    error = await unstored.refused(input=[output(one)], previous_response_id=first["id"])
    assert error["message"] == f"No tool output found for function call {other['call_id']}."
    assert (error["status"], error["param"]) == (400, "input")
    # It was a failed continuation of its own lane.
    error = await unstored.refused(input=[output(one), output(other)], previous_response_id=first["id"])
    assert error["code"] == NOT_FOUND


async def test_outputs_without_a_call_are_refused(unstored: Socket) -> None:
    first = await unstored.response(input="one")
    stray = {"type": "function_call_output", "call_id": "call_x", "output": "1"}
    error = await unstored.refused(input=[stray], previous_response_id=first["id"])
    assert error["message"] == "No tool call found for function call output with call_id call_x."
    assert (await unstored.refused(input="x", previous_response_id=first["id"]))["code"] == NOT_FOUND


async def test_a_full_context_is_held_to_the_same_rules(socket: Socket) -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    answer = {"type": "function_call_output", "call_id": "call_1", "output": "1"}
    await socket.response(input=[call, answer])
    for broken in ([call], [answer], [answer, call], [call, answer, answer]):
        assert (await socket.refused(input=broken))["status"] == 400


async def test_a_call_can_be_answered_after_other_items(socket: Socket) -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    answer = {"type": "function_call_output", "call_id": "call_1", "output": "1"}
    await socket.response(input=[call, {"role": "user", "content": "wait"}, answer])


async def test_items_of_unstored_responses_cannot_be_sent_back_by_id(socket: Socket) -> None:
    response = await socket.response(model="reason", input="x", store=False)
    reasoning, message = response["output"]
    for item in (reasoning, message):
        error = await socket.refused(input=[item, {"role": "user", "content": "y"}])
        assert error["status"] == 404
        assert error["message"].startswith(f"Item with id '{item['id']}' not found. Items are not persisted")
    del message["id"]
    await socket.response(input=[message, {"role": "user", "content": "y"}])


async def test_items_of_stored_responses_can_be_sent_back_or_referred_to(
    emulator: Emulator, socket: Socket
) -> None:
    first = await socket.response(model="reason", input="x")
    reasoning, message = first["output"]
    reference = {"type": "item_reference", "id": message["id"]}
    second = await socket.response(input=[reasoning, reference, {"role": "user", "content": "y"}])
    assert emulator.effective_context(second["id"]) == [
        reasoning,
        message,
        {"role": "user", "content": "y"},
    ]
    assert (await socket.refused(input=[{"id": "msg_unknown"}]))["status"] == 404


async def test_sealed_reasoning_can_be_sent_back_with_or_without_its_id(socket: Socket) -> None:
    response = await socket.response(
        model="reason", input="x", store=False, include=["reasoning.encrypted_content"]
    )
    reasoning = response["output"][0]
    question = {"role": "user", "content": "y"}
    await socket.response(input=[reasoning, question])
    del reasoning["id"]
    await socket.response(input=[reasoning, question])
    reasoning["encrypted_content"] = "bm90IG91cnM="
    error = await socket.refused(input=[reasoning, question])
    assert error["code"] == "invalid_encrypted_content"
    del reasoning["encrypted_content"]
    assert (await socket.refused(input=[reasoning, question]))["code"] == "missing_required_parameter"


async def test_a_conversation_is_kept_by_name(emulator: Emulator, wire: Wire) -> None:
    await wire.post(input="one", conversation="conv_1")
    _, second = await wire.post(input="two", conversation={"id": "conv_1"})
    assert len(emulator.effective_context(second["id"])) == 3
    assert second["conversation"] == {"id": "conv_1"}


async def test_a_stopped_emulator_is_freed() -> None:
    emulator = Emulator()
    await emulator.start()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {emulator.api_key}"}) as session:
        body = {"model": "echo", "input": "hello"}
        async with session.post(f"{emulator.base_url}/responses", json=body) as answer:
            assert answer.status == 200
    freed = weakref.ref(emulator)
    await emulator.stop()
    del emulator
    gc.collect()
    assert freed() is None
