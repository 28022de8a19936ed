"""WebSocket client connection. Wraps picows; no picows type appears in this API.

A connection has no reader task: picows calls the listener for each frame, which passes whole messages to the
``Receiver`` within the same callback.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress

from picows import WSCloseCode, WSMsgType, WSTransport, ws_connect

from .._decisions.liveness import Signs
from ..errors import ConfigurationError, ConnectFailed, ConnectionLost
from .gateways import GATEWAY_MARK
from .listener import CountingListener, FrameListener, ListenerState
from .receiver import Receiver
from .route import Route, route_to
from .tcp import SocketOption, connect, discard, kernel_signs
from .translation import translated
from .wakeups import Wakeups

# picows logs the upgrade request, with its Authorization header, and the exceptions of callbacks. All of them
# reach the receiver or are raised here, so that its logger is disabled at every level.
_SILENT = logging.Logger("trunkline._network.websocket.silent", level=logging.CRITICAL + 1)


class WebSocket:
    """An open connection, made by `dial`.

    Methods other than `drop` must be called in the event loop of the connection. picows checks the thread
    only, not the loop; `Client` refuses to be used in a second one.
    """

    def __init__(self, listener: FrameListener, transport: WSTransport, sock: socket.socket) -> None:
        self._listener = listener
        self._wire = transport
        self._tcp = transport.underlying_transport
        self.is_gateway: bool = GATEWAY_MARK in transport.response.headers
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._written_bytes = 0

    def __repr__(self) -> str:
        return f"<WebSocket {'open' if self.is_open else 'closed'}>"

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent: no CLOSE was sent or received, and the transport has not ended."""
        # picows sends a CLOSE itself if a PONG is missing or a frame is invalid, before the listener knows.
        return (
            self._listener.state is ListenerState.OPEN
            and not self._wire.is_close_frame_sent
            and not self._tcp.is_closing()
        )

    @property
    def buffered_bytes(self) -> int:
        """The number of bytes sent that the kernel has not taken yet."""
        return 0 if self._wire.is_disconnected else self._tcp.get_write_buffer_size()

    def send(self, payload: bytes) -> None:
        """Send one text message in one frame, without waiting. The rest that the kernel refuses is buffered.

        The buffer has no limit here, and the ``pause_writing`` of picows only informs. The lanes limit it:
        each has one request in flight.

        Raises:
            ConnectionLost: the connection is not open. ``sent`` is False: nothing was written.
        """
        if not self.is_open:  # picows drops messages after a CLOSE without an exception
            raise ConnectionLost("the connection is closed; nothing was sent", sent=False)
        self._written_bytes += len(payload)
        self._wire.send(WSMsgType.TEXT, payload)

    def ping(self) -> None:
        """Send a PING. Does nothing if the connection is not open."""
        if self.is_open:
            self._wire.send_ping()

    def signs(self) -> Signs | None:
        """Counters of bytes that have arrived and left; ``None`` once the connection has ended.

        Where the kernel does not count them, the frames that have arrived are counted.
        """
        if not self.is_open:
            return None
        buffered_bytes = self.buffered_bytes
        try:
            signs = kernel_signs(self._sock, buffered_bytes)
        except OSError:
            return None
        if signs is not None:
            return signs
        departed = self._written_bytes - buffered_bytes
        return Signs(self._listener.frames, departed, is_leaving=bool(buffered_bytes))

    def close(self, code: int = 1000) -> None:
        """Send a CLOSE frame. Messages are delivered until the server answers it or the time limit passes.

        Does nothing if the connection is not open.
        """
        if self._loop.is_closed():
            self.drop()
        elif self.is_open:
            self._listener.close(code)

    def abort(self) -> None:
        """Drop the connection. Buffered bytes are not sent, and only ``on_close`` is still called."""
        if self._loop.is_closed():
            self.drop()
        else:
            self._listener.abort()

    def drop(self) -> None:
        """End the connection without waiting. Nothing is called back.

        May be called when the event loop is stopped or closed, and then from any thread.
        """
        self._listener.mute()
        if self._loop.is_closed():
            # Nothing can be scheduled in a closed loop, so that the transport cannot end. The kernel can.
            self._sock.close()
            return
        try:
            self._wire.send_close(WSCloseCode.GOING_AWAY)
            self._wire.disconnect(graceful=False)
        except RuntimeError:
            # picows refuses other threads than that of the loop. The transport notices the end when the loop
            # runs again.
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    async def wait_closed(self) -> None:
        """Wait until TCP has ended and ``on_close`` was called. Cancelling ends the wait only."""
        await self._listener.gone.wait()


