"""Answers of servers that deviate from the protocol: the caller gets each part of an answer once."""

from __future__ import annotations

from typing import Any

import pytest

from .scripted import JSON, answer, completed, created, delta, done, event, message, talking

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
