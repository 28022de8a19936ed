"""A server with the commands that the gateway sends to Valkey, the real script, and a clock of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from trunkline.gateway.leases import Limit, Wish

from .lua_ledger import LuaLedger

PASSWORD = "canary-password"


class SmallValkey:
    """The server.

    Attributes:
        port: where it listens.
        ledger: its memory and its clock.
        calls: the replicas that called the script, in their order.
        answers: cleared while it reads and does not answer.
        seconds_per_call: the time by which its clock advances with each call: faster than real time, so that
            the ledger is soon settled.
        odd: an answer to each call of the script, instead of its own.
    """

    def __init__(self, lease_s: float, password: str) -> None:
        self.port = 0
        self.ledger = LuaLedger(lease_s)
        self.calls: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.seconds_per_call = 1.0
        self.odd: bytes | None = None
        self._password = password
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and cut all connections."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        known = False
        try:
            while True:
                command, *arguments = await _command(reader)
                await self.answers.wait()
                if command == "AUTH":
                    known = arguments[-1] == self._password
                    writer.write(b"+OK\r\n" if known else b"-WRONGPASS invalid password\r\n")
                elif not known:
                    writer.write(b"-NOAUTH Authentication required.\r\n")
                elif command == "EVAL":
                    writer.write(self.odd or _array(self._eval(arguments)))
                else:
                    writer.write(b"+OK\r\n")
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _eval(self, arguments: list[str]) -> list[list[int]]:
        number = int(arguments[1])
        keys, (replica, call, _, _, *rest) = arguments[2 : 2 + number], arguments[2 + number :]
        self.calls.append(replica)
        self.ledger.wall_s += self.seconds_per_call
        wishes = {key: Wish(*map(int, rest[5 * at : 5 * at + 4])) for at, key in enumerate(keys)}
        limits: dict[str, Limit] = {
            key: "turns_in_flight" if key.endswith("flight") else "turns_per_minute" for key in keys
        }
        found = []
        for key, wish in wishes.items():
            (grant,) = self.ledger.renew(replica, int(call), {limits[key]: wish}, name=key).values()
            found.append([grant.quota, grant.replicas, grant.unused, int(grant.is_settled)])
        return found


async def _command(reader: asyncio.StreamReader) -> list[str]:
    found = []
    for _ in range(int((await reader.readuntil(b"\r\n"))[1:])):
        size = int((await reader.readuntil(b"\r\n"))[1:])
        found.append((await reader.readexactly(size + 2))[:-2].decode())
    return found


def _array(values: Any) -> bytes:
    if isinstance(values, int):
        return b":%d\r\n" % values
    return b"*%d\r\n" % len(values) + b"".join(map(_array, values))


@asynccontextmanager
async def small_valkey(lease_s: float = 1.0, password: str = PASSWORD) -> AsyncIterator[SmallValkey]:
    found = SmallValkey(lease_s, password)
    await found.start()
    try:
        yield found
    finally:
        found.answers.set()
        await found.stop()
