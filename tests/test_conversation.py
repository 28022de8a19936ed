"""The history of a conversation, its turns one at a time, and its arguments."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import trunkline
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from .talk import (
    WEATHER,
    ask,
    assert_kept,
    client_of,
    first_text,
    hold_after_first_word,
    output_for,
    record_of,
    stall_in_mid_answer,
    texts,
    user,
)

# The history.


async def test_a_turn_that_completes_adds_its_input_and_its_output(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    first = await ask(chat, "one")
    assert texts(chat.items) == ["user: one", "assistant: one"]
    second = await ask(chat, [user("two"), user("three")])
    assert texts(chat.items)[2:] == ["user: two", "user: three", "assistant: three"]
    assert record_of(emulator, second).previous_response_id == first.response.id
    assert_kept(emulator, chat, second.response)


async def test_nothing_is_added_before_the_turn_has_ended(chat: trunkline.Conversation) -> None:
    async with chat.send("one two three") as stream:
        await first_text(stream)
        assert chat.items == []
        await stream.finish()
        assert len(chat.items) == 2


async def test_a_turn_that_fails_before_output_leaves_everything_and_can_be_sent_again(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    await ask(chat, "one")
    before = chat.items
    emulator.faults.add("reject", status=400, code="invalid_prompt", times=2)
    with pytest.raises(trunkline.ResponseRefused):
        await ask(chat, "two")
    assert chat.items == before
    assert_kept(emulator, chat, (await ask(chat, "two")).response)
    assert texts(chat.items)[2:] == ["user: two", "assistant: two"]


async def test_a_turn_that_fails_after_output_keeps_its_input_and_the_text_received(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = hold_after_first_word(emulator)
    chat = client.conversation(model="fail-after-5-server_error")
    async with chat.send("go") as stream:
        await first_text(stream)
        gate.open()
        with pytest.raises(trunkline.ResponseFailed):
            await stream.finish()
    assert texts(chat.items) == ["user: go", "assistant: the quick brown fox jumps"]


async def test_a_turn_left_early_keeps_its_input_and_the_text_received(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    stall_in_mid_answer(emulator)
    async with chat.send("one two three") as stream:
        await first_text(stream)
        await first_text(stream)
    assert texts(chat.items) == ["user: one two three", "assistant: one two"]
    following = await ask(chat, "and")
    assert_kept(emulator, chat, following.response)


async def test_a_turn_left_before_any_text_keeps_its_input(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    emulator.faults.add("stall", event=3)
    async with chat.send("one two three"):
        pass
    assert texts(chat.items) == ["user: one two three"]
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_calls_of_a_turn_left_early_are_dropped(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.expect("weather").says("One moment.").calls("get_weather", city="Oslo").says("So")
    emulator.pace = Pace(0, 500)
    chat = client.conversation(model="echo", tools=[WEATHER])
    async with chat.send("weather?") as stream:
        async for event in stream:
            if event.type == "response.output_item.done" and b"function_call" in event.raw:
                break
    assert [item["type"] for item in chat.items] == ["message", "message"]
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_several_messages_of_one_answer_are_kept_as_they_came(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="messages-3")
    await ask(chat, "go")
    assert len(chat.items) == 4
    following = await ask(chat, "go on")
    assert following.metrics.mode == "delta"
    assert_kept(emulator, chat, following.response)


async def test_an_incomplete_answer_is_kept_and_is_no_parent(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="words-9")
    first = await ask(chat, "one")
    cut = await ask(chat, "two", max_output_tokens=2)
    assert (cut.response.status, texts(chat.items)[-1]) == ("incomplete", "assistant: the quick")
    after = await ask(chat, "three")
    assert record_of(emulator, after).previous_response_id in (None, first.response.id)
    assert_kept(emulator, chat, after.response)


async def test_a_call_that_was_cut_off_is_no_call(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.expect("weather").calls("get_weather", city="a city with a name as long as this")
    chat = client.conversation(model="echo", tools=[WEATHER])
    stream = await ask(chat, "weather?", max_output_tokens=1)
    assert stream.response.status == "incomplete"
    assert stream.response.tool_calls == []
    assert [item["type"] for item in chat.items] == ["message"]
    assert_kept(emulator, chat, (await ask(chat, "and?")).response)


async def test_items_are_a_copy_in_plain_json(chat: trunkline.Conversation) -> None:
    await ask(chat, {"role": "user", "content": [{"type": "input_text", "text": "one"}]})
    items = chat.items
    items[0]["content"][0]["text"] = "changed"
    items.clear()
    assert chat.items[0]["content"] == [{"type": "input_text", "text": "one"}]
    assert json.loads(json.dumps(chat.items)) == chat.items


async def test_an_input_may_be_changed_after_send(emulator: Emulator, chat: trunkline.Conversation) -> None:
    mine = user("one")
    stream = chat.send([mine])
    mine["content"] = "changed"
    async with stream:
        await stream.finish()
    assert texts(chat.items) == ["user: one", "assistant: one"]


async def test_a_history_can_be_saved_and_restored(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="reason")
    await ask(chat, "one")
    restored = client.conversation(model="reason", items=json.loads(json.dumps(chat.items)))
    assert restored.items == chat.items
    stream = await ask(restored, "two")
    assert stream.metrics.mode == "full"
    assert_kept(emulator, restored, stream.response)


async def test_replace_edits_the_history_that_the_model_sees(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    for words in ("one", "two", "three"):
        await ask(chat, words)
    chat.replace(chat.items[:4])
    stream = await ask(chat, "four")
    assert_kept(emulator, chat, stream.response)
    chat.replace([user("another beginning"), *chat.items[1:]])
    stream = await ask(chat, "five")
    assert stream.metrics.mode == "full"
    assert_kept(emulator, chat, stream.response)


async def test_replace_with_stored_responses_continues_an_older_one(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo", store=True)
    streams = [await ask(chat, words) for words in ("one", "two", "three")]
    chat.replace(chat.items[:4])
    stream = await ask(chat, "four")
    assert record_of(emulator, stream).previous_response_id == streams[1].response.id
    assert_kept(emulator, chat, stream.response)


async def test_replace_refuses_an_invalid_item_and_changes_nothing(chat: trunkline.Conversation) -> None:
    await ask(chat, "one")
    before = chat.items
    with pytest.raises(trunkline.ConfigurationError, match=r"items\[1\]"):
        chat.replace([user("x"), {"content": "without a role"}])
    assert chat.items == before


# One turn at a time.


async def _send(chat: trunkline.Conversation) -> None:
    chat.send("two")


async def _replace(chat: trunkline.Conversation) -> None:
    chat.replace([])


async def _run(chat: trunkline.Conversation) -> None:
    await chat.run("two")


@pytest.mark.parametrize("act", [_send, _replace, _run, trunkline.Conversation.warm])
async def test_a_second_turn_is_refused_and_the_error_names_fork(
    emulator: Emulator, chat: trunkline.Conversation, act: Callable[[trunkline.Conversation], Awaitable[Any]]
) -> None:
    stall_in_mid_answer(emulator)
    async with chat.send("one two three") as stream:
        await first_text(stream)
        with pytest.raises(trunkline.ConversationBusy, match="fork"):
            await act(chat)
    assert (await ask(chat, "free again")).response.output_text == "free again"


async def test_a_stream_that_is_never_entered_does_not_hold_its_conversation(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    unused = chat.send("one")
    await ask(chat, "two")
    chat.replace(chat.items)
    await chat.warm()
    assert texts(chat.items) == ["user: two", "assistant: two"]
    unused.close()
    assert texts(chat.items) == ["user: two", "assistant: two"]


async def test_a_stream_uses_the_history_at_its_entry(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    stream = chat.send("last")
    answered = await ask(chat, "one two three")
    answered.heard("one")
    async with stream:
        response = await stream.finish()
    assert texts(chat.items) == ["user: one two three", "assistant: one", "user: last", "assistant: last"]
    assert_kept(emulator, chat, response)


async def test_a_stream_that_no_longer_fits_the_history_is_refused_when_it_is_entered(
    emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.expect("weather").calls("get_weather", city="Oslo")
    chat = client.conversation(model="echo", tools=[WEATHER])
    stream = chat.send("never mind")
    called = await ask(chat, "weather?")
    (call,) = called.response.tool_calls
    with pytest.raises(trunkline.ConfigurationError, match=call["call_id"]):
        await stream.__aenter__()
    assert len(emulator.requests) == 1
    await ask(chat, [output_for(call, "rain")])
    async with stream:  # the history is valid now
        assert_kept(emulator, chat, await stream.finish())


async def test_of_two_streams_the_second_is_refused_until_the_first_has_ended(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    first, second = chat.send("one"), chat.send("two")
    async with first:
        with pytest.raises(trunkline.ConversationBusy):
            await second.__aenter__()
        await first.finish()
    async with second:
        await second.finish()
    assert texts(chat.items) == ["user: one", "assistant: one", "user: two", "assistant: two"]


async def test_a_fork_runs_concurrently_with_its_origin(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    await ask(chat, "one")
    branch = chat.fork()
    streams = await asyncio.gather(ask(chat, "left"), ask(branch, "right"))
    assert texts(chat.items) == ["user: one", "assistant: one", "user: left", "assistant: left"]
    assert texts(branch.items) == ["user: one", "assistant: one", "user: right", "assistant: right"]
    for one, stream in zip((chat, branch), streams, strict=True):
        assert_kept(emulator, one, stream.response)


async def test_a_fork_during_a_turn_starts_from_the_history_before_it(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    await ask(chat, "one")
    stall_in_mid_answer(emulator)
    async with chat.send("two three four") as stream:
        await first_text(stream)
        branch = chat.fork()
        answer = await ask(branch, "five")
    assert texts(branch.items)[2:] == ["user: five", "assistant: five"]
    assert_kept(emulator, branch, answer.response)


@pytest.mark.parametrize("store", [True, False, None])
async def test_a_fork_names_the_same_parent(
    emulator: Emulator, client: trunkline.Client, store: bool | None
) -> None:
    chat = client.conversation(model="echo", store=store)
    first = await ask(chat, "one")
    branched = await ask(chat.fork(), "two")
    assert record_of(emulator, branched).previous_response_id == first.response.id
    again = await ask(chat, "three")
    assert record_of(emulator, again).previous_response_id == first.response.id


# Arguments.


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"stream": True}, "stream"),
        ({"background": True}, "background"),
        ({"model": ""}, "model"),
        ({"store": "yes"}, "store"),
        ({"tools": "all"}, "tools"),
        ({"metadata": {"a": object()}}, "metadata"),
    ],
)
async def test_a_wrong_field_is_refused_at_once(
    emulator: Emulator, chat: trunkline.Conversation, fields: dict[str, Any], argument: str
) -> None:
    with pytest.raises(trunkline.ConfigurationError) as refused:
        chat.send("hello", **fields)
    assert refused.value.argument == argument
    await ask(chat, "hello")
    assert len(emulator.requests) == 1


@pytest.mark.parametrize("wrong", [7, None, [7], [{"content": "x"}], {"content": "x"}, b"bytes"])
async def test_a_wrong_input_is_refused_at_once(chat: trunkline.Conversation, wrong: Any) -> None:
    with pytest.raises(trunkline.ConfigurationError, match="input"):
        chat.send(wrong)
    await ask(chat, "hello")


async def test_an_output_that_answers_no_call_is_refused_at_once(chat: trunkline.Conversation) -> None:
    with pytest.raises(trunkline.ConfigurationError, match="call_7"):
        chat.send([output_for({"call_id": "call_7"}, "rain")])


async def test_a_field_of_one_turn_is_not_sent_with_the_next(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    await ask(chat, "one", instructions="Shout.", temperature=0.5)
    await ask(chat, "two")
    first, second = (request.body or {} for request in emulator.requests)
    assert (first["instructions"], first["temperature"]) == ("Shout.", 0.5)
    assert not {"instructions", "temperature"} & second.keys()


@pytest.mark.parametrize("way", ["send", "run"])
async def test_a_policy_of_one_turn_does_not_apply_to_the_next(
    emulator: Emulator, chat: trunkline.Conversation, way: str
) -> None:
    for request in (1, 2):
        emulator.faults.add("reject", request=request, status=503, headers={"retry-after": "0"})
    policy = trunkline.Policy(waits=False)
    with pytest.raises(trunkline.ResponseRefused):
        await (ask(chat, "one", policy=policy) if way == "send" else chat.run("one", policy=policy))
    assert len(emulator.requests) == 1
    await ask(chat, "one")
    assert len(emulator.requests) == 3


async def test_its_repr_shows_no_content(client: trunkline.Client) -> None:
    chat = client.conversation(model="echo", instructions="top secret", items=[user("top secret")])
    assert repr(chat) == "<Conversation echo: 1 items>"


# A long mixed conversation.


async def test_every_context_of_a_long_mixed_conversation_equals_its_history() -> None:
    async with Emulator() as emulator, client_of(emulator) as client:
        async for response, chat in _mixed(emulator, client):
            assert_kept(emulator, chat, response)


async def _mixed(
    emulator: Emulator, client: trunkline.Client
) -> AsyncIterator[tuple[trunkline.Response, trunkline.Conversation]]:
    async def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"rain in {city}"

    chat = client.conversation(model="mixed", tools=[get_weather], store=False)
    yield await chat.run("weather in Oslo and Bergen"), chat
    emulator.forget()
    yield await chat.run("weather in Rome"), chat
    await emulator.drop_connections()
    yield await chat.run("weather in Bonn"), chat
    chat.replace(chat.items[:-1])
    yield await chat.run("weather in Kyiv"), chat
    branch = chat.fork()
    yield await branch.run("weather in Lima"), branch
    yield await chat.run("weather in Bern"), chat
