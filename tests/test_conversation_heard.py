"""`heard` cuts an answer in the history of a conversation to the text that was heard."""

from __future__ import annotations

import pytest

import trunkline
from trunkline.emulator import Emulator

from .talk import (
    WEATHER,
    ask,
    assert_kept,
    first_text,
    output_for,
    record_of,
    stall_in_mid_answer,
    texts,
)


async def test_heard_replaces_the_text_of_an_answer_that_was_left(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    stall_in_mid_answer(emulator)
    async with chat.send("one two three") as stream:
        await first_text(stream)
        await first_text(stream)
    stream.heard("on")
    assert texts(chat.items) == ["user: one two three", "assistant: on"]
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_heard_leaves_a_stream_that_is_still_open(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    stall_in_mid_answer(emulator)
    async with chat.send("one two three") as stream:
        await first_text(stream)
        stream.heard("o")
        assert stream.is_ended
    assert texts(chat.items) == ["user: one two three", "assistant: o"]


async def test_heard_nothing_removes_the_answer(emulator: Emulator, chat: trunkline.Conversation) -> None:
    stream = await ask(chat, "one two three")
    stream.heard("")
    assert texts(chat.items) == ["user: one two three"]
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_heard_shortens_a_complete_answer(emulator: Emulator, chat: trunkline.Conversation) -> None:
    before = await ask(chat, "zero")
    stream = await ask(chat, "one two three")
    stream.heard("one")
    stream.heard("one two")
    assert texts(chat.items)[2:] == ["user: one two three", "assistant: one two"]
    following = await ask(chat, "and")
    assert record_of(emulator, following).previous_response_id in (None, before.response.id)
    assert_kept(emulator, chat, following.response)


async def test_heard_with_the_whole_text_keeps_the_parent(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    stream = await ask(chat, "one two three")
    stream.heard("one two three")
    assert (await ask(chat, "and")).metrics.mode == "delta"


async def test_heard_is_too_late_after_the_next_turn_has_started(chat: trunkline.Conversation) -> None:
    stream = await ask(chat, "one two three")
    following = chat.send("and")
    stream.heard("one two three")
    async with following:
        with pytest.raises(trunkline.UsageError, match="too late"):
            stream.heard("one")
        await following.finish()
    with pytest.raises(trunkline.UsageError, match="too late"):
        stream.heard("one")
    assert texts(chat.items)[1] == "assistant: one two three"


async def test_heard_is_too_late_after_replace(chat: trunkline.Conversation) -> None:
    stream = await ask(chat, "one two three")
    chat.replace([])
    with pytest.raises(trunkline.UsageError):
        stream.heard("one")
    assert chat.items == []


async def test_heard_keeps_calls_that_were_made(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.expect("weather").says("One moment please.").calls("get_weather", city="Oslo")
    chat = client.conversation(model="echo", tools=[WEATHER])
    stream = await ask(chat, "weather?")
    stream.heard("One moment")
    assert [item["type"] for item in chat.items] == ["message", "message", "function_call"]
    (call,) = stream.response.tool_calls
    following = await ask(chat, [output_for(call, "rain")])
    assert_kept(emulator, chat, following.response)


async def test_heard_of_a_conversation_shortens_its_last_answer(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    await ask(chat, "one two three")
    chat.heard("one")
    chat.heard("one two")
    assert texts(chat.items) == ["user: one two three", "assistant: one two"]
    chat.heard("")
    assert texts(chat.items) == ["user: one two three"]
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_heard_of_a_conversation_leaves_its_running_turn(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    stall_in_mid_answer(emulator)
    async with chat.send("one two three") as stream:
        await first_text(stream)
        chat.heard("o")
        assert stream.is_ended
    assert texts(chat.items) == ["user: one two three", "assistant: o"]
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_heard_of_a_conversation_without_an_answer_raises(chat: trunkline.Conversation) -> None:
    with pytest.raises(trunkline.UsageError, match="no answer"):
        chat.heard("one")
    await ask(chat, "one two three")
    chat.replace(chat.items)
    with pytest.raises(trunkline.UsageError, match="no answer"):
        chat.heard("one")


async def test_heard_still_applies_after_a_turn_that_failed_before_output(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    await ask(chat, "one two three")
    emulator.faults.add("reject", status=400, code="invalid_prompt", times=2)
    with pytest.raises(trunkline.ResponseRefused):
        await ask(chat, "and")
    chat.heard("one")
    assert texts(chat.items) == ["user: one two three", "assistant: one"]


async def test_heard_covers_the_responses_before_and_after_tools_that_the_caller_answers(
    emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.expect("weather").says("One moment.").calls("get_weather", city="Oslo")
    emulator.expect().says("It snows in Oslo.")
    chat = client.conversation(model="echo", tools=[WEATHER])
    called = await ask(chat, "weather?")
    stream = await ask(chat, [output_for(called.response.tool_calls[0], "snow")])
    stream.heard("It snows")  # only of this answer
    assert texts(chat.items) == ["user: weather?", "assistant: One moment.", "assistant: It snows"]
    chat.heard("One moment. It")
    assert texts(chat.items) == ["user: weather?", "assistant: One moment.", "assistant: It"]
    chat.heard("One")
    assert [item["type"] for item in chat.items[1:]] == ["message", "function_call", "function_call_output"]
    assert_kept(emulator, chat, (await ask(chat, "and")).response)
