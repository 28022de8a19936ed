"""A minimal client for the tests, which shows every frame."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from trunkline.emulator import Emulator

from .openai_schema import check_response, check_socket_event, check_stream_event

Event = dict[str, Any]
TERMINAL = ("response.completed", "response.failed", "response.incomplete", "error")
TIMEOUT_S = 10.0 * float(os.environ.get("TRUNKLINE_TEST_TIME_SCALE", "1"))

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Look up the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


class Socket:
    """One WebSocket to the emulator. Every event is checked against the openai package's types."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, *, strict: bool = True) -> None:
        self.raw = socket
        self.strict = strict
        self.seen: list[Event] = []

    async def send(self, **body: Any) -> None:
        await self.raw.send_str(json.dumps(body))

    async def create(self, **body: Any) -> None:
        await self.send(**{"type": "response.create", "model": "echo"} | body)

    async def receive(self) -> Event:
        message = await asyncio.wait_for(self.raw.receive(), TIMEOUT_S)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        event: Event = json.loads(message.data)
        if self.strict:
            check_socket_event(event)
        self.seen.append(event)
        return event

    async def until(self, *kinds: str, lane: str | None = None) -> list[Event]:
        """Events up to one of these types (on this lane, if given)."""
        events = []
        while True:
            event = await self.receive()
            events.append(event)
            if event["type"] in kinds and (lane is None or event.get("stream_id") == lane):
                return events

    async def turn(self, **body: Any) -> Event:
        """Send a create and return its terminal event, on its lane."""
        await self.create(**body)
        while True:
            event = await self.receive()
            if event["type"] in TERMINAL and event.get("stream_id") == body.get("stream_id"):
                return event

    async def response(self, **body: Any) -> Event:
        """Send a create and return the completed response."""
        event = await self.turn(**body)
        assert event["type"] == "response.completed", event
        response: Event = event["response"]
        return response

    async def refused(self, **body: Any) -> Event:
        """Send a create and return the error of its refusal."""
        event = await self.turn(**body)
        assert event["type"] == "error", event
        return {"status": event["status"], **event["error"]}


class Wire:
    """An HTTP session with the emulator's key."""

    def __init__(self, emulator: Emulator, session: aiohttp.ClientSession) -> None:
        self.emulator = emulator
        self.session = session

    @asynccontextmanager
    async def socket(self, *, strict: bool = True, **options: Any) -> AsyncIterator[Socket]:
        url = f"{self.emulator.base_url}/responses"
        async with self.session.ws_connect(url, max_msg_size=0, **options) as socket:
            yield Socket(socket, strict=strict)

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON body of an HTTP request."""
        async with self.session.request(method, f"{self.emulator.base_url}{path}", **options) as answer:
            body = await answer.json()
            if body.get("object") == "response" and "deleted" not in body:
                check_response(body)
            return answer.status, body

    async def post(self, **body: Any) -> tuple[int, Any]:
        return await self.call("POST", "/responses", json={"model": "echo"} | body)

    async def sse(self, **body: Any) -> list[tuple[str, Event]]:
        """The server-sent events of a streamed response: name and data."""
        url = f"{self.emulator.base_url}/responses"
        body = {"model": "echo", "stream": True} | body
        async with self.session.post(url, json=body) as answer:
            assert answer.status == 200, await answer.text()
            text = await answer.text()
        frames = [frame.split("\n") for frame in text.strip().split("\n\n")]
        events = [(name.removeprefix("event: "), json.loads(data[6:])) for name, data in frames]
        for _, data in events:
            check_stream_event(data)
        return events


@asynccontextmanager
async def wired(emulator: Emulator) -> AsyncIterator[Wire]:
    """A client of a running emulator."""
    headers = {"Authorization": f"Bearer {emulator.api_key or 'anything'}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield Wire(emulator, session)


def text_of(response: Event) -> str:
    """The text of a response resource's messages."""
    return "".join(
        part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"]
    )


def calls_of(response: Event) -> list[Event]:
    """The function calls of a response resource."""
    return [item for item in response["output"] if item["type"] == "function_call"]


def output(call: Event, value: str = "12 degrees") -> Event:
    """The answer to a function call."""
    return {"type": "function_call_output", "call_id": call["call_id"], "output": value}