async def dial(
    url: str,
    *,
    headers: Mapping[str, str],
    receiver: Receiver,
    wakeups: Wakeups | None = None,
    ssl_context: ssl.SSLContext | None = None,
    tcp_options: Sequence[SocketOption] = (),
    max_message_bytes: int = 64 * 2**20,
    close_timeout_s: float = 2.0,
    proxy: str | None = None,
) -> WebSocket:
    """Open a WebSocket. Has no time limit: callers set one and cancel.

    Args:
        url: ``ws://`` or ``wss://``.
        headers: sent with the upgrade request.
        receiver: receives messages and the end. Not called after ``dial`` has raised.
        wakeups: resumes the tasks that wait for messages, after the socket buffer is parsed.
        ssl_context: for ``wss`` and ``https`` proxies; by default certificates and names are verified against
            the authorities of the system.
        tcp_options: the options of the TCP socket.
        max_message_bytes: a larger message, in one frame or in several, ends the connection.
        close_timeout_s: the time limit of the answer to a CLOSE, and of sending buffered bytes before it.
        proxy: ``http://``, ``https://``, ``socks5://`` or ``socks4://``; empty for none. By default the
            variables HTTPS_PROXY (``wss``), HTTP_PROXY (``ws``), ALL_PROXY and NO_PROXY of the environment
            are read, also in lower case. Loopback addresses use the proxy too, unless NO_PROXY names them.

    Raises:
        UpgradeRefused: the server, or a proxy between, answered with ordinary HTTP.
        ConnectFailed: name resolution, TCP, TLS, the proxy or the handshake failed.
        ConfigurationError: a header contains characters that HTTP does not allow.

    Cancelling leaves no socket, task or transport open.
    """
    _check(headers)
    route = route_to(url, proxy)
    context = ssl_context or default_ssl_context() if route.secure or route.secure_proxy else None
    sock = await connect(route, tcp_options)
    listener_of = FrameListener if _is_counted(sock) else CountingListener
    listener = listener_of(
        receiver,
        wakeups or Wakeups(),
        max_message_bytes=max_message_bytes,
        close_timeout_s=close_timeout_s,
    )
    try:
        await ws_connect(
            lambda request, response: listener,
            url,
            ssl_context=context if route.secure else None,
            websocket_handshake_timeout=None,
            logger_name=_SILENT,
            enable_auto_ping=False,  # `Pulse` sends them
            enable_auto_pong=False,  # the listener bounds the answers
            max_frame_size=max_message_bytes,  # 10 MiB by default, less than some final responses
            extra_headers=headers,
            max_redirects=0,  # picows would send the Authorization header to the other server
            proxy=route.proxy,
            proxy_ssl_context=context if route.secure_proxy else None,
            # picows gives no access to the transport before the upgrade; a dial that is cancelled ends the
            # connection through its socket.
            socket_factory=lambda _: sock,
            # aiofastnet, picows' default for TLS, takes the certificates of a context from OpenSSL. Contexts
            # of truststore have none there.
            use_aiofastnet=None if context is None else False,
        )
        return WebSocket(listener, _connected(listener, route), sock)
    except BaseException as error:
        listener.mute()
        await discard(sock)
        if isinstance(error, ConnectFailed) or not isinstance(error, Exception):
            raise
        # Handshake errors of picows quote headers, so that they are not kept as the cause.
        raise translated(error, route) from (error if isinstance(error, OSError) else None)


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """Verify certificates and names against the authorities of the system. Made once per process.

    Loading the authorities blocks the event loop for tens of milliseconds.
    """
    return ssl.create_default_context()


def _is_counted(sock: socket.socket) -> bool:
    """Whether the kernel counts the bytes of a connection."""
    with suppress(OSError):
        return kernel_signs(sock, 0) is not None
    return False


def _check(headers: Mapping[str, str]) -> None:
    # picows would raise inside a callback of the transport, and the dial would wait forever.
    for name, value in headers.items():
        if not (name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
            raise ConfigurationError(
                f"the header {name!a} contains characters that HTTP does not allow", argument="headers"
            )


def _connected(listener: FrameListener, route: Route) -> WSTransport:
    # If the server closes the connection instead of answering, picows returns as after an upgrade.
    if listener.wire is None:
        problem = f"{route} closed the connection instead of answering the upgrade"
        raise ConnectFailed(problem, fault="cut")
    # picows would ignore the extension and misread the frames.
    if "sec-websocket-extensions" in listener.wire.response.headers:
        raise ConnectFailed(f"{route} accepted a WebSocket extension that was not offered")
    return listener.wire


__all__ = ["WebSocket", "default_ssl_context", "dial"]
