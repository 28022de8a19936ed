"""Serving: the gateway and its listener for operators, on uvicorn, in one event loop.

One process is one replica on one core. More cores take more replicas behind a balancer.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import uvicorn
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from .._face.outcome import Broken
from ..errors import ConfigurationError
from .admin import AdminPages
from .app import Gateway
from .configuration import Configuration, Listen

_KEEP_ALIVE_S: Final = 120
"""Longer than that of balancers, which would otherwise send a request on a connection that closes."""
_PING_S: Final = 20.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_BACKLOG: Final = 2048


class _BrokenInOneLine(logging.Filter):
    """Logs an answer that broke as one line. An exception is how an application of ASGI cuts a connection."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, Broken):
            record.msg, record.args = "closed the connection of an incomplete answer: %s", (error,)
            record.exc_info = record.exc_text = None
        return True


_BROKEN_IN_ONE_LINE: Final = _BrokenInOneLine()


class _WebSocket(WebSocketsSansIOProtocol):
    """A WebSocket of a caller.

    uvicorn learns of a lost connection and of the end of a refusal in a later callback only. Until then it
    writes to the transport, which logs each write, or logs that the handshake is not complete.
    """

    async def run_asgi(self) -> None:
        """Run the application."""
        app, is_closing = self.app, self.transport.is_closing

        async def run(scope: Any, receive: Any, send: Any) -> None:
            def sent(message: Any) -> Awaitable[None]:
                if is_closing():
                    raise ClientDisconnected
                written: Awaitable[None] = send(message)
                return written

            await app(scope, receive, sent)
            self.handshake_complete = self.handshake_complete or self.close_sent

        self.app = run
        await super().run_asgi()


class _Server(uvicorn.Server):
    """A server whose signals are the gateway's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._begun = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    def stop_listening(self) -> None:
        """Take no new connections; open ones continue."""
        for server in getattr(self, "servers", ()):
            server.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell `begun`."""
        await super().startup(sockets=sockets)
        self._begun.set()

    async def begun(self) -> None:
        """Wait until it listens."""
        await self._begun.wait()


class Served:
    """A gateway that listens.

    Args:
        servers: the gateway's server, then the optional one for operators.
        urls: their URLs.

    Attributes:
        url: the gateway's URL, without a path.
        admin_url: the URL for operators; ``None`` without that listener.
        ended: a server has ended by itself.
    """

    def __init__(self, servers: Sequence[_Server], urls: Sequence[str]) -> None:
        self.url: str = urls[0]
        self.admin_url: str | None = urls[1] if len(urls) > 1 else None
        self.ended: asyncio.Event = asyncio.Event()
        self._servers = servers

    def stop_listening(self) -> None:
        """Take no new connections; open ones continue. Operators are still served."""
        self._servers[0].stop_listening()


