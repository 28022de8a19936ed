"""Servers that do not keep parents: the model sees the whole context, on every turn, over both transports."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web

import trunkline
from trunkline import Cause

from ..talk import ask
from ..waiting import until

Answer = Callable[[dict[str, Any], str], list[dict[str, Any]]]


class Strange:
    """A server whose answers tell how many items their request had."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[dict[str, Any]] = []
        self.sockets: list[web.WebSocketResponse] = []
        self._answer = answer

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            events = self._take(await request.json())
            if len(events) == 1:
                return web.json_response(events[0], status=events[0]["status"])
            lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
            return web.Response(text=lines, content_type="text/event-stream")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                for event in self._take(json.loads(message.data)):
                    await socket.send_json(event)
        return socket

    def _take(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        self.requests.append(body)
        return self._answer(body, f"resp_{len(self.requests)}")


@asynccontextmanager
async def serving(answer: Answer, transport: Any) -> AsyncIterator[tuple[Strange, trunkline.Client]]:
    strange = Strange(answer)
    app = web.Application()
    app.router.add_route("*", "/v1/responses", strange.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        async with trunkline.Client(base_url=url, api_key="k", proxy="", transport=transport) as client:
            yield strange, client
    finally:
        await runner.cleanup()


def answered(body: dict[str, Any], response_id: str, **parent: Any) -> list[dict[str, Any]]:
    content = [{"type": "output_text", "text": f"{len(body['input'])} items"}]
    message = {"type": "message", "role": "assistant", "content": content}
    response = {"id": response_id, "store": True, "output": [], **parent}
    return [
        {"type": "response.created", "response": response},
        {"type": "response.output_text.delta", "delta": content[0]["text"]},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": {**response, "output": [message]}},
    ]


def refusing(refusal: dict[str, Any]) -> Answer:
    def answer(body: dict[str, Any], response_id: str) -> list[dict[str, Any]]:
        if "previous_response_id" in body:
            return [refusal]
        return answered(body, response_id, previous_response_id=None)

    return answer


def ignoring(body: dict[str, Any], response_id: str) -> list[dict[str, Any]]:
    return answered(body, response_id, previous_response_id=None)


def naming_another(body: dict[str, Any], response_id: str) -> list[dict[str, Any]]:
    return answered(body, response_id, previous_response_id="resp_other")


def silent_about_parents(body: dict[str, Any], response_id: str) -> list[dict[str, Any]]:
    return answered(body, response_id)


def silent_when_asked(body: dict[str, Any], response_id: str) -> list[dict[str, Any]]:
    parent = {} if "previous_response_id" in body else {"previous_response_id": None}
    return answered(body, response_id, **parent)


def chaining(body: dict[str, Any], response_id: str) -> list[dict[str, Any]]:
    return answered(body, response_id, previous_response_id=body.get("previous_response_id"))


REFUSED, IGNORED = [Cause.PARENT_REFUSED], [Cause.PARENT_IGNORED]
WORDS = {"message": "not supported: instructions with previous_response_id", "type": "api_error"}
SERVERS: dict[str, tuple[Answer, list[Cause]]] = {
    "without a type": (refusing({"status": 400, "error": WORDS}), REFUSED),
    "another code": (refusing({"type": "error", "status": 404, "error": {"code": 404}}), REFUSED),
    "words only": (refusing({"type": "error", "status": 400, "error": "response not found"}), REFUSED),
    "a server error": (refusing({"type": "error", "status": 500, "error": WORDS}), REFUSED),
    "ignored": (ignoring, IGNORED),
    "another parent": (naming_another, IGNORED),
    "no parent when asked": (silent_when_asked, IGNORED),
    "no parents at all": (silent_about_parents, []),
}


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("name", SERVERS)
async def test_every_turn_sees_the_whole_context(
    name: str, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer, causes = SERVERS[name]
    async with serving(answer, transport) as (strange, client):
        chat, other = client.conversation(model="m"), client.conversation(model="m")
        turns = [await ask(chat, f"turn {number}") for number in range(3)]
        turns += [await ask(other, f"turn {number}") for number in range(2)]
    texts = [turn.response.output_text for turn in turns]
    assert texts == ["1 items", "3 items", "5 items", "1 items", "3 items"]
    # One turn finds out for all.
    assert [turn.metrics.recoveries for turn in turns] == [[], causes, [], [], []]
    assert len(strange.requests) == len(turns) + len(causes)
    reported = [each for each in caplog.records if "keeps no parents" in each.getMessage()]
    assert len(reported) == len(causes)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_server_that_keeps_parents_gets_deltas(transport: str) -> None:
    async with serving(chaining, transport) as (_, client):
        chat = client.conversation(model="m")
        turns = [await ask(chat, f"turn {number}") for number in range(3)]
    assert [turn.metrics.mode for turn in turns] == ["full", "delta", "delta"]


def storing_at_the_beginning(body: dict[str, Any], response_id: str) -> list[dict[str, Any]]:
    *earlier, final = chaining(body, response_id)
    return [*earlier, {**final, "response": {**final["response"], "store": None}}]


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_what_the_beginning_of_a_response_says_of_the_store_counts(transport: str) -> None:
    async with serving(storing_at_the_beginning, transport) as (strange, client):
        chat = client.conversation(model="m")
        turns = [await ask(chat, "one")]
        for socket in strange.sockets:
            await socket.close()
        await until(lambda: client.state().sockets == 0, "the client has closed its socket")
        turns.append(await ask(chat, "two"))
    assert [turn.metrics.mode for turn in turns] == ["full", "delta"]


def wrapping_ids(body: dict[str, Any], response_id: str) -> list[dict[str, Any]]:
    """LiteLLM's proxy in front of a service that keeps parents."""
    _, _, parent = base64.b64decode(body.get("previous_response_id", "resp_")[5:]).rpartition(b":")
    wrapped = base64.b64encode(f"litellm:custom_llm_provider:x;response_id:{response_id}".encode())
    return answered(body, f"resp_{wrapped.decode()}", previous_response_id=parent.decode() or None)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_proxy_that_wraps_ids_has_used_the_parent_that_it_names_without(transport: str) -> None:
    async with serving(wrapping_ids, transport) as (_, client):
        chat = client.conversation(model="m")
        turns = [await ask(chat, f"turn {number}") for number in range(3)]
    assert [turn.metrics.mode for turn in turns] == ["full", "delta", "delta"]
    assert [turn.metrics.attempts for turn in turns] == [1, 1, 1]


async def test_a_request_that_is_refused_in_full_as_well_does_not_blame_the_parent() -> None:
    def answer(body: dict[str, Any], response_id: str) -> list[dict[str, Any]]:
        if "bad" in json.dumps(body["input"][-1]):
            return [{"type": "error", "status": 400, "error": {"code": "invalid_prompt", "message": "no"}}]
        return chaining(body, response_id)

    async with serving(answer, "http") as (_, client):
        chat = client.conversation(model="m")
        await ask(chat, "good")
        with pytest.raises(trunkline.ResponseRefused, match="no"):
            await ask(chat, "bad")
        assert (await ask(chat, "good")).metrics.mode == "delta"
