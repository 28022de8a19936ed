"""A server that answers each request with the events of a test, over WebSocket and over HTTP.

It sends what it is given, so that a test can be any server that deviates from the protocol.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from aiohttp import WSMsgType, web

import trunkline
from trunkline import Deadlines, Policy

JSON: TypeAlias = dict[str, Any]


def response(status: str = "in_progress", *output: JSON | None, **more: Any) -> JSON:
    return {"id": "resp_1", "object": "response", "status": status, "output": list(output), **more}


def message(text: str, **more: Any) -> JSON:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": [part], **more}


def call(name: str = "look", call_id: str | None = "call_1", **more: Any) -> JSON:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": "{}", **more}


def event(kind: str, **fields: Any) -> JSON:
    return {"type": f"response.{kind}", **fields}


def created(**more: Any) -> JSON:
    return event("created", response=response(**more))


def completed(*output: JSON | None, **more: Any) -> JSON:
    return event("completed", response=response("completed", *output, **more))


def delta(text: str) -> JSON:
    return event("output_text.delta", delta=text)


def done(item: JSON | None, **more: Any) -> JSON:
    return event("output_item.done", item=item, **more)


def answer(text: str, **more: Any) -> list[JSON]:
    """A usual answer."""
    return [created(**more), delta(text), done(message(text)), completed(message(text), **more)]


class Scripted:
    """The server. The n-th request gets the n-th list of events; the last list is repeated."""

    def __init__(self, *answers: Sequence[JSON]) -> None:
        self.answers = answers
        self.headers: dict[str, str] = {}
        self.bodies: list[JSON] = []
        self.sockets = 0
        self.url = ""

    def _next(self, body: JSON) -> Sequence[JSON]:
        self.bodies.append(body)
        return self.answers[min(len(self.bodies), len(self.answers)) - 1]

    async def post(self, request: web.Request) -> web.StreamResponse:
        events = self._next(await request.json())
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", **self.headers})
        await stream.prepare(request)
        for each in events:
            await stream.write(f"data: {json.dumps(each)}\n\n".encode())
        return stream

    async def upgrade(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets += 1
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                body = json.loads(frame.data)
                lane = {name: body[name] for name in ("stream_id",) if name in body}
                for each in self._next(body):
                    await socket.send_str(json.dumps({**each, **lane}))
        return socket


@asynccontextmanager
async def serving(*answers: Sequence[JSON]) -> AsyncIterator[Scripted]:
    """A server with this script."""
    server = Scripted(*answers)
    app = web.Application()
    app.router.add_post("/v1/responses", server.post)
    app.router.add_get("/v1/responses", server.upgrade)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def talking(
    transport: str, *answers: Sequence[JSON]
) -> AsyncIterator[tuple[trunkline.Client, Scripted]]:
    """A server with this script, and a client that uses one transport and sends no request twice."""
    async with (
        serving(*answers) as server,
        trunkline.Client(
            base_url=server.url,
            api_key="sk-test",
            transport=transport,  # type: ignore[arg-type]
            policy=Policy(max_attempts=1),
            deadlines=Deadlines(first_event=5, between_events=5),
        ) as client,
    ):
        yield client, server
