"""Requests for which a server ends the socket: their neighbours are answered, and they are sent alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import WSMsgType, web

import trunkline
from trunkline import Cause

from ..scripted import answer
from ..waiting import soon

NEIGHBOURS = 13
CROWD = NEIGHBOURS + 1


class Touchy:
    """A server that ends a socket for a decimal temperature, after it has got the whole crowd twice."""

    def __init__(self) -> None:
        self.sockets: list[list[dict[str, Any]]] = []
        self.posted: list[dict[str, Any]] = []
        self.crowds = 2

    async def upgrade(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        bodies: list[dict[str, Any]] = []
        self.sockets.append(bodies)
        await socket.send_json({"type": "keepalive"})  # the socket carries events
        is_crowded = len(self.sockets) <= self.crowds
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            bodies.append(json.loads(frame.data))
            if is_crowded and len(bodies) < CROWD:
                continue
            if any(is_bad(body) for body in bodies):
                await socket.close(code=1011)
                continue
            for event in answer("Hello"):
                await socket.send_json({**event, "stream_id": bodies[-1]["stream_id"]})
        return socket

    async def post(self, request: web.Request) -> web.Response:
        self.posted.append(await request.json())
        error = {"error": {"code": "invalid_type", "message": "temperature must be an integer"}}
        return web.json_response(error, status=400)


def is_bad(body: dict[str, Any]) -> bool:
    return isinstance(body.get("temperature"), float)


@asynccontextmanager
async def touchy(**options: Any) -> AsyncIterator[tuple[trunkline.Client, Touchy]]:
    server = Touchy()
    app = web.Application()
    app.router.add_get("/v1/responses", server.upgrade)
    app.router.add_post("/v1/responses", server.post)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        policy = trunkline.Policy(backoff_s=0.01)
        async with trunkline.Client(
            base_url=url, api_key="sk-test", lanes=True, policy=policy, **options
        ) as client:
            yield client, server
    finally:
        await runner.cleanup()


async def crowd(client: trunkline.Client) -> list[Any]:
    """Thirteen good turns and a bad one at a time; their responses or errors, the bad one's last."""
    chats = [client.conversation(model="m", temperature=1) for _ in range(NEIGHBOURS)]
    chats.append(client.conversation(model="m", temperature=0.5))
    return await soon(asyncio.gather(*(chat.run("hi") for chat in chats), return_exceptions=True))


@pytest.mark.parametrize("transport", ["auto", "websocket"])
async def test_a_bad_request_loses_no_turn_of_its_neighbours(transport: Any) -> None:
    async with touchy(transport=transport) as (client, server):
        *good, bad = await crowd(client)
        assert [response.output_text for response in good] == ["Hello"] * NEIGHBOURS
        assert isinstance(bad, trunkline.ConnectionLost)
        assert (bad.suspect, bad.sent, bad.started, bad.output_seen) == (True, True, False, False)
        assert "check the types of its fields" in str(bad)
        hit = [bodies for bodies in server.sockets if any(map(is_bad, bodies))]
        assert [len(bodies) for bodies in hit] == [CROWD, CROWD, 1]
        assert not server.posted


async def test_requests_of_an_isolated_shape_go_over_http_or_alone() -> None:
    for transport in ("auto", "websocket"):
        async with touchy(transport=transport) as (client, server):
            await crowd(client)
            sockets = len(server.sockets)
            other = client.conversation(model="m", temperature=0.7)
            expected = trunkline.ResponseRefused if transport == "auto" else trunkline.ConnectionLost
            with pytest.raises(expected) as refused:
                await soon(other.run("hi"))
            assert len(server.posted) == (transport == "auto")
            if isinstance(refused.value, trunkline.ConnectionLost):
                assert refused.value.suspect
                assert [len(bodies) for bodies in server.sockets[sockets:]] == [1]
            # The shape of the neighbours is not suspect.
            good = client.conversation(model="m", temperature=2)
            async with good.send("hi") as stream:
                response = await stream.finish()
            assert (response.output_text, stream.metrics.transport) == ("Hello", "websocket")


async def test_a_shape_that_is_answered_alone_is_cleared() -> None:
    async with touchy(transport="websocket") as (client, server):
        chats = [client.conversation(model="m", temperature=1) for _ in range(NEIGHBOURS)]
        streams = [chat.send("hi") for chat in chats]
        bad = asyncio.ensure_future(client.conversation(model="m", temperature=0.5).run("hi"))

        async def finish(stream: trunkline.ResponseStream) -> None:
            async with stream:
                await stream.finish()

        await soon(asyncio.gather(*map(finish, streams), bad, return_exceptions=True))
        recoveries = [stream.metrics.recoveries for stream in streams]
        assert all(each == [Cause.CONNECTION, Cause.SUSPECT] for each in recoveries), recoveries
        crowds = [len(bodies) for bodies in server.sockets]
        assert sum(crowds) == 3 * CROWD  # each turn was sent three times


async def test_an_acting_request_is_never_repeated() -> None:
    async with touchy(transport="websocket") as (client, server):
        server.crowds = 1
        tools: Any = [{"type": "mcp", "server_label": "s", "server_url": "https://example.org"}]
        chats = [client.conversation(model="m", temperature=1, tools=tools) for _ in range(NEIGHBOURS)]
        chats.append(client.conversation(model="m", temperature=0.5))
        runs = (chat.send("hi").__aenter__() for chat in chats)
        streams = await soon(asyncio.gather(*runs))
        lost = await soon(
            asyncio.gather(*(stream.finish() for stream in streams[:-1]), return_exceptions=True)
        )
        assert all(isinstance(error, trunkline.ConnectionLost) for error in lost)
        assert sum(len(bodies) for bodies in server.sockets) == CROWD
        await streams[-1].aclose()
