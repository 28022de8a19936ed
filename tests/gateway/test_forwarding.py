"""Requests that may act, upstream over HTTP: the callers of the gateway must not repeat them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import openai
import pytest

import trunkline.openai

from ..openai.test_acting_over_http import CASES, HEAD, TOOLS, Server, serving
from .running import Running, running

HALF_AN_EVENT = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 500\r\n\r\n"
    b'event: response.created\ndata: {"type":"response.cr'
)


@asynccontextmanager
async def behind(server: Server) -> AsyncIterator[Running]:
    emulator: Any = SimpleNamespace(base_url=server.base_url, api_key="k")
    async with running(emulator) as gateway:
        yield gateway


async def answered(client: openai.AsyncOpenAI, is_streamed: bool) -> None:
    found: Any = await client.responses.create(model="m", input="hi", tools=TOOLS, stream=is_streamed)
    if is_streamed:
        async for _ in found:
            pass


@pytest.mark.parametrize("has_drop_in", [False, True], ids=["http", "websocket"])
@pytest.mark.parametrize(("answer", "is_streamed"), [*CASES, pytest.param(HALF_AN_EVENT, True, id="half")])
async def test_a_request_that_may_act_is_made_once(
    answer: bytes, is_streamed: bool, has_drop_in: bool
) -> None:
    options: dict[str, Any] = {"max_retries": 2}
    if has_drop_in:
        options["http_client"] = trunkline.openai.async_http_client(lanes=True)
    async with (
        serving(answer) as server,
        behind(server) as gateway,
        gateway.openai(**options) as client,
    ):
        with pytest.raises(openai.APIError):
            await answered(client, is_streamed)
    assert server.posts == 1


@pytest.mark.parametrize("answer", [b"", HALF_AN_EVENT], ids=["no head", "half an event"])
async def test_callers_over_websocket_learn_that_a_request_may_have_acted(answer: bytes) -> None:
    async with (
        serving(answer) as server,
        behind(server) as gateway,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{gateway.base_url}/responses", headers={"authorization": "Bearer k"}) as socket,
    ):
        for tools, headers in ((TOOLS, {"x-should-retry": "false"}), ([], None)):
            create: Any = {"type": "response.create", "model": "m", "input": "hi", "tools": tools}
            await socket.send_str(json.dumps(create))
            event = json.loads(await socket.receive_str())
            assert event["type"] == "error"
            assert event["status"] == 502
            assert event["error"].get("headers") == headers


async def test_other_requests_are_repeated() -> None:
    async with (
        serving(HEAD + b"{") as server,
        behind(server) as gateway,
        gateway.openai(max_retries=2) as client,
    ):
        with pytest.raises(openai.APIConnectionError):
            await client.responses.create(model="m", input="hi")
    assert server.posts == 3
