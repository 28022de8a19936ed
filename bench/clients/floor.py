"""The floor: picows' listener and msgspec's decoder alone. No client built on them can cost less."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count
from typing import Any

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from clients.base import API_KEY, MODEL, Client, Heard, Seed, Talk, Told, next_order

_LANES = 16


class _Event(msgspec.Struct):
    type: str
    stream_id: str | None = None
    delta: str = ""
    response: msgspec.Raw = msgspec.Raw(b"null")


class _Answer(msgspec.Struct):
    id: str
    output: list[dict[str, Any]]


_decode = msgspec.json.Decoder(_Event).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


class _Listener(WSListener):
    def __init__(self) -> None:
        self.lanes: dict[str | None, FloorTalk] = {}

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            return
        event = _decode(frame.get_payload_as_bytes())
        talk = self.lanes[event.stream_id]
        if event.type == "response.output_text.delta":
            if talk.pieces is not None:
                talk.pass_on(event.delta)
                return
            talk.deltas += 1
            if talk.heard is not None:
                talk.heard(event.delta)
        elif event.type == "response.completed":
            talk.done.set_result(_decode_answer(event.response))
            talk.wake()


class FloorTalk(Talk):
    """A conversation on one lane of a socket."""

    def __init__(self, transport: WSTransport, lane: str, seed: Seed) -> None:
        self.deltas = 0
        self.heard: Heard | None = None
        self.pieces: deque[str] | None = None
        self._waiting: asyncio.Future[None] | None = None
        self.done: asyncio.Future[_Answer]
        self._transport = transport
        self._fixed = {
            "type": "response.create",
            "stream_id": lane,
            "model": MODEL,
            "instructions": seed.instructions,
            "tools": seed.definitions(),
        }
        self._new = seed.messages()

    def say(self, text: str) -> None:
        self._new.append({"type": "message", "role": "user", "content": text})

    def pass_on(self, piece: str) -> None:
        """Pass a piece to the waiting task."""
        assert self.pieces is not None
        self.pieces.append(piece)
        self.wake()

    def wake(self) -> None:
        """Resume the waiting task."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def ask(self, heard: Heard | None = None, limit: int = 0) -> Told:
        if limit:
            raise NotImplementedError("ask(limit)")
        self.deltas, self.heard = 0, heard
        self.done = asyncio.get_running_loop().create_future()
        self._transport.send(WSMsgType.TEXT, msgspec.json.encode({**self._fixed, "input": self._new}))
        if self.pieces is not None:
            await self._hear(self.pieces)
        answer = await self.done
        self._fixed["previous_response_id"] = answer.id
        self._new = []
        return Told(self.deltas, calls=[item for item in answer.output if item["type"] == "function_call"])

    async def _hear(self, pieces: deque[str]) -> None:
        while pieces or not self.done.done():
            while pieces:
                piece = pieces.popleft()
                self.deltas += 1
                if self.heard is not None:
                    self.heard(piece)
            if not self.done.done():
                self._waiting = asyncio.get_running_loop().create_future()
                await self._waiting

    async def work(self) -> Told:
        told = await self.ask()
        responses = 1
        while told.calls:
            for call in told.calls:
                output = next_order(msgspec.json.decode(call["arguments"])["left"])
                self._new.append(
                    {"type": "function_call_output", "call_id": call["call_id"], "output": output}
                )
            told = await self.ask()
            responses += 1
        return Told(told.deltas, responses)


class Floor(Client):
    """As many sockets as the lanes need."""

    speed = 500_000
    wakes = False

    async def open(self, url: str) -> None:
        self._url = url.replace("http", "ws", 1) + "/responses"
        self._lanes = count()
        self._sockets: list[tuple[WSTransport, Any]] = []

    async def talk(self, seed: Seed) -> Talk:
        number = next(self._lanes)
        if number // _LANES == len(self._sockets):
            await self._connect()
        transport, listener = self._sockets[number // _LANES]
        talk = FloorTalk(transport, f"lane-{number % _LANES}", seed)
        if self.wakes:
            talk.pieces = deque()
        listener.lanes[f"lane-{number % _LANES}"] = talk
        return talk

    async def warm(self, sockets: int) -> None:
        await self._connect()

    async def _connect(self) -> None:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        self._sockets.append(await ws_connect(_Listener, self._url, extra_headers=headers))

    async def close(self) -> None:
        for transport, _ in self._sockets:
            transport.disconnect()


class FloorTask(Floor):
    """The same, with each piece passed to a waiting task, as every `async for` requires."""

    wakes = True
