"""The emulator's server: HTTP, server-sent events and WebSocket on one port."""

from __future__ import annotations

import asyncio
import socket as sockets
import struct
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web, web_app

from .._protocol.errors import ApiError
from .._service.connection import Connection
from .._service.moves import HangUp
from .._service.records import ConnectionRecord
from ..faults.action import Action
from ..faults.fault import Fault, Place
from ..quirks.quirks import Opening
from .admission import MAX_MESSAGE_BYTES, Admission
from .backend import Backend
from .frames import close_frame
from .http_routes import Routes
from .live_routes import LiveRoutes
from .outbox import Outbox
from .routing import Routing
from .socket_session import SocketSession

MAX_AGE_S = 60 * 60
_AGE_CHECK_S = 0.1
_GRACE_S = 0.3


class SocketLine:
    """The transport of a WebSocket: closing it and pausing its reads."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def hang_up(self, how: HangUp) -> None:
        """Close with a close code, without a close frame, or with a TCP reset."""
        if how.code is not None and not self._transport.is_closing():
            self._transport.write(close_frame(how.code))
            self._transport.close()
            return
        if how.reset:
            raw = self._transport.get_extra_info("socket")
            with suppress(OSError):  # the peer was faster, and the socket is closed
                raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def pause_reading(self, seconds: float | None) -> None:
        """Stop reading for some seconds; None: until the connection closes."""
        self._transport.pause_reading()
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, self._resume)

    def _resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()


class Server:
    """Connects aiohttp's HTTP and WebSocket handlers to the service."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._service = backend.service
        self._routes = Routes(backend)
        self._live = LiveRoutes(
            backend.service, lambda: [connection for connection, _ in self._open.values()]
        )
        self._admission = Admission(backend, self._routes.headers)
        self._runner: web.AppRunner | None = None
        self._open: dict[str, tuple[Connection, SocketSession]] = {}
        self._age_check: asyncio.TimerHandle | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port."""
        app = web.Application(client_max_size=MAX_MESSAGE_BYTES)
        routing = Routing(app, self._admission.answer)
        routing.add_get("/v1/responses", self._open_socket)
        self._routes.add_to(routing)
        self._live.add_to(routing)
        routing.refuse_others()
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=_GRACE_S, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self._check_ages()
        address: Any = self._runner.addresses[0]
        return int(address[1])

    async def stop(self) -> None:
        """Close all sockets and stop listening, within a second."""
        if self._age_check is not None:
            self._age_check.cancel()
        sessions = [session for _, session in self._open.values()]
        self.drop_sockets(1001)
        await self._routes.stop()
        deadline = asyncio.get_running_loop().time() + _GRACE_S
        while self._open and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.005)
        for session in sessions:
            # The grace period is over: abort clients that have not completed the closing handshake.
            session.hang_up(HangUp())
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        _forget_handlers()

    def forget(self, response_id: str | None) -> None:
        """Drop one response from the caches of all connections, or all responses (None)."""
        for connection, _ in self._open.values():
            connection.cache.forget(response_id)

    def drop_sockets(self, code: int | None) -> None:
        """Close every socket with this code, or without a close frame (None)."""
        for _, session in list(self._open.values()):
            session.hang_up(HangUp(code))

    async def _open_socket(self, request: web.Request) -> web.StreamResponse:
        self._backend.handshakes += 1
        try:
            self._check_upgrade(request)
        except ApiError as error:
            return self._admission.turn_away(error, request)
        fault = self._backend.faults.at_upgrade(Place(connection=self._backend.handshakes))
        if fault is not None:
            return await _struck_upgrade(fault, request)
        limit = self._backend.quirks.max_message_bytes(MAX_MESSAGE_BYTES)
        socket = web.WebSocketResponse(max_msg_size=limit, compress=False)
        socket.headers.update(self._routes.headers(request))
        writer = await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        connection = Connection(self._record(request))
        outbox = Outbox(transport.write, writer.drain, asyncio.get_running_loop())
        session = SocketSession(self._backend, connection, outbox, SocketLine(transport))
        self._open[connection.id] = (connection, session)
        try:
            await self._read(socket, connection, session)
        finally:
            del self._open[connection.id]
            outbox.flush()
            session.close()
            connection.record.open = False
            connection.record.close_code = socket.close_code
        return socket

    def _check_upgrade(self, request: web.Request) -> None:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise ApiError("Expected a WebSocket upgrade.", status=426, code="upgrade_required")
        self._backend.quirks.check_upgrade()

    async def _read(
        self, socket: web.WebSocketResponse, connection: Connection, session: SocketSession
    ) -> None:
        opening = self._backend.quirks.opening(connection.record.number)
        if isinstance(opening, int):
            session.hang_up(HangUp(opening))
            return
        async for message in socket:
            if opening is Opening.SILENT:
                continue
            if self._is_old(connection):
                session.expire()
                return
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                session.feed(message.data)
                await session.ready()

    def _is_old(self, connection: Connection) -> bool:
        return self._backend.clock() - connection.record.opened_at >= MAX_AGE_S

    def _check_ages(self) -> None:
        for connection, session in list(self._open.values()):
            if self._is_old(connection):
                session.expire()
        self._age_check = asyncio.get_running_loop().call_later(_AGE_CHECK_S, self._check_ages)

    def _record(self, request: web.Request) -> ConnectionRecord:
        record = ConnectionRecord(
            self._service.ids.new("conn"),
            number=self._backend.handshakes,
            headers=dict(request.headers),
            query=dict(request.query),
            opened_at=self._backend.clock(),
        )
        self._backend.opened(record)
        return record


async def _struck_upgrade(fault: Fault, request: web.Request) -> web.Response:
    if fault.action is Action.IGNORE_UPGRADE:
        if fault.seconds is None:
            await asyncio.get_running_loop().create_future()
        else:
            await asyncio.sleep(fault.seconds)
        if request.transport is not None:
            request.transport.abort()
    return web.Response(status=fault.status, text=fault.body, headers=fault.headers)


def _forget_handlers() -> None:
    """Empty aiohttp's cache of handlers, which would keep up to 1,024 handlers of stopped servers alive."""
    cache = getattr(web_app, "_cached_build_middleware", None)
    if cache is not None:
        cache.cache_clear()
