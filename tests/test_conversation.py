from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import trunkline
from trunkline.emulator import Call, Emulator, Prompt, Say, Step, assert_context
from trunkline.emulator.pace import Pace
from trunkline.events import OutputTextDelta

from .talk import (
    WEATHER,
    ask,
    assert_kept,
    assistant,
    client_of,
    first_text,
    hold_after_first_word,
    output_for,
    record_of,
    texts,
    user,
)
from .waiting import runs_briefly, soon, until

ENCRYPTED = "reasoning.encrypted_content"


@pytest.fixture
def chat(client: trunkline.Client) -> trunkline.Conversation:
    return client.conversation(model="echo")


def stall_in_mid_answer(emulator: Emulator, **where: Any) -> None:
    """The next answer stops after two words, for ever."""
    emulator.faults.add("stall", event=7, **where)


def outputs(chat: trunkline.Conversation) -> list[str]:
    """What tools gave back, in the order of the history."""
    return [item["output"] for item in chat.items if item["type"] == "function_call_output"]


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
    emulator.faults.add("reject", status=400, code="invalid_prompt")
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


async def test_what_is_given_may_be_changed_afterwards(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    mine = user("one")
    stream = chat.send([mine])
    mine["content"] = "changed"
    async with stream:
        await stream.finish()
    assert texts(chat.items) == ["user: one", "assistant: one"]


async def test_a_history_can_be_kept_and_restored(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="reason")
    await ask(chat, "one")
    restored = client.conversation(model="reason", items=json.loads(json.dumps(chat.items)))
    assert restored.items == chat.items
    stream = await ask(restored, "two")
    assert stream.metrics.mode == "full"
    assert_kept(emulator, restored, stream.response)


async def test_replace_edits_the_history_and_what_is_equal_is_not_sent_again(
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


async def test_replace_with_stored_responses_goes_on_from_an_older_one(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo", store=True)
    streams = [await ask(chat, words) for words in ("one", "two", "three")]
    chat.replace(chat.items[:4])
    stream = await ask(chat, "four")
    assert record_of(emulator, stream).previous_response_id == streams[1].response.id
    assert_kept(emulator, chat, stream.response)


async def test_replace_refuses_what_is_no_item_and_changes_nothing(chat: trunkline.Conversation) -> None:
    await ask(chat, "one")
    before = chat.items
    with pytest.raises(trunkline.ConfigurationError, match=r"items\[1\]"):
        chat.replace([user("x"), {"content": "of nobody"}])
    assert chat.items == before


# One turn at a time.


async def _send(chat: trunkline.Conversation) -> None:
    chat.send("two")


async def _replace(chat: trunkline.Conversation) -> None:
    chat.replace([])


async def _run(chat: trunkline.Conversation) -> None:
    await chat.run("two")


@pytest.mark.parametrize("act", [_send, _replace, _run, trunkline.Conversation.warm])
async def test_a_second_turn_is_refused_and_the_error_names_the_way_out(
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


async def test_a_stream_begins_with_the_history_as_it_is_when_it_is_entered(
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
    async with stream:  # and now it fits
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


async def test_a_fork_runs_beside_its_origin(emulator: Emulator, chat: trunkline.Conversation) -> None:
    await ask(chat, "one")
    branch = chat.fork()
    streams = await asyncio.gather(ask(chat, "left"), ask(branch, "right"))
    assert texts(chat.items) == ["user: one", "assistant: one", "user: left", "assistant: left"]
    assert texts(branch.items) == ["user: one", "assistant: one", "user: right", "assistant: right"]
    for one, stream in zip((chat, branch), streams, strict=True):
        assert_kept(emulator, one, stream.response)


async def test_a_fork_during_a_turn_begins_before_it(
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
async def test_a_fork_continues_what_the_service_remembers(
    emulator: Emulator, client: trunkline.Client, store: bool | None
) -> None:
    chat = client.conversation(model="echo", store=store)
    first = await ask(chat, "one")
    branched = await ask(chat.fork(), "two")
    assert record_of(emulator, branched).previous_response_id == first.response.id
    again = await ask(chat, "three")
    assert record_of(emulator, again).previous_response_id == first.response.id


# Heard.


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


async def test_nothing_was_heard(emulator: Emulator, chat: trunkline.Conversation) -> None:
    stream = await ask(chat, "one two three")
    stream.heard("")
    assert texts(chat.items) == ["user: one two three"]
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_less_was_heard_of_an_answer_that_was_complete(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    before = await ask(chat, "zero")
    stream = await ask(chat, "one two three")
    stream.heard("one")
    stream.heard("one two")
    assert texts(chat.items)[2:] == ["user: one two three", "assistant: one two"]
    following = await ask(chat, "and")
    assert record_of(emulator, following).previous_response_id in (None, before.response.id)
    assert_kept(emulator, chat, following.response)


async def test_all_was_heard(emulator: Emulator, chat: trunkline.Conversation) -> None:
    stream = await ask(chat, "one two three")
    stream.heard("one two three")
    assert (await ask(chat, "and")).metrics.mode == "delta"


async def test_heard_comes_too_late_once_the_conversation_has_gone_on(chat: trunkline.Conversation) -> None:
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


async def test_heard_comes_too_late_after_replace(chat: trunkline.Conversation) -> None:
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


async def test_a_conversation_hears_too(emulator: Emulator, chat: trunkline.Conversation) -> None:
    await ask(chat, "one two three")
    chat.heard("one")
    chat.heard("one two")
    assert texts(chat.items) == ["user: one two three", "assistant: one two"]
    chat.heard("")
    assert texts(chat.items) == ["user: one two three"]
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_a_conversation_that_hears_leaves_its_running_turn(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    stall_in_mid_answer(emulator)
    async with chat.send("one two three") as stream:
        await first_text(stream)
        chat.heard("o")
        assert stream.is_ended
    assert texts(chat.items) == ["user: one two three", "assistant: o"]
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_a_conversation_without_an_answer_has_heard_nothing(chat: trunkline.Conversation) -> None:
    with pytest.raises(trunkline.UsageError, match="no answer"):
        chat.heard("one")
    await ask(chat, "one two three")
    chat.replace(chat.items)
    with pytest.raises(trunkline.UsageError, match="no answer"):
        chat.heard("one")


async def test_heard_outlives_a_turn_that_failed_before_output(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    await ask(chat, "one two three")
    emulator.faults.add("reject", status=400, code="invalid_prompt")
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
    stream.heard("It snows")  # of this answer alone
    assert texts(chat.items) == ["user: weather?", "assistant: One moment.", "assistant: It snows"]
    chat.heard("One moment. It")
    assert texts(chat.items) == ["user: weather?", "assistant: One moment.", "assistant: It"]
    chat.heard("One")
    assert [item["type"] for item in chat.items[1:]] == ["message", "function_call", "function_call_output"]
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


# Warm-up.


async def test_a_warm_up_makes_no_answer_and_the_next_turn_builds_on_it(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo", instructions="Be brief.", items=[user("one"), assistant("two")])
    response = await chat.warm()
    assert (response.output, len(chat.items)) == ([], 2)
    assert emulator.requests[0].body is not None
    assert emulator.requests[0].body["generate"] is False
    stream = await ask(chat, "three")
    assert (stream.metrics.mode, stream.metrics.items_sent) == ("delta", 1)
    assert record_of(emulator, stream).previous_response_id == response.id
    assert_kept(emulator, chat, stream.response)


async def test_a_warm_up_of_an_empty_history(emulator: Emulator, chat: trunkline.Conversation) -> None:
    await chat.warm()
    stream = await ask(chat, "one")
    assert stream.metrics.mode == "delta"
    assert_kept(emulator, chat, stream.response)


async def test_heard_is_still_possible_after_a_warm_up(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    stream = await ask(chat, "one two three")
    await chat.warm()
    stream.heard("one two")
    assert texts(chat.items) == ["user: one two three", "assistant: one two"]
    await chat.warm()
    chat.heard("one")
    assert texts(chat.items) == ["user: one two three", "assistant: one"]
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_heard_does_not_end_a_warm_up_that_is_running(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    await ask(chat, "one two three")
    emulator.faults.add("delay", event=2, seconds=runs_briefly(0.1))
    warming = asyncio.create_task(chat.warm())
    await until(lambda: len(emulator.requests) == 2, "the warm-up is on its way")
    chat.heard("one")
    assert (await soon(warming)).status == "completed"
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_a_warm_up_that_fails_changes_nothing(emulator: Emulator, chat: trunkline.Conversation) -> None:
    emulator.faults.add("reject", status=400)
    with pytest.raises(trunkline.ResponseRefused):
        await chat.warm()
    await ask(chat, "one")


# Reasoning, where nothing is stored.


async def test_without_storage_reasoning_is_asked_for_in_a_form_that_can_be_resent(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="reason", store=False, include=["message.output_text.logprobs"])
    await ask(chat, "one")
    assert emulator.requests[0].body is not None
    assert emulator.requests[0].body["include"] == ["message.output_text.logprobs", ENCRYPTED]
    assert [item["type"] for item in chat.items] == ["message", "reasoning", "message"]
    await emulator.drop_connections()
    stream = await ask(chat, "two")
    assert stream.metrics.mode == "full"
    assert_context(record_of(emulator, stream).effective_context, chat.items[:-2], reasoning=True)


async def test_a_warm_up_without_storage_asks_for_it_too(
    emulator: Emulator, client: trunkline.Client
) -> None:
    await client.conversation(model="reason", store=False).warm()
    assert (emulator.requests[0].body or {})["include"] == [ENCRYPTED]


async def test_a_turn_without_storage_asks_for_it_too(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="reason")
    await ask(chat, "one", store=False)
    await ask(chat, "two")
    includes = [(request.body or {}).get("include") for request in emulator.requests]
    assert includes == [[ENCRYPTED], None]


async def test_reasoning_that_cannot_be_resent_is_left_out(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="reason")
    await ask(chat, "one")
    assert [item["type"] for item in chat.items] == ["message", "message"]
    assert (await ask(chat, "two")).metrics.mode == "delta"


# Tools that the caller answers.


async def test_dict_tools_are_left_to_the_caller(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="tools", tools=[WEATHER])
    response = await chat.run("weather in Oslo")
    (call,) = response.tool_calls
    assert call["type"] == "function_call"
    assert json.loads(call["arguments"]) == {"city": "Oslo"}
    with pytest.raises(trunkline.ConfigurationError, match=call["call_id"]):
        chat.send("never mind")
    answer = await chat.run([output_for(call, "rain")])
    assert "rain" in answer.output_text
    assert_kept(emulator, chat, answer)


async def test_python_tools_are_run_and_the_callers_are_left_to_him(
    emulator: Emulator, client: trunkline.Client
) -> None:
    def get_clock(city: str) -> str:
        """The clock of a city."""
        return "noon"

    chat = client.conversation(model="tools", tools=[WEATHER, get_clock])
    response = await chat.run("weather and clock in Oslo")
    assert sorted(call["name"] for call in response.tool_calls) == ["get_clock", "get_weather"]
    assert outputs(chat) == ["noon"]
    weather = next(call for call in response.tool_calls if call["name"] == "get_weather")
    answer = await chat.run([output_for(weather, "rain")])
    assert "rain" in answer.output_text
    assert "noon" in answer.output_text
    assert_kept(emulator, chat, answer)


# Python tools.


async def test_a_synchronous_tool_runs_in_a_thread(client: trunkline.Client) -> None:
    threads = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        threads.append(threading.current_thread())
        return f"rain in {city}"

    chat = client.conversation(model="tools", tools=[get_weather])
    answer = await chat.run("weather in Oslo")
    assert "rain in Oslo" in answer.output_text
    assert threads[0] is not threading.main_thread()


async def test_an_asynchronous_tool_is_awaited(emulator: Emulator, client: trunkline.Client) -> None:
    async def get_weather(city: str) -> dict[str, Any]:
        """The weather in a city."""
        assert threading.current_thread() is threading.main_thread()
        await asyncio.sleep(0)
        return {"city": city, "sky": "grey"}

    chat = client.conversation(model="tools", tools=[get_weather])
    answer = await chat.run("weather in Oslo")
    assert outputs(chat) == ['{"city":"Oslo","sky":"grey"}']
    assert_kept(emulator, chat, answer)
    assert [request.kind for request in emulator.requests] == ["response.create"] * 2


async def test_parallel_calls_run_together(emulator: Emulator, client: trunkline.Client) -> None:
    both = asyncio.Barrier(2)

    async def get_weather(city: str) -> str:
        """The weather in a city."""
        async with both:
            return f"rain in {city}"

    chat = client.conversation(model="tools", tools=[get_weather])
    answer = await soon(chat.run("weather in Oslo and Bergen"))
    assert outputs(chat) == ["rain in Oslo", "rain in Bergen"]
    assert_kept(emulator, chat, answer)


async def test_synchronous_calls_run_together_as_well(client: trunkline.Client) -> None:
    both = threading.Barrier(2, timeout=10)

    def get_weather(city: str) -> str:
        """The weather in a city."""
        both.wait()
        return f"rain in {city}"

    chat = client.conversation(model="tools", tools=[get_weather])
    await soon(chat.run("weather in Oslo and Bergen"))
    assert outputs(chat) == ["rain in Oslo", "rain in Bergen"]


async def test_what_goes_wrong_in_a_tool_is_told_to_the_model(
    emulator: Emulator, client: trunkline.Client
) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        raise LookupError("no such city")

    chat = client.conversation(model="tools", tools=[get_weather])
    answer = await chat.run("weather in Oslo")
    assert outputs(chat) == ['{"error":"get_weather failed: LookupError"}']
    assert_kept(emulator, chat, answer)


async def test_what_the_model_learns_of_a_failure_can_be_chosen(client: trunkline.Client) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        raise LookupError("no such city")

    def explain(failure: trunkline.ToolFailure) -> str:
        return f"{failure.tool}: {failure.error}"

    chat = client.conversation(model="tools", tools=[get_weather])
    await chat.run("weather in Oslo", on_tool_error=explain)
    assert outputs(chat) == ["get_weather: no such city"]


async def test_hung_tools_stop_no_tool_of_another_conversation(
    emulator: Emulator, client: trunkline.Client
) -> None:
    release = threading.Event()

    def hang() -> str:
        release.wait()
        return "late"

    def answer(prompt: Prompt) -> list[Step]:
        if prompt.outputs:
            return [Say(["done"])]
        return [Call("quick", "{}")] if "quick" in prompt.user_text else [Call("hang", "{}")] * 32

    def quick() -> str:
        return "quickly"

    emulator.add_model("caller", answer)
    hung, other = (client.conversation(model="caller", tools=[hang, quick]) for _ in range(2))
    try:
        await soon(hung.run("hang", tool_timeout_s=runs_briefly(0.1)))
        assert len(outputs(hung)) == 32
        assert all("took longer" in output for output in outputs(hung))
        await soon(hung.run("quick"))
        assert "quick was not called: 32 calls of tools" in outputs(hung)[-1]
        await soon(other.run("quick"))
        assert outputs(other) == ["quickly"]
    finally:
        release.set()


async def test_arguments_that_do_not_fit_are_told_to_the_model(
    emulator: Emulator, client: trunkline.Client
) -> None:
    called = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        called.append(city)
        return "rain"

    emulator.expect("weather").calls("get_weather", city=7)
    emulator.expect("weather").calls("get_weather", town="Oslo")
    chat = client.conversation(model="echo", tools=[get_weather])
    for _ in range(2):
        await chat.run("weather?")
    assert called == []
    assert len(outputs(chat)) == 2
    assert all("error" in json.loads(output) for output in outputs(chat))


async def test_a_tool_that_takes_too_long_is_told_to_the_model(
    emulator: Emulator, client: trunkline.Client
) -> None:
    cancelled = []

    async def get_weather(city: str) -> str:
        """The weather in a city."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.append(city)
        return "never"

    chat = client.conversation(model="tools", tools=[get_weather])
    await soon(chat.run("weather in Oslo", tool_timeout_s=runs_briefly(0.05)))
    assert cancelled == ["Oslo"]
    assert "TimeoutError" in outputs(chat)[0]


async def test_a_tool_that_does_not_exist_is_told_to_the_model(
    emulator: Emulator, client: trunkline.Client
) -> None:
    def get_clock(city: str) -> str:
        """The clock of a city."""
        return "noon"

    emulator.expect("weather").calls("get_weather", city="Oslo")
    chat = client.conversation(model="echo", tools=[get_clock])
    answer = await chat.run("weather?")
    assert "no tool of this name" in outputs(chat)[0]
    assert_kept(emulator, chat, answer)


async def test_tools_of_one_run_alone_are_run(emulator: Emulator, client: trunkline.Client) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return f"rain in {city}"

    chat = client.conversation(model="tools")
    answer = await chat.run("weather in Oslo", tools=[get_weather])
    assert "rain in Oslo" in answer.output_text
    assert outputs(chat) == ["rain in Oslo"]


async def test_dict_tools_of_one_run_alone_are_left_to_the_caller(client: trunkline.Client) -> None:
    chat = client.conversation(model="tools")
    response = await chat.run("weather in Oslo", tools=[WEATHER])
    assert [call["name"] for call in response.tool_calls] == ["get_weather"]
    assert outputs(chat) == []


async def test_the_rounds_of_a_run_are_bounded_and_it_can_be_gone_on_with(
    emulator: Emulator, client: trunkline.Client
) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return "rain"

    emulator.expect(times=3).calls("get_weather", city="Oslo")
    chat = client.conversation(model="echo", tools=[get_weather])
    with pytest.raises(trunkline.MaxTurnsExceeded, match="max_turns") as exceeded:
        await chat.run("weather?", max_turns=3)
    assert exceeded.value.max_turns == 3
    assert outputs(chat) == ["rain"] * 3
    assert_kept(emulator, chat, await chat.run("so?"))


async def test_after_too_many_rounds_the_outputs_can_be_sent_by_themselves(
    emulator: Emulator, client: trunkline.Client
) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return "rain"

    emulator.expect(times=1).calls("get_weather", city="Oslo")
    chat = client.conversation(model="echo", tools=[get_weather])
    with pytest.raises(trunkline.MaxTurnsExceeded):
        await chat.run("weather?", max_turns=1)
    answer = await chat.run([])
    assert outputs(chat) == ["rain"]
    assert_kept(emulator, chat, answer)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_run_shows_its_events(client: trunkline.Client, is_async: bool) -> None:
    seen: list[str] = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        seen.append("called")
        return "rain"

    def note(event: trunkline.ServerEvent) -> None:
        seen.append(event.type)

    async def note_async(event: trunkline.ServerEvent) -> None:
        await asyncio.sleep(0)
        seen.append(event.type)

    chat = client.conversation(model="tools", tools=[get_weather])
    await chat.run("weather in Oslo", on_event=note_async if is_async else note)
    called = seen.index("called")
    assert seen[called - 1] == seen[-1] == "response.completed"
    assert seen.count("response.created") == 2


async def test_a_hook_of_a_run_that_raises_leaves_the_turn(
    emulator: Emulator, client: trunkline.Client
) -> None:
    def broken(event: trunkline.ServerEvent) -> None:
        raise ValueError("mine")

    chat = client.conversation(model="echo")
    with pytest.raises(ValueError, match="mine"):
        await chat.run("one", on_event=broken)
    assert texts(chat.items) == ["user: one"]
    assert (await chat.run("two")).output_text == "two"


async def test_a_run_that_fails_between_rounds_keeps_what_was_done(
    emulator: Emulator, client: trunkline.Client
) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        emulator.faults.add("reject", status=400, code="invalid_prompt")
        return "rain"

    chat = client.conversation(model="tools", tools=[get_weather])
    with pytest.raises(trunkline.ResponseRefused):
        await chat.run("weather in Oslo")
    assert outputs(chat) == ["rain"]
    answer = await chat.run([])
    assert "rain" in answer.output_text
    assert_kept(emulator, chat, answer)


async def test_barge_in_cancels_the_tools_and_the_conversation_goes_on(
    emulator: Emulator, client: trunkline.Client
) -> None:
    begun, cancelled = set(), []

    async def get_weather(city: str) -> str:
        """The weather in a city."""
        begun.add(city)
        if city == "Oslo":
            return "rain"
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.append(city)
        return "never"

    chat = client.conversation(model="tools", tools=[get_weather])
    running = asyncio.create_task(chat.run("weather in Oslo and Bergen"))
    await until(lambda: begun == {"Oslo", "Bergen"}, "both have begun")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cancelled == ["Bergen"]
    rain, interrupted = outputs(chat)
    assert (rain, "Cancelled" in interrupted) == ("rain", True)
    assert_kept(emulator, chat, (await ask(chat, "never mind", tools=[])).response)


async def test_barge_in_into_the_answer_of_a_run(emulator: Emulator, client: trunkline.Client) -> None:
    spoken: list[str] = []

    def note(event: trunkline.ServerEvent) -> None:
        if isinstance(event, OutputTextDelta):
            spoken.append(event.delta)

    stall_in_mid_answer(emulator)
    chat = client.conversation(model="echo")
    running = asyncio.create_task(chat.run("one two three", on_event=note))
    await until(lambda: spoken == ["one", " two"], "two words are spoken")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert texts(chat.items) == ["user: one two three", "assistant: one two"]


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


async def test_a_field_for_one_turn_is_for_one_turn(emulator: Emulator, chat: trunkline.Conversation) -> None:
    await ask(chat, "one", instructions="Shout.", temperature=0.5)
    await ask(chat, "two")
    first, second = (request.body or {} for request in emulator.requests)
    assert (first["instructions"], first["temperature"]) == ("Shout.", 0.5)
    assert not {"instructions", "temperature"} & second.keys()


@pytest.mark.parametrize("way", ["send", "run"])
async def test_a_policy_for_one_turn_is_for_one_turn(
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


# A conversation that spans everything.


async def test_every_context_is_the_conversations_through_a_long_mixed_conversation() -> None:
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
