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
from collections.abc import Mapping
from contextlib import suppress

from picows import WSCloseCode, WSMsgType, WSTransport, ws_connect

from ..errors import ConfigurationError, ConnectFailed, ConnectionLost
from .background import keep
from .listener import FrameListener, ListenerState
from .receiver import Receiver
from .route import Route, route_to
from .tcp import connect, discard
from .translation import translated
from .wakeups import Wakeups

# picows logs the upgrade request, with its Authorization header, and the exceptions of callbacks. All of them
# reach the receiver or are raised here, so that its logger is disabled at every level.
_SILENT = logging.Logger("trunkline._network.websocket.silent", level=logging.CRITICAL + 1)


# The qualified name of the coroutine that picows runs for each connection if ``enable_auto_ping`` is set.
_PINGS = "WSProtocol._auto_ping_loop"


class WebSocket:
    """An open connection, made by `dial`.

    Methods other than `drop` must be called in the event loop of the connection. picows checks the thread
    only, not the loop; `Client` refuses to be used in a second one.
    """

    def __init__(self, listener: FrameListener, transport: WSTransport, sock: socket.socket) -> None:
        self._listener = listener
        self._wire = transport
        self._tcp = transport.underlying_transport
        self._sock = sock
        self._loop = asyncio.get_running_loop()

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
        self._wire.send(WSMsgType.TEXT, payload)

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
    ping_interval_s: float = 20.0,
    ping_timeout_s: float = 20.0,
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
        ping_interval_s: the silence after which a PING is sent.
        ping_timeout_s: the time limit of its PONG, after which the connection ends; at most
            ``ping_interval_s``.
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
    ping_timeout_s = min(ping_timeout_s, ping_interval_s)  # picows requires it
    route = route_to(url, proxy)
    context = ssl_context or default_ssl_context() if route.secure or route.secure_proxy else None
    listener = FrameListener(
        receiver,
        wakeups or Wakeups(),
        max_message_bytes=max_message_bytes,
        ping_timeout_s=ping_timeout_s,
        close_timeout_s=close_timeout_s,
    )
    sock = await connect(route)
    try:
        await ws_connect(
            lambda request, response: listener,
            url,
            ssl_context=context if route.secure else None,
            websocket_handshake_timeout=None,
            logger_name=_SILENT,
            enable_auto_ping=True,
            enable_auto_pong=False,  # the listener bounds the answers
            auto_ping_idle_timeout=ping_interval_s,
            auto_ping_reply_timeout=ping_timeout_s,
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
        _keep_pings()
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


def _keep_pings() -> None:
    """Keep the tasks in which picows sends PINGs, so that they can be ended if their event loop is closed.

    picows gives no access to the task of a connection, so that it is found by name. Tasks of other users of
    picows are kept too, which only prevents the report of asyncio that they were destroyed while pending.
    """
    for task in asyncio.all_tasks():
        if getattr(task.get_coro(), "__qualname__", None) == _PINGS:
            keep(task)


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
