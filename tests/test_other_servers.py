"""Answers of servers that deviate from the protocol: the caller gets each part of an answer once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import trunkline

from .scripted import JSON, answer, call, completed, created, delta, done, event, message, response, talking

pytestmark = pytest.mark.parametrize("transport", ["websocket", "http"])

NOTHING: dict[str, JSON] = {
    "an item that is null": event("output_item.added", item=None),
    "a finished item that is null": done(None),
    "a delta that is null": event("output_text.delta", delta=None),
    "a delta without text": event("output_text.delta"),
    "text that is null": event("output_text.done", text=None),
    "arguments that are null": event("function_call_arguments.done", arguments=None),
    "a life-cycle event without a response": event("in_progress"),
    "an index in words": event("output_item.added", item={}, output_index="0"),
    "an index with a fraction": event("output_item.added", item={}, output_index=0.0),
}


@pytest.mark.parametrize("nothing", NOTHING.values(), ids=NOTHING)
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_an_event_without_content_is_passed_on_and_has_no_effect(
    transport: str, nothing: JSON, at: int
) -> None:
    events = answer("Hello")
    events.insert(at, nothing)
    async with talking(transport, events) as (client, server):
        chat = client.conversation(model="m")
        seen: list[Any] = []
        async with chat.send("hi") as stream:
            async for each in stream:
                seen.append(each.json())
        assert (stream.response.output_text, stream.received_text) == ("Hello", "Hello")
        assert seen == events
        assert len(server.bodies) == 1


async def test_an_item_that_is_null_in_the_final_response_is_dropped(transport: str) -> None:
    events = [created(), delta("Hello"), completed(None, message("Hello"))]
    async with talking(transport, events) as (client, _):
        chat = client.conversation(model="m")
        assert (await chat.run("hi")).output_text == "Hello"
        assert len(chat.items) == 2


TEXT = "Hello there"
TEXT_DONE = event("output_text.done", item_id="msg_1", output_index=0, content_index=0, text=TEXT)
PART_DONE = event(
    "content_part.done",
    item_id="msg_1",
    output_index=0,
    content_index=0,
    part={"type": "output_text", "text": TEXT, "annotations": []},
)
DELTAS = [delta("Hello "), delta("there")]
HOLLOW = message("", content=[])
PLACES: dict[str, list[JSON]] = {
    "deltas": [created(), *DELTAS, completed()],
    "deltas, and a message without content": [created(), *DELTAS, done(HOLLOW), completed(HOLLOW)],
    "a whole text": [created(), TEXT_DONE, completed()],
    "a whole part": [created(), PART_DONE, completed()],
    "an item": [created(), done(message(TEXT)), completed()],
    "the final response": [created(), completed(message(TEXT))],
    "a cut-off final response": [
        created(),
        event("incomplete", response=response("incomplete", message(TEXT))),
    ],
    "all places but deltas": [created(), TEXT_DONE, PART_DONE, done(message(TEXT)), completed(message(TEXT))],
    "whole texts, twice": [
        created(),
        TEXT_DONE,
        TEXT_DONE,
        done(message(TEXT)),
        done(message(TEXT)),
        completed(),
    ],
    "all places": [created(), *DELTAS, TEXT_DONE, PART_DONE, done(message(TEXT)), completed(message(TEXT))],
    "a lost delta": [created(), DELTAS[0], done(message(TEXT)), completed(message(TEXT))],
    "deltas, after one without text": [created(), delta(""), *DELTAS, completed()],
}


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("events", PLACES.values(), ids=PLACES)
async def test_text_in_one_place_is_delivered_once_and_kept_once(
    transport: str, events: list[JSON], begins: bool
) -> None:
    async with talking(transport, events if begins else events[1:]) as (client, server):
        chat = client.conversation(model="m")
        for turn in (1, 2):
            async with chat.send("hi") as stream:
                assert "".join([piece async for piece in stream.text()]) == TEXT
            assert stream.response.output_text == stream.received_text == TEXT
            assert stream.metrics.ttft_s is not None
            assert [text_of(item) for item in chat.items] == ["hi", TEXT] * turn
        assert len(server.bodies) == 2


def refusing(text: str = TEXT) -> JSON:
    return message("", content=[{"type": "refusal", "refusal": text}])


def refusal(text: str) -> JSON:
    return event("refusal.delta", output_index=0, content_index=0, delta=text)


REFUSAL_DONE = event("refusal.done", output_index=0, content_index=0, refusal=TEXT)
REFUSALS: dict[str, list[JSON]] = {
    "deltas": [created(), refusal("Hello "), refusal("there"), completed()],
    "a whole refusal": [created(), REFUSAL_DONE, completed()],
    "a whole part": [
        created(),
        event("content_part.done", output_index=0, content_index=0, part=refusing()["content"][0]),
        completed(),
    ],
    "an item": [created(), done(refusing()), completed()],
    "the final response": [created(), completed(refusing())],
    "a cut-off final response": [
        created(),
        event("incomplete", response=response("incomplete", refusing())),
    ],
    "all places but deltas": [created(), REFUSAL_DONE, done(refusing()), completed(refusing())],
    "all places": [
        created(),
        refusal("Hello "),
        refusal("there"),
        REFUSAL_DONE,
        done(refusing()),
        completed(refusing()),
    ],
    "a lost delta": [created(), refusal("Hello "), done(refusing()), completed(refusing())],
    "deltas, and a message without content": [
        created(),
        refusal("Hello "),
        refusal("there"),
        done(HOLLOW),
        completed(HOLLOW),
    ],
    "behind text": [created(), delta("Well. "), completed(message("Well. "), refusing())],
}


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("events", REFUSALS.values(), ids=REFUSALS)
async def test_a_refusal_in_one_place_is_delivered_once_and_kept_once(
    transport: str, events: list[JSON], begins: bool
) -> None:
    async with talking(transport, events if begins else events[1:]) as (client, _):
        chat = client.conversation(model="m")
        async with chat.send("hi") as stream:
            refused = [each.delta async for each in stream if each.type == "response.refusal.delta"]
        assert "".join(refused) == TEXT
        kept = [part for item in chat.items[1:] for part in item["content"] if part["type"] == "refusal"]
        assert [part["refusal"] for part in kept] == [TEXT]


async def test_messages_of_one_answer_may_come_in_different_places(transport: str) -> None:
    whole, streamed, last = message("One. "), message("Two. ", id="msg_2"), message("Three.", id="msg_3")
    events = [created(), done(whole), delta("Two. "), done(streamed), completed(whole, streamed, last)]
    async with talking(transport, events) as (client, _):
        chat = client.conversation(model="m")
        async with chat.send("hi") as stream:
            assert [piece async for piece in stream.text()] == ["One. ", "Two. ", "Three."]
        assert [text_of(item) for item in chat.items] == ["hi", "One. ", "Two. ", "Three."]


async def test_text_that_came_whole_is_kept_when_the_stream_is_left(transport: str) -> None:
    async with talking(transport, [created(), TEXT_DONE, done(message(TEXT)), completed()]) as (client, _):
        chat = client.conversation(model="m")
        async with chat.send("hi") as stream:
            async for each in stream:
                if each.wire_type == TEXT_DONE["type"]:
                    break
        assert [text_of(item) for item in chat.items] == ["hi", TEXT]


async def test_streamed_text_without_an_item_stands_before_the_calls(transport: str) -> None:
    events = [created(), delta("I look."), completed(call())]
    async with talking(transport, events, answer("Done.", id="resp_2")) as (client, server):
        chat = client.conversation(model="m", tools=[look])
        assert (await chat.run("hi")).output_text == "Done."
        kinds = [item["type"] for item in chat.items]
        assert kinds == ["message", "message", "function_call", "function_call_output", "message"]
        assert len(server.bodies) == 2


@pytest.mark.parametrize("begins", [True, False])
async def test_one_id_for_all_responses_mixes_up_nothing(transport: str, begins: bool) -> None:
    async def ask(chat: trunkline.Conversation) -> str:
        return (await chat.run("hi")).output_text

    answers = [answer(f"answer {n}", store=True)[not begins :] for n in range(4)]
    async with talking(transport, *answers) as (client, server):
        one, other = client.conversation(model="m"), client.conversation(model="m")
        assert [await ask(chat) for chat in (one, other, one, other)] == [f"answer {n}" for n in range(4)]
        assert server.sockets == (transport == "websocket")
        if transport == "websocket":  # the id of the first response was given to the second one too
            assert [len(body["input"]) for body in server.bodies] == [1, 1, 3, 3]
            assert not any("previous_response_id" in body for body in server.bodies)


async def test_the_id_of_a_response_may_change_within_it(transport: str) -> None:
    events = [created(), delta("Hello"), completed(message("Hello"), id="resp_other")]
    async with talking(transport, events) as (client, server):
        chat = client.conversation(model="m")
        assert [(await chat.run("hi")).output_text for _ in range(2)] == ["Hello", "Hello"]
        assert len(server.bodies) == 2


def look() -> str:
    """Look out of the window."""
    return "It snows."


def text_of(item: Mapping[str, Any]) -> str:
    content = item["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


TWO_PLACES = [created(), done(call()), completed(call())]
ONCE: dict[str, list[JSON]] = {
    "in both places": TWO_PLACES,
    "announced twice": [created(), done(call()), done(call()), completed()],
    "twice in the final response": [created(), completed(call(), call())],
    "in the event only": [created(), done(call()), completed(message("I look."))],
    "in the final response only": [created(), completed(call())],
    "in progress, though finished": [created(), completed(call(status="in_progress"))],
    "of a status of its own": [created(), done(call(status="done")), completed(call(status="done"))],
    "without a call_id": [
        created(),
        done(call(call_id=None, id="fc_1")),
        completed(call(call_id=None, id="fc_1")),
    ],
    "without any id": [created(), done(call(call_id=None)), completed(call(call_id=None))],
    "with arguments that are an object": [created(), done(call(arguments={})), completed(call(arguments={}))],
    "with arguments of null": [created(), done(call(arguments="null")), completed(call(arguments="null"))],
    "without arguments": [created(), done(call(arguments=None)), completed(call(arguments=None))],
}


@pytest.mark.parametrize("events", ONCE.values(), ids=ONCE)
async def test_a_call_is_executed_once_and_the_conversation_goes_on(
    transport: str, events: list[JSON]
) -> None:
    ran: list[str] = []

    def look() -> str:
        ran.append("look")
        return "It snows."

    async with talking(transport, events, answer("Hello", id="resp_2"), answer("Bye", id="resp_3")) as (
        client,
        server,
    ):
        chat = client.conversation(model="m", tools=[look])
        announced = []
        async for each in chat.run("hi"):
            if each.type == "response.output_item.done" and each.item["type"] == "function_call":
                announced.append(each.item["call_id"])
        assert ran == ["look"]
        calls = [item for item in chat.items if item["type"] == "function_call"]
        outputs = [item for item in chat.items if item["type"] == "function_call_output"]
        assert [item["call_id"] for item in calls] == [item["call_id"] for item in outputs] == announced
        assert all(isinstance(item["arguments"], str) for item in calls)
        assert (await chat.run("and now?")).output_text == "Bye"
        assert len(server.bodies) == 3


async def test_two_calls_with_one_id_are_both_executed(transport: str) -> None:
    ran: list[str] = []

    def look(where: str) -> str:
        ran.append(where)
        return where

    pair = [call(arguments='{"where":"up"}'), call(arguments='{"where":"down"}')]
    events = [created(store=True), *map(done, pair), completed(*pair, store=True)]
    async with talking(transport, events, answer("Hello", id="resp_2")) as (client, server):
        chat = client.conversation(model="m", tools=[look])
        assert (await chat.run("hi")).output_text == "Hello"
        assert sorted(ran) == ["down", "up"]
        outputs = {
            item["call_id"]: item["output"] for item in chat.items if item["type"] == "function_call_output"
        }
        assert outputs == {"call_1": "up", "call_1_2": "down"}
        assert "previous_response_id" not in server.bodies[1]  # the service does not know the second id


async def test_a_call_that_the_service_has_answered_is_not_executed(transport: str) -> None:
    output = {"type": "function_call_output", "call_id": "call_1", "output": "done"}
    events = [created(), done(call()), done(output), completed(call(), output, message("Done."))]
    async with talking(transport, events) as (client, server):
        chat = client.conversation(model="m", tools=[look])
        response_ = await chat.run("hi")
        assert (response_.output_text, response_.tool_calls) == ("Done.", [])
        assert [item["type"] for item in chat.items].count("function_call_output") == 1
        await chat.run("again")
        assert len(server.bodies) == 2


async def test_after_a_run_the_calls_that_are_open_remain(transport: str) -> None:
    theirs: JSON = {"type": "function", "name": "theirs", "parameters": {"type": "object", "properties": {}}}
    events = [created(), completed(call(), call("theirs", "call_2"))]
    async with talking(transport, events, answer("Hello", id="resp_2")) as (client, _):
        chat = client.conversation(model="m", tools=[look, theirs])
        calls = (await chat.run("hi")).tool_calls
        assert [each["call_id"] for each in calls] == ["call_2"]
        outputs = [
            {"type": "function_call_output", "call_id": each["call_id"], "output": "x"} for each in calls
        ]
        assert (await chat.run(outputs)).output_text == "Hello"


# The reason of a failed response, where it stands


REASON = {"type": "too_many_requests", "code": "rate_limit_exceeded", "message": "Too many of yours."}
BARE = event("failed", response=response("failed", error=None))
EXPLAINED: dict[str, list[JSON]] = {
    "an error that follows": [BARE, {"type": "error", "error": REASON}],
    "a flat error that follows": [BARE, {**REASON, "type": "error"}],
    "an error after an unknown event": [BARE, event("heartbeat"), {"type": "error", "error": REASON}],
    "a second failure": [BARE, event("failed", response=response("failed", error=REASON))],
    "a failure after an error": [
        {"type": "error", "error": None},
        event("failed", response=response("failed", error=REASON)),
    ],
    "beside the response": [event("failed", response=response("failed", error=None), error=REASON)],
    "details of the status": [
        event("failed", response=response("failed", status_details={"type": "failed", "error": REASON}))
    ],
}


@pytest.mark.parametrize("events", EXPLAINED.values(), ids=EXPLAINED)
@pytest.mark.parametrize("before", [[created()], [created(), delta("Hel")]], ids=["at once", "after text"])
async def test_the_reason_of_a_failed_response_is_found(
    transport: str, before: list[JSON], events: list[JSON]
) -> None:
    async with talking(transport, [*before, *events], answer("Hello")) as (client, server):
        chat = client.conversation(model="m")
        with pytest.raises(trunkline.ResponseFailed) as failed:
            await chat.run("hi")
        assert (failed.value.code, failed.value.is_transient) == ("rate_limit_exceeded", True)
        assert "Too many of yours." in str(failed.value)
        assert (await chat.run("again")).output_text == "Hello"
        assert server.sockets == (transport == "websocket")


async def test_the_reason_of_an_error_is_found_in_a_second_error(transport: str) -> None:
    bare: JSON = {"type": "error", "error": {"message": None, "code": None}, "status": None}
    events = [created(), delta("Hel"), bare, {"type": "error", "error": REASON}]
    async with talking(transport, events, answer("Hello")) as (client, server):
        chat = client.conversation(model="m")
        with pytest.raises(trunkline.ResponseRefused, match="Too many of yours") as refused:
            await chat.run("hi")
        assert refused.value.code == "rate_limit_exceeded"
        assert (await chat.run("again")).output_text == "Hello"
        assert server.sockets == (transport == "websocket")


@pytest.mark.parametrize(
    ("bare", "raised"),
    [
        (BARE, trunkline.ResponseFailed),
        ({"type": "error", "error": {}}, trunkline.ResponseRefused),
    ],
    ids=["failed", "error"],
)
async def test_a_response_that_fails_without_a_reason_fails_when_none_follows(
    transport: str, bare: JSON, raised: type[trunkline.TurnError]
) -> None:
    async with talking(transport, [created(), bare], answer("Hello")) as (client, server):
        chat = client.conversation(model="m")
        with pytest.raises(raised, match=r"gave no (reason|message)"):
            await chat.run("hi")
        assert (await chat.run("again")).output_text == "Hello"
        assert server.sockets == (transport == "websocket")


@pytest.mark.parametrize("ends", ["failed", "error"])
async def test_the_head_of_a_stream_names_the_wait(transport: str, ends: str) -> None:
    end = (
        {"type": "error", "error": REASON}
        if ends == "error"
        else event("failed", response=response("failed", error=REASON))
    )
    async with talking(transport, [created(), end]) as (client, server):
        server.headers = {"Retry-After": "7"}
        with pytest.raises(trunkline.ServiceError) as failed:
            await client.conversation(model="m").run("hi")
        assert failed.value.retry_after_s == (7.0 if transport == "http" else None)


BEGUN = [
    event("output_item.added", item=call(arguments="", id="fc_1"), output_index=0),
    event("function_call_arguments.delta", delta='{"place":', item_id="fc_1", output_index=0),
    event("function_call_arguments.delta", delta='"Oslo"}', item_id="fc_1", output_index=0),
]


@pytest.mark.parametrize("said", [[], [delta("One moment. ")]], ids=["alone", "after text"])
@pytest.mark.parametrize("output", [[], [message("One moment. ")]], ids=["no output", "text only"])
async def test_a_call_that_only_begins_is_executed_once(
    transport: str, said: list[JSON], output: list[JSON]
) -> None:
    places: list[str] = []

    def look(place: str) -> str:
        """Look."""
        places.append(place)
        return "rain"

    events = [created(), *said, *BEGUN, completed(*output)]
    async with talking(transport, events, answer("Rain.")) as (client, server):
        chat = client.conversation(model="m", tools=[look])
        assert (await chat.run("hi")).output_text == "Rain."
    assert places == ["Oslo"]
    kinds = [item["type"] for item in server.bodies[-1]["input"]]
    assert kinds[-2:] == ["function_call", "function_call_output"]
    assert kinds.count("function_call") == 1


async def test_a_call_that_is_cut_off_is_not_executed(transport: str) -> None:
    async with talking(transport, [created(), *BEGUN[:2], completed()]) as (client, _):
        response = await client.conversation(model="m", tools=[]).run("hi")
        assert not response.tool_calls
