"""Robustness: old connections, slow readers, floods and disconnected clients."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket as sockets
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from trunkline.emulator import Emulator
from trunkline.emulator._wire.outbox import HIGH_WATER_BYTES
from trunkline.emulator._wire.socket_session import MAX_QUEUED

from .wire import TIMEOUT_S, Wire, wired


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def upgraded(emulator: Emulator) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare WebSocket client with a small receive buffer."""
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    raw.setblocking(False)
    port = int(emulator.base_url.split(":")[2].split("/")[0])
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET /v1/responses HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {emulator.api_key}\r\n\r\n"
    )
    writer.write(head.encode())
    await reader.readuntil(b"\r\n\r\n")
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def masked(text: str) -> bytes:
    """A client's frame, masked with zeros."""
    data = text.encode()
    head = b"\x81" + (
        bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    )
    return head + bytes(4) + data


def create(**body: object) -> str:
    return json.dumps({"type": "response.create", "model": "echo", "input": "x"} | body)


async def test_a_connection_ends_after_an_hour_and_the_next_one_is_new() -> None:
    clock = Clock()
    async with Emulator(clock=clock) as emulator, wired(emulator) as wire:
        async with wire.socket() as socket:
            clock.now += 3599
            await socket.response(input="x", stream_id="a")
            clock.now += 1
            event = await socket.receive()
            assert event["error"]["code"] == "websocket_connection_limit_reached"
            assert event["status"] == 400
            assert "stream_id" not in event
            assert (await socket.raw.receive()).type is aiohttp.WSMsgType.CLOSE
        async with wire.socket() as socket:
            await socket.response(input="x")


async def test_the_hour_may_end_in_the_middle_of_an_answer() -> None:
    clock = Clock()
    emulator = Emulator(clock=clock, tokens_per_second=50)
    async with emulator, wired(emulator) as wire, wire.socket() as socket:
        await socket.create(model="words-1000000", input="x")
        await socket.until("response.output_text.delta")
        clock.now += 3600
        events = await socket.until("error")
        assert events[-1]["error"]["code"] == "websocket_connection_limit_reached"
        (record,) = emulator.responses.values()
        assert record.status == "cancelled"


async def test_a_request_after_the_hour_is_not_taken() -> None:
    clock = Clock()
    async with Emulator(clock=clock) as emulator, wired(emulator) as wire, wire.socket() as socket:
        clock.now += 3600
        await socket.create(input="x")
        assert (await socket.receive())["error"]["code"] == "websocket_connection_limit_reached"
        assert not emulator.responses


async def test_a_client_that_does_not_read_holds_up_nobody_and_fills_no_memory(wire: Wire) -> None:
    async with upgraded(wire.emulator) as (_, writer):
        writer.write(masked(create(model="words-2000000")))
        await writer.drain()
        tracemalloc.start()
        async with wire.socket() as other:
            for _ in range(50):
                await other.response(model="words-100", input="x")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100 * HIGH_WATER_BYTES
        slow = next(iter(wire.emulator.responses.values()))
        assert slow.status == "in_progress"


async def test_stopping_does_not_wait_for_a_client_that_does_not_read() -> None:
    emulator = Emulator()
    await emulator.start()
    async with upgraded(emulator) as (_, writer):
        writer.write(masked(create(model="words-2000000")))
        await writer.drain()
        while not emulator.responses:
            await asyncio.sleep(0)
        begun = time.monotonic()
        await emulator.stop()
        assert time.monotonic() - begun < TIMEOUT_S / 2


async def test_a_flood_of_requests_is_not_read_faster_than_it_is_worked_off() -> None:
    emulator = Emulator(tokens_per_second=0.1)
    request = create(model="words-9", metadata={"k": "v" * 400})
    async with (
        emulator,
        wired(emulator) as wire,
        upgraded(emulator) as (_, writer),
        flood(emulator, writer, request) as read,
    ):
        assert MAX_QUEUED <= read < MAX_QUEUED + 100
        async with wire.socket() as other:
            await other.response(generate=False)


async def test_a_flood_of_nonsense_from_a_client_that_does_not_read_stops(wire: Wire) -> None:
    emulator = wire.emulator
    async with upgraded(emulator) as (_, writer), flood(emulator, writer, "nonsense") as read:
        assert read > 100
        async with wire.socket() as other:
            await other.response(input="x")


async def test_a_client_that_vanishes_leaves_nothing(wire: Wire) -> None:
    wire.emulator.pace = type(wire.emulator.pace)(0.0, 1.0)
    async with upgraded(wire.emulator) as (reader, writer):
        writer.write(masked(create(model="words-9")))
        await reader.read(100)
    async with asyncio.timeout(TIMEOUT_S):
        while wire.emulator.live_connections:
            await asyncio.sleep(0.001)
    (record,) = wire.emulator.responses.values()
    assert record.status == "cancelled"


async def test_broken_frames_close_only_their_own_socket(wire: Wire) -> None:
    async with wire.socket() as bystander, upgraded(wire.emulator) as (reader, writer):
        writer.write(b"\xff\xff\xff\xff broken")
        async with asyncio.timeout(TIMEOUT_S):
            while await reader.read(1024):
                pass
        await bystander.response(input="x")


async def test_what_is_kept_is_bounded() -> None:
    async with Emulator(history=10) as emulator, wired(emulator) as wire:
        for _ in range(15):
            async with wire.socket() as socket:
                await socket.response(input="x")
        assert len(emulator.responses) == len(emulator.requests) == len(emulator.connections) == 10
        assert list(emulator.responses)[-1] == emulator.requests[-1].response_id


@pytest.mark.parametrize("lanes", [1, 8])
async def test_a_deep_conversation_costs_what_is_new(lanes: int) -> None:
    async with Emulator() as emulator, wired(emulator) as wire, wire.socket(strict=False) as socket:
        ids: dict[str, str] = {}
        for turn in range(400):
            lane = str(turn % lanes)
            body = {"previous_response_id": ids[lane]} if lane in ids else {}
            ids[lane] = (await socket.response(input="x", stream_id=lane, store=False, **body))["id"]
        assert len(emulator.effective_context(ids["0"])) == 2 * 400 // lanes - 1


# Counted in rounds of the loop, not in seconds: a slow machine is not a server that has stopped reading.
_QUIET_ROUNDS = 20


@asynccontextmanager
async def flood(emulator: Emulator, writer: asyncio.StreamWriter, text: str) -> AsyncIterator[int]:
    """Send without reading until the server stops reading; return the number of requests it has read."""

    async def send() -> None:
        frame = masked(text)
        while True:
            writer.write(frame)
            await writer.drain()

    sending = asyncio.create_task(send())
    before = -1
    quiet = 0
    async with asyncio.timeout(10 * TIMEOUT_S):
        while quiet < _QUIET_ROUNDS or not emulator.requests:
            quiet = quiet + 1 if before == len(emulator.requests) else 0
            before = len(emulator.requests)
            await asyncio.sleep(0.01)
    yield before
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
