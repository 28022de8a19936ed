"""Requests that may act, without a WebSocket: the SDK must not repeat them after a failure over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

import trunkline.openai

TOOLS: Any = [{"type": "mcp", "server_label": "x", "server_url": "https://example.org/mcp"}]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n"
LOST = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"
NO_WEBSOCKET = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Server:
    """Refuses WebSockets, and breaks off after some bytes of each answer."""

    def __init__(self, answer: bytes) -> None:
        self.posts = 0
        self.base_url = ""
        self._answer = answer

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"POST"):
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            self.posts += 1
            writer.write(self._answer)
        else:
            writer.write(NO_WEBSOCKET)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[Server]:
    server = Server(answer)
    async with await asyncio.start_server(server.answer, "127.0.0.1", 0) as listening:
        server.base_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        yield server


async def create(server: Server, is_sync: bool, **fields: Any) -> Any:
    given: Any = {"base_url": server.base_url, "api_key": "k", "max_retries": 2}
    fields = {"model": "m", "input": "hello", **fields}
    if not is_sync:
        async with openai.AsyncOpenAI(http_client=trunkline.openai.async_http_client(), **given) as client:
            return await client.responses.create(**fields)

    def call() -> Any:
        with openai.OpenAI(http_client=trunkline.openai.http_client(), **given) as client:
            return client.responses.create(**fields)

    return await asyncio.to_thread(call)


CASES = [
    pytest.param(b"", False, id="no head"),
    pytest.param(b"", True, id="no head of a stream"),
    pytest.param(HEAD + b"{", False, id="half a body"),
    pytest.param(LOST, False, id="502"),
    pytest.param(LOST, True, id="502 for a stream"),
]


@pytest.mark.parametrize("is_sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize(("answer", "is_streamed"), CASES)
async def test_a_request_that_may_act_is_made_once(answer: bytes, is_streamed: bool, is_sync: bool) -> None:
    async with serving(answer) as server:
        with pytest.raises(openai.InternalServerError) as caught:
            await create(server, is_sync, tools=TOOLS, stream=is_streamed)
    assert caught.value.status_code == 502
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert server.posts == 1


@pytest.mark.parametrize("is_sync", [False, True], ids=["async", "sync"])
async def test_other_requests_are_repeated_as_without_the_drop_in(is_sync: bool) -> None:
    async with serving(HEAD + b"{") as server:
        with pytest.raises(openai.APIConnectionError):
            await create(server, is_sync)
    assert server.posts == 3


@pytest.mark.parametrize("is_sync", [False, True], ids=["async", "sync"])
async def test_a_whole_answer_over_http_arrives(is_sync: bool) -> None:
    body = b'{"id":"resp_1","object":"response","status":"completed","output":[],"model":"m"}'
    head = HEAD.replace(b"500", b"%d" % len(body))
    async with serving(head + body) as server:
        response = await create(server, is_sync, tools=TOOLS)
    assert (response.id, response.status, server.posts) == ("resp_1", "completed", 1)
