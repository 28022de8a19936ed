"""Conversations that the service keeps, and the count of input tokens, with the openai client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai.types.conversations import ConversationItem
from pydantic import TypeAdapter

from trunkline.emulator import Emulator

from ..openai_schema import check_item
from ..wire import WEATHER, Wire, calls_of, output, wired

ITEMS: Any = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}]


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0
    ) as client:
        yield client


async def test_a_conversation_is_made_read_changed_and_deleted(client: openai.AsyncOpenAI) -> None:
    made = await client.conversations.create(items=ITEMS, metadata={"topic": "x"})
    assert made.id.startswith("conv_")
    assert (made.object, made.metadata) == ("conversation", {"topic": "x"})
    assert await client.conversations.retrieve(made.id) == made
    changed = await client.conversations.update(made.id, metadata={"topic": "y"})
    assert (changed.id, changed.metadata) == (made.id, {"topic": "y"})
    deleted = await client.conversations.delete(made.id)
    assert (deleted.deleted, deleted.object) == (True, "conversation.deleted")
    with pytest.raises(openai.NotFoundError, match="not found"):
        await client.conversations.retrieve(made.id)


async def test_responses_read_and_extend_the_items(client: openai.AsyncOpenAI, emulator: Emulator) -> None:
    made = await client.conversations.create(items=ITEMS)
    first = await client.responses.create(model="echo", input="one", conversation=made.id)
    second = await client.responses.create(model="echo", input="two", conversation={"id": made.id})
    assert second.conversation is not None
    assert second.conversation.id == made.id
    assert len(emulator.effective_context(first.id)) == 3
    assert len(emulator.effective_context(second.id)) == 5
    page = await client.conversations.items.list(made.id, order="asc")
    items = [item.model_dump() for item in page.data]
    texts = [item["content"][0]["text"] for item in items]
    assert texts == ["Be brief.", "hi", "one", "one", "two", "two"]
    assert len({item.id for item in page.data}) == 6
    newest = [item.id async for item in client.conversations.items.list(made.id, limit=4)]
    assert newest == [item.id for item in reversed(page.data)]


async def test_items_are_added_read_and_removed(client: openai.AsyncOpenAI, emulator: Emulator) -> None:
    made = await client.conversations.create()
    added = await client.conversations.items.create(made.id, items=ITEMS)
    assert [item.role for item in added.data] == ["developer", "user"]  # type: ignore[union-attr]
    first, second = (str(item.id) for item in added.data)
    assert await client.conversations.items.retrieve(first, conversation_id=made.id) == added.data[0]
    assert (await client.conversations.items.delete(first, conversation_id=made.id)).id == made.id
    with pytest.raises(openai.NotFoundError):
        await client.conversations.items.retrieve(first, conversation_id=made.id)
    response = await client.responses.create(model="echo", input="one", conversation=made.id)
    context = emulator.effective_context(response.id)
    assert [item.get("id") for item in context] == [second, None]


async def test_every_item_is_valid_to_the_letter(wire: Wire) -> None:
    _, made = await wire.call("POST", "/conversations", json={"items": ITEMS})
    _, called = await wire.post(
        model="mixed", input="weather in Oslo", tools=[WEATHER], conversation=made["id"]
    )
    outputs = [output(call) for call in calls_of(called)]
    await wire.post(model="mixed", input=outputs, tools=[WEATHER], conversation=made["id"])
    _, listed = await wire.call("GET", f"/conversations/{made['id']}/items?order=asc&limit=100")
    kinds = [item["type"] for item in listed["data"]]
    assert kinds[3:7] == ["reasoning", "message", "function_call", "function_call_output"]
    for item in listed["data"]:
        check_item(item)
        TypeAdapter(ConversationItem).validate_python(item)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("", {"metadata": {"a": 1}}, 400),
        ("", {"items": ITEMS * 11}, 400),
        ("", {"items": [output({"call_id": "call_x"})]}, 400),
        ("", {"unheard_of": 1}, 400),
        ("/conv_x", {"metadata": {}}, 404),
        ("/conv_x", {}, 400),
        ("/conv_x/items", {"items": ITEMS}, 404),
        ("/conv_x/items", {}, 400),
    ],
)
async def test_wrong_requests_are_refused(wire: Wire, path: str, body: Any, status: int) -> None:
    assert (await wire.call("POST", f"/conversations{path}", json=body))[0] == status
    assert wire.emulator.requests[-1].kind.startswith("conversation.")
    assert wire.emulator.requests[-1].error is not None


async def test_calls_of_a_conversation_must_be_answered(wire: Wire) -> None:
    _, called = await wire.post(
        model="tools", input="weather in Oslo", tools=[WEATHER], conversation="conv_1"
    )
    status, body = await wire.post(input="x", conversation="conv_1")
    assert (status, "No tool output found" in body["error"]["message"]) == (400, True)
    (call,) = calls_of(called)
    status, _ = await wire.call("DELETE", f"/conversations/conv_1/items/{call['id']}")
    assert status == 200
    assert (await wire.post(input="x", conversation="conv_1"))[0] == 200


async def test_conversations_beyond_the_history_are_dropped() -> None:
    async with Emulator(history=2) as emulator, wired(emulator) as wire:
        ids = [(await wire.call("POST", "/conversations", json={}))[1]["id"] for _ in range(3)]
        found = [(await wire.call("GET", f"/conversations/{each}"))[0] for each in ids]
        assert found == [404, 200, 200]


async def test_input_tokens_are_those_of_the_usage(client: openai.AsyncOpenAI) -> None:
    body: dict[str, Any] = {"model": "echo", "instructions": "Be brief.", "tools": [WEATHER]}
    first = await client.responses.create(input="hello " * 100, **body)
    counted = await client.responses.input_tokens.count(input="hello " * 100, **body)
    assert first.usage is not None
    assert (counted.object, counted.input_tokens) == ("response.input_tokens", first.usage.input_tokens)
    second = await client.responses.create(input="more", previous_response_id=first.id, **body)
    assert second.usage is not None
    counted = await client.responses.input_tokens.count(input="more", previous_response_id=first.id, **body)
    assert counted.input_tokens == second.usage.input_tokens
    assert len((await client.responses.input_items.list(first.id)).data) == 1


async def test_wrong_counts_are_refused(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="must be provided"):
        await client.responses.input_tokens.count(model="echo")
    with pytest.raises(openai.BadRequestError, match="not found"):
        await client.responses.input_tokens.count(model="echo", input="x", previous_response_id="resp_x")
