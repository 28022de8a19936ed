"""The transport of a WebSocket, closed by either side."""

from __future__ import annotations

import asyncio

from trunkline.emulator._service.moves import HangUp
from trunkline.emulator._wire.server import SocketLine


async def test_a_reset_of_a_closed_connection_does_nothing() -> None:
    ended = asyncio.Event()

    class Peer(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            ended.set()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()[:2]
        transport, _ = await loop.create_connection(Peer, host, port)
        transport.abort()
        await ended.wait()
        await asyncio.sleep(0)  # the socket is closed after the protocol was told
        SocketLine(transport).hang_up(HangUp(reset=True))
        assert transport.is_closing()
