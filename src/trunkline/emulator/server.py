"""The emulator's server: HTTP, server-sent events and WebSocket on one port."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from aiohttp import WSMsgType, web

from .connection import Connection
from .errors import ApiError
from .frames import close_frame
from .http_session import complete, refusal, stream
from .outbox import Outbox
from .records import ConnectionRecord, RequestRecord
from .request import check_create, decode
from .socket_session import SocketSession

if TYPE_CHECKING:
    from .emulator import Emulator

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Pumps bytes between aiohttp and the service."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._service = emulator.service
        self._runner: web.AppRunner | None = None
        self._sockets: dict[str, tuple[asyncio.Transport, SocketSession, Outbox]] = {}
        self._connections: dict[str, Connection] = {}

    async def start(self, host: str, port: int) -> int:
        """Listen; the port is returned."""
        app = web.Application(client_max_size=MAX_MESSAGE_BYTES, middlewares=[self._answer_errors])
        app.router.add_get("/v1/responses", self._open_socket)
        app.router.add_post("/v1/responses", self._create)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        address: Any = self._runner.addresses[0]
        return int(address[1])

    async def stop(self) -> None:
        """Close all sockets and stop listening, within a second."""
        self.drop_sockets(1001)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def forget(self, response_id: str | None) -> None:
        """Drop one response, or all, from the memory of every connection."""
        for connection in self._connections.values():
            connection.cache.forget(response_id)

    def drop_sockets(self, code: int | None) -> None:
        """Close every socket: with this code, or without a word."""
        for transport, session, outbox in list(self._sockets.values()):
            if code is not None and not transport.is_closing():
                outbox.flush()
                transport.write(close_frame(code))
                transport.close()
            else:
                transport.abort()
            session.close()

    @web.middleware
    async def _answer_errors(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        headers = {"x-request-id": self._service.ids.new("req")}
        try:
            self._authorize(request)
            answer = await handler(request)
        except ApiError as error:
            return refusal(error, headers)
        except web.HTTPException as error:
            return refusal(_translated(error, request), headers)
        if not answer.prepared:
            answer.headers.update(headers)
        return answer

    def _authorize(self, request: web.Request) -> None:
        header = request.headers.get("Authorization", "")
        given = header.removeprefix("Bearer ").strip() if header.startswith("Bearer ") else ""
        given = given or request.headers.get("api-key", "")
        if not given:
            raise ApiError(
                "You didn't provide an API key. You need to provide your API key in an Authorization header"
                " using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                status=401,
            )
        expected = self._emulator.api_key
        if expected is not None and not hmac.compare_digest(given.encode(), expected.encode()):
            raise ApiError("Incorrect API key provided.", status=401, code="invalid_api_key")

    async def _open_socket(self, request: web.Request) -> web.StreamResponse:
        self._emulator.handshakes += 1
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise ApiError("Expected a WebSocket upgrade.", status=426, code="upgrade_required")
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, compress=False, autoclose=False)
        writer = await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        connection = Connection(self._record(request))
        loop = asyncio.get_running_loop()
        outbox = Outbox(transport.write, writer.drain, loop)
        session = SocketSession(
            self._service, connection, outbox, self._emulator.pace, loop, self._emulator.notify
        )
        self._sockets[connection.id] = (transport, session, outbox)
        self._connections[connection.id] = connection
        try:
            await self._read(socket, session)
        finally:
            del self._sockets[connection.id], self._connections[connection.id]
            outbox.flush()
            session.close()
            connection.record.open = False
            connection.record.close_code = socket.close_code
        return socket

    async def _read(self, socket: web.WebSocketResponse, session: SocketSession) -> None:
        async for message in socket:
            if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                session.feed(message.data)

    def _record(self, request: web.Request) -> ConnectionRecord:
        record = ConnectionRecord(
            self._service.ids.new("conn"),
            headers=dict(request.headers),
            query=dict(request.query),
            opened_at=self._emulator.clock(),
        )
        self._emulator.connections.append(record)
        return record

    async def _create(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        seen = RequestRecord("response.create", None, len(raw), "http")
        self._service.requests.append(seen)
        try:
            seen.body = body = decode(raw)
            generation = self._service.create(body, seen)
        except ApiError as error:
            self._service.refused(seen, error)
            raise
        finally:
            self._emulator.notify(seen)
        try:
            if check_create(body, transport="http").stream:
                return await stream(request, generation, self._emulator.pace, {})
            await complete(generation, self._emulator.pace)
            return web.json_response(generation.record.resource)
        finally:
            self._service.abandon(generation)


def _translated(error: web.HTTPException, request: web.Request) -> ApiError:
    if error.status == 413:
        return ApiError(
            f"Request body too large: at most {MAX_MESSAGE_BYTES} bytes are accepted.",
            status=413,
            code="request_too_large",
        )
    if error.status == 404:
        return ApiError(f"Invalid URL ({request.method} {request.path})", status=404)
    if error.status == 405:
        return ApiError(
            f"Not allowed to {request.method} on {request.path}.", status=405, code="method_not_supported"
        )
    return ApiError(error.reason, status=error.status)