@asynccontextmanager
async def served(gateway: Gateway) -> AsyncIterator[Served]:
    """Listen while the block runs. Its end cuts what runs: see `Gateway.drain`.

    Args:
        gateway: the gateway.

    Raises:
        ConfigurationError: an address cannot be listened on.
    """
    configuration = gateway.configuration
    logging.getLogger("uvicorn.error").addFilter(_BROKEN_IN_ONE_LINE)
    _check_tls(configuration.listen)
    servers = [_server(gateway, configuration)]
    with ExitStack() as undo:
        sockets = [undo.enter_context(_listening(configuration.listen))]
        if configuration.admin.port is not False:
            servers.append(_Server(_config(AdminPages(gateway))))
            admin = _bound(configuration.admin.host, configuration.admin.port, "admin")
            sockets.append(undo.enter_context(admin))
        undo.pop_all()  # the servers close them
    found = Served(servers, [_url(each, configuration.listen) for each in sockets])
    await gateway.open()
    tasks = [
        asyncio.create_task(server.serve(sockets=[each]))
        for server, each in zip(servers, sockets, strict=True)
    ]
    for task in tasks:
        task.add_done_callback(lambda _: found.ended.set())
    try:
        for server, task in zip(servers, tasks, strict=True):
            begun = asyncio.ensure_future(server.begun())
            await asyncio.wait({begun, task}, return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
            if task.done():  # it cannot serve, and raises the reason
                await task
        yield found
    finally:
        for server in servers:
            server.should_exit = True
        await asyncio.gather(*tasks)
        await gateway.close()
        if configuration.listen.uds is not None:
            with suppress(FileNotFoundError):
                os.unlink(configuration.listen.uds)


async def serve(
    configuration: Configuration,
    announce: Callable[[Served], None],
    reread: Callable[[], Configuration | None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return. A second SIGINT ends immediately.

    SIGHUP reads the configuration again: see `Gateway.reconfigure`.

    Args:
        configuration: the configuration.
        announce: called once the process listens.
        reread: reads the configuration again; ``None`` from it keeps the present one.

    Raises:
        ConfigurationError: an address cannot be listened on.
    """
    gateway = Gateway(configuration)
    gc.collect()
    gc.freeze()  # what was made by now lives as long as the process: no collection looks at it
    async with served(gateway) as found:
        with _stops(found.ended, gateway), _rereads(gateway, reread):
            announce(found)
            await found.ended.wait()
            drain = asyncio.create_task(gateway.drain())
            while gateway.life.takes_work:
                await gateway.life.changed()
            found.stop_listening()
            await drain


@contextmanager
def _stops(stopped: asyncio.Event, gateway: Gateway) -> Iterator[None]:
    """SIGTERM and SIGINT begin the drain; a second SIGINT ends it."""
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stopped.is_set() and number == signal.SIGINT:
            gateway.life.cut()
        stopped.set()

    with suppress(NotImplementedError):
        for number in _SIGNALS:
            loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            for number in _SIGNALS:
                loop.remove_signal_handler(number)


@contextmanager
def _rereads(gateway: Gateway, reread: Callable[[], Configuration | None] | None) -> Iterator[None]:
    """SIGHUP reads the configuration again."""
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()

    def on_signal() -> None:
        configuration = reread() if reread is not None else None
        if configuration is not None:
            task = loop.create_task(gateway.reconfigure(configuration))
            running.add(task)
            task.add_done_callback(running.discard)

    hang_up = getattr(signal, "SIGHUP", None)  # missing on Windows
    if hang_up is not None:
        loop.add_signal_handler(hang_up, on_signal)
    try:
        yield
    finally:
        if hang_up is not None:
            loop.remove_signal_handler(hang_up)


def _server(gateway: Gateway, configuration: Configuration) -> _Server:
    listen = configuration.listen
    return _Server(
        _config(
            gateway,
            ssl_certfile=listen.tls_certificate,
            ssl_keyfile=listen.tls_key,
            ws_max_size=configuration.bounds.body_bytes,
        )
    )


def _config(app: Any, **settings: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,  # it would show queries
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        ws=_WebSocket,
        ws_per_message_deflate=False,
        ws_ping_interval=_PING_S,
        ws_ping_timeout=_PING_S,
        backlog=_BACKLOG,
        **settings,
    )


def _check_tls(listen: Listen) -> None:
    """Check that certificate and key can be used: uvicorn would end the process."""
    if listen.tls_certificate is None or listen.tls_key is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            listen.tls_certificate, listen.tls_key
        )
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "they do not belong together, or are not PEM"
        raise ConfigurationError(
            f"listen.tls_certificate {listen.tls_certificate!r} with listen.tls_key {listen.tls_key!r} "
            f"cannot be used: {reason}",
            argument="tls_certificate",
        ) from None


def _listening(listen: Listen) -> socket.socket:
    if listen.uds is None:
        return _bound(listen.host, listen.port, "listen")
    path = Path(listen.uds)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if path.is_socket() and not _is_served(path):
            path.unlink()
        before = os.umask(0o177)  # the socket is its owner's alone from its first moment on
        try:
            found.bind(listen.uds)
        finally:
            os.umask(before)
    except OSError as error:
        found.close()
        raise ConfigurationError(
            f"listen.uds is {listen.uds!r}, which cannot be listened on: {error.strerror}", argument="uds"
        ) from None
    return found


def _is_served(path: Path) -> bool:
    """Whether another process listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def _bound(host: str, port: int, table: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise ConfigurationError(
            f"{table}.port is {port}, and {host}:{port} cannot be listened on: {error.strerror}",
            argument="port",
        ) from None
    return found


def _url(listening: socket.socket, listen: Listen) -> str:
    name = listening.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    scheme = "https" if listen.tls_certificate is not None else "http"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"{scheme}://{host}:{name[1]}"


__all__ = ["Served", "serve", "served"]
