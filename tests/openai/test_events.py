"""Events of a server that swaps, repeats and leaves out, as callers of the SDK and of the gateway get them.

Each event of the server arrives once, and in the order of the numbers where the server gives any.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeAlias

import aiohttp
import pytest
from openai import AsyncOpenAI, OpenAI

import trunkline.openai
from trunkline.gateway import Gateway
from trunkline.gateway.configuration import of
from trunkline.gateway.serving import served

from ..scripted import Scripted, call, completed, created, delta, done, event, message, response, serving
from .talk import JSON

SCRIPTS = int(os.environ.get("TRUNKLINE_SCRIPTS", "25"))
UNHEARD_OF = "response.unheard_of"
LAST = ("response.completed", "response.failed", "error")
AT = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
WORDS = ("one ", "two ", "two ", "three ", "four")
TEXT = "".join(WORDS)

Caller: TypeAlias = Callable[[], Awaitable[list[JSON]]]
"""Sends a request, and returns the events of its answer."""


def usual(name: str) -> list[JSON]:
    """An answer as OpenAI sends it, with this id."""
    part = message(TEXT)["content"][0]
    events = [
        created(id=name),
        event("in_progress", response=response(id=name)),
        event("output_item.added", output_index=0, item={**message(""), "content": []}),
        event("content_part.added", **AT, part={**part, "text": ""}),
        *(event("output_text.delta", **AT, delta=word) for word in WORDS),
        event("output_text.done", **AT, text=TEXT),
        event("content_part.done", **AT, part=part),
        done(message(TEXT), output_index=0),
        completed(message(TEXT), id=name),
    ]
    return [{**each, "sequence_number": number} for number, each in enumerate(events)]


def disturbed(events: Sequence[JSON], dice: random.Random) -> list[JSON]:
    """The same events, some swapped with their neighbours, repeated, or after one of an unknown type.

    The last event keeps its place: no event is awaited after it.
    """
    order, likely = list(events), dice.random()
    for at in range(len(order) - 2):
        if dice.random() < likely and order[at] is events[at]:
            order[at], order[at + 1] = order[at + 1], order[at]
    found: list[JSON] = []
    for each in order:
        if found and dice.random() < likely / 2:
            found.append({"type": UNHEARD_OF})
        found += [each] * (1 if dice.random() > likely / 2 else 2)
    return found


@asynccontextmanager
async def doors(server: Scripted, *, lanes: bool) -> AsyncIterator[dict[str, Caller]]:
    """A caller of each kind."""
    given: JSON = {"api_key": "sk-any", "max_retries": 0}
    async with AsyncExitStack() as stack:
        direct = await stack.enter_async_context(
            AsyncOpenAI(
                base_url=server.url, http_client=trunkline.openai.async_http_client(lanes=lanes), **given
            )
        )
        blocking = OpenAI(base_url=server.url, http_client=trunkline.openai.http_client(lanes=lanes), **given)
        stack.push_async_callback(asyncio.to_thread, blocking.close)
        source = {
            "listen": {"port": 0},
            "admin": {"port": False},
            "upstream": {"scripted": {"base_url": server.url, "lanes": lanes}},
        }
        gateway = await stack.enter_async_context(served(Gateway(of(source, {}))))
        sdk = await stack.enter_async_context(AsyncOpenAI(base_url=f"{gateway.url}/v1", **given))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        socket = await stack.enter_async_context(
            session.ws_connect(f"{gateway.url}/v1/responses", headers={"authorization": "Bearer sk-any"})
        )

        def blocked() -> list[JSON]:
            with blocking.responses.create(model="m", input="hi", stream=True) as answer:
                return [each.to_dict() for each in answer]

        yield {
            "drop-in": lambda: streamed(direct),
            "synchronous drop-in": lambda: asyncio.to_thread(blocked),
            "gateway over HTTP": lambda: streamed(sdk),
            "gateway over WebSocket": lambda: framed(socket),
        }


async def streamed(client: AsyncOpenAI) -> list[JSON]:
    async with await client.responses.create(model="m", input="hi", stream=True) as answer:
        return [each.to_dict() async for each in answer]


async def framed(socket: aiohttp.ClientWebSocketResponse) -> list[JSON]:
    await socket.send_str(json.dumps({"type": "response.create", "model": "m", "input": "hi"}))
    found: list[JSON] = []
    while not found or found[-1]["type"] not in LAST:
        found.append(json.loads(await socket.receive_str()))
    return found


@pytest.mark.parametrize("lanes", [True, False], ids=["lanes", "no lanes"])
async def test_events_arrive_once_and_in_order(lanes: bool) -> None:
    dice = random.Random(5)
    async with serving() as server, doors(server, lanes=lanes) as callers:
        for number in range(SCRIPTS):
            for name, caller in callers.items():
                whole = usual(f"resp_{number}_{name}")
                script = disturbed(whole, dice)
                server.answers = (script,)
                found = [each for each in await caller() if each["type"] != UNHEARD_OF]
                assert found == whole, (name, [each.get("sequence_number") for each in script])


REFUSAL = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
TERSE = {
    "text": [created(), delta("one "), delta("two"), completed(message("one two"))],
    "a repeated word": [created(), delta("no "), delta("no "), completed(message("no no "))],
    "a refusal": [created(), event("refusal.delta", delta="No."), completed(REFUSAL)],
    "a call": [created(), done(call()), completed(call())],
    "no beginning": [delta("one "), delta("two"), completed(message("one two"))],
    "whole text": [created(), done(message("one two")), completed(message("one two"))],
}


@pytest.mark.parametrize("script", TERSE.values(), ids=TERSE)
async def test_events_of_terse_servers_arrive(script: list[JSON]) -> None:
    """They have no number, and no other field than those that the library uses."""
    async with serving() as server, doors(server, lanes=False) as callers:
        for name, caller in callers.items():
            answer = [
                {**each, "response": {**each["response"], "id": name}} if "response" in each else each
                for each in script
            ]
            server.answers = (answer,)
            assert await caller() == answer, name


PARTIAL = {
    "no output": ([delta("one two")], [], ["one two"]),
    "empty content": ([delta("one two")], [message("", content=[])], ["one two"]),
    "items alone": ([done(message("one two"))], [], ["one two"]),
    "calls twice": ([done(call()), done(call())], [call(), call()], ["call_1"]),
    "calls in events": ([done(call()), done(call(call_id="call_2"))], [call()], ["call_1", "call_2"]),
    "a call without its id": ([done(call(call_id=None))], [call(call_id=None)], ["response_0"]),
}


@pytest.mark.parametrize(("events", "output", "expected"), PARTIAL.values(), ids=PARTIAL)
async def test_the_last_event_and_a_whole_answer_have_all_that_was_received(
    events: list[JSON], output: list[JSON], expected: list[str]
) -> None:
    """The output of the last event is incomplete, or has calls twice."""

    def what(items: list[JSON]) -> list[str]:
        texts = ["".join(part["text"] for part in item.get("content", [])) for item in items]
        return [text or item["call_id"] for text, item in zip(texts, items, strict=True)]

    script = [created(id="response"), *events, completed(*output, id="response")]
    async with serving(script) as server:
        for number in range(2):  # of one caller each, so that no response has the id of another
            async with doors(server, lanes=False) as callers:
                caller = callers["drop-in" if number == 0 else "gateway over WebSocket"]
                found = await caller()
            assert what(found[-1]["response"]["output"]) == expected
            items = [each["item"] for each in found if each["type"] == "response.output_item.done"]
            assert all("call_id" not in item or item["call_id"] in expected for item in items)
        http = trunkline.openai.async_http_client(lanes=False)
        async with AsyncOpenAI(base_url=server.url, api_key="sk-any", http_client=http) as client:
            whole = await client.responses.create(model="m", input="hi")
    assert what([item.to_dict() for item in whole.output]) == expected


@pytest.mark.parametrize("lanes", [True, False], ids=["lanes", "no lanes"])
async def test_a_character_that_was_cut_in_two_is_whole(lanes: bool) -> None:
    halves = ("I like ", "\ud83d", "\ude00", " trains ", "\ud83d", " so")
    script = [created(), *map(delta, halves), completed(message("I like \U0001f600 trains \ufffd so"))]
    script = [{**each, "sequence_number": number} for number, each in enumerate(script)]
    async with serving(script) as server, doors(server, lanes=lanes) as callers:
        for name, caller in callers.items():
            text = "".join(each.get("delta", "") for each in await caller())
            assert text == "I like \U0001f600 trains \ufffd so", name
