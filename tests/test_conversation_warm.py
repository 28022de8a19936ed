"""Warm-ups of a conversation, and the reasoning items of one that is not stored."""

from __future__ import annotations

import asyncio

import pytest

import trunkline
from trunkline.emulator import Emulator, assert_context

from .talk import (
    ask,
    assert_kept,
    assistant,
    client_of,
    record_of,
    texts,
    user,
)
from .waiting import runs_briefly, soon, until

ENCRYPTED = "reasoning.encrypted_content"


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


@pytest.mark.parametrize("items", [[], [user("one"), assistant("two")]])
async def test_a_warm_up_over_http_makes_no_answer_either(
    emulator: Emulator, items: list[dict[str, str]]
) -> None:
    async with client_of(emulator, transport="http") as client:
        chat = client.conversation(model="echo", items=items, prompt_cache_options={"ttl": "30m"})
        response = await chat.warm()
        assert (response.output, chat.items) == ([], items)
        first, *_ = emulator.requests
        assert first.body is not None
        assert first.body["prompt_cache_options"] == {"ttl": "30m", "prewarm": True}
        stream = await ask(chat, "three")
        assert (stream.metrics.mode, stream.metrics.items_sent) == ("delta", 1)
        assert emulator.requests[1].body is not None
        assert emulator.requests[1].body["prompt_cache_options"] == {"ttl": "30m"}
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
    await until(lambda: len(emulator.requests) == 2, "the warm-up request has arrived")
    chat.heard("one")
    assert (await soon(warming)).status == "completed"
    assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_a_warm_up_that_fails_changes_nothing(emulator: Emulator, chat: trunkline.Conversation) -> None:
    emulator.faults.add("reject", status=400)
    with pytest.raises(trunkline.ResponseRefused):
        await chat.warm()
    await ask(chat, "one")


# Reasoning without storage.


async def test_without_storage_encrypted_reasoning_is_requested(
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


async def test_a_warm_up_without_storage_requests_encrypted_reasoning_too(
    emulator: Emulator, client: trunkline.Client
) -> None:
    await client.conversation(model="reason", store=False).warm()
    assert (emulator.requests[0].body or {})["include"] == [ENCRYPTED]


async def test_a_turn_without_storage_requests_encrypted_reasoning_too(
    emulator: Emulator, client: trunkline.Client
) -> None:
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
