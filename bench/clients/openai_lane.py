"""The openai SDK's lanes: `AsyncResponsesWebSocketSession` over `responses.connect()`, as in its README.

The session does not chain by itself. `OpenaiLane` is an application that names the parent and sends new items
only; `OpenaiLaneFull` is an application that sends its whole history each turn.
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

from openai import AsyncOpenAI
from openai.lib.responses_websocket import AsyncResponsesWebSocketSession, ResponsesWebSocketLimits

from clients.base import API_KEY, MODEL, Client, Heard, Seed, Talk, Told, next_order

_LANES = 16
_NAMES = 33  # the limit of the service, and the default lane
_NO_LIMIT = 1 << 40
_names = count()
_ENDS = ("response.completed", "response.failed", "response.incomplete", "error")


class LaneTalk(Talk):
    """A lane and its history."""

    chains = True

    def __init__(self, session: Any, seed: Seed) -> None:
        self._session = session
        self._lane = session.lane(f"lane-{next(_names)}")
        self._fixed: dict[str, Any] = {
            "type": "response.create",
            "model": MODEL,
            "instructions": seed.instructions,
            "tools": seed.definitions(),
        }
        self._items: list[Any] = seed.messages()

    def say(self, text: str) -> None:
        self._items.append({"type": "message", "role": "user", "content": text})

    def renew(self) -> None:
        self._items = json.loads(json.dumps(self._items))

    async def ask(self, heard: Heard | None = None, limit: int = 0) -> Told:
        await self._lane.send({**self._fixed, "input": self._items})
        deltas = 0
        while True:
            event = await self._lane.recv()
            kind = event.type
            if kind == "response.output_text.delta":
                deltas += 1
                if heard is not None:
                    heard(event.delta)
                if deltas == limit:
                    self._leave()
                    return Told(deltas)
            elif kind in _ENDS:
                if kind == "error":
                    raise RuntimeError(f"refused: {event}")
                return self._ended(deltas, await self._lane.get_final_response())

    def _leave(self) -> None:
        """Continue on another lane: this one accepts no request before its response has ended."""
        self._lane.close()
        self._lane = self._session.lane(f"lane-{next(_names)}")

    def _ended(self, deltas: int, response: Any) -> Told:
        output = [item.model_dump(exclude_none=True) for item in response.output]
        if self.chains:
            self._fixed["previous_response_id"] = response.id
            self._items = []
        else:
            self._items += output
        return Told(deltas, calls=[item for item in output if item["type"] == "function_call"])

    async def work(self) -> Told:
        told = await self.ask()
        responses = 1
        while told.calls:
            for call in told.calls:
                output = next_order(json.loads(call["arguments"])["left"])
                item = {"type": "function_call_output", "call_id": call["call_id"], "output": output}
                self._items.append(item)
            told = await self.ask()
            responses += 1
        return Told(told.deltas, responses)

    async def prepare(self) -> None:
        await self._lane.send({**self._fixed, "input": self._items, "generate": False})
        response = await self._lane.get_final_response()
        self._fixed["previous_response_id"] = response.id
        self._items = []


class FullLaneTalk(LaneTalk):
    """The whole history each turn."""

    chains = False


class OpenaiLane(Client):
    """As many sockets as the lanes need, each with a session."""

    speed = 8_000
    talks: type[LaneTalk] = LaneTalk

    async def open(self, url: str) -> None:
        self._stack = AsyncExitStack()
        client = AsyncOpenAI(base_url=url, api_key=API_KEY)
        self._client = await self._stack.enter_async_context(client)
        self._lanes = count()
        self._sessions: list[Any] = []

    async def talk(self, seed: Seed) -> Talk:
        number = next(self._lanes)
        if number // _LANES == len(self._sessions):
            await self._connect()
        return self.talks(self._sessions[number // _LANES], seed)

    async def warm(self, sockets: int) -> None:
        await self._connect()

    async def _connect(self) -> None:
        options: Any = {"max_size": None}
        connecting = self._client.responses.connect(websocket_connection_options=options)
        connection = await self._stack.enter_async_context(connecting)
        limits = ResponsesWebSocketLimits(
            max_lanes=_NAMES,
            max_events_per_lane=_NO_LIMIT,
            max_events=_NO_LIMIT,
            max_bytes_per_lane=_NO_LIMIT,
            max_bytes=_NO_LIMIT,
        )
        session = AsyncResponsesWebSocketSession(connection, limits=limits)
        self._sessions.append(await self._stack.enter_async_context(session))

    async def close(self) -> None:
        await self._stack.aclose()


class OpenaiLaneFull(OpenaiLane):
    """The whole history each turn."""

    talks = FullLaneTalk
