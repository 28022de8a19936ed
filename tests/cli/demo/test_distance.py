from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest

from trunkline.cli.demo.distance import HANDSHAKE_ROUND_TRIPS, Distance

ROUND_TRIP_S = 0.1


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server that answers each line in capitals."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        yield server.sockets[0].getsockname()[1]


async def test_answers_take_a_round_trip_and_a_handshake_before_the_first(port: int) -> None:
    async with Distance(f"http://127.0.0.1:{port}/v1", ROUND_TRIP_S) as distance:
        began = monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", distance.port)
        writer.write(b"one\n")
        assert await reader.readline() == b"ONE\n"
        first_s = monotonic() - began
        writer.write(b"two\n")
        assert await reader.readline() == b"TWO\n"
        second_s = monotonic() - began - first_s
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    assert first_s >= (HANDSHAKE_ROUND_TRIPS + 1) * ROUND_TRIP_S
    assert second_s >= ROUND_TRIP_S
    assert (distance.handshakes, distance.bytes_sent) == (1, 8)


async def test_leaving_closes_the_connections(port: int) -> None:
    async with Distance(f"http://127.0.0.1:{port}/v1", 0.0) as distance:
        reader, writer = await asyncio.open_connection("127.0.0.1", distance.port)
        writer.write(b"one\n")
        assert await reader.readline() == b"ONE\n"
    assert await reader.read() == b""
    writer.close()


async def test_a_server_that_is_gone_closes_the_connection() -> None:
    async with Distance("http://127.0.0.1:1/v1", 0.0) as distance:
        reader, writer = await asyncio.open_connection("127.0.0.1", distance.port)
        assert await reader.read() == b""
        writer.close()


def test_the_url_keeps_its_path() -> None:
    assert Distance("http://127.0.0.1:9/v1", 0.0).base_url.endswith("/v1")
