"""A WebSocket: bytes in, bytes out. picows is behind it, and nothing of picows is in front of it.

There is no reader task: picows calls back for each frame, the frame becomes a message, and the ``Receiver``
gets it before anything else runs. The first failure or CLOSE is the end: nothing is delivered after it.
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
from .listener import FrameListener
from .receiver import Receiver
from .route import Route, route_to
from .tcp import connect, discard
from .translation import translated
from .wakeups import Wakeups

# picows logs the upgrade request, with its Authorization, and the exceptions of callbacks. Everything that
# matters reaches the Receiver or is raised, so that its logger stays silent at every level.
_SILENT = logging.Logger("trunkline._network.websocket.silent", level=logging.CRITICAL + 1)


_PINGS = "WSProtocol._auto_ping_loop"


class WebSocket:
    """An open connection, made by ``dial``. Methods are to be called from the thread of its event loop."""

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
        """False from the moment that a CLOSE was sent or received, or the transport ended."""
        return not (self._listener.over or self._wire.is_close_frame_sent or self._tcp.is_closing())

    @property
    def buffered_bytes(self) -> int:
        """How many of the bytes written wait in this process because the kernel has not taken them."""
        return 0 if self._wire.is_disconnected else self._tcp.get_write_buffer_size()

    def send(self, payload: bytes) -> None:
        """Write one text message, in one frame and at once; what the kernel does not take is buffered.

        Raises:
            ConnectionLost: the socket is not open. ``sent`` is False: nothing was written.
        """
        if not self.is_open:  # picows would drop it silently
            raise ConnectionLost("the connection is closed; nothing was sent", sent=False)
        self._wire.send(WSMsgType.TEXT, payload)

    def close(self, code: int = 1000) -> None:
        """Send a CLOSE frame and return. Messages still arrive until the peer answers it, or its time is up.

        Does nothing when the socket is not open.
        """
        if self._loop.is_closed():
            self.drop()
        elif self.is_open:
            self._listener.close(code)

    def abort(self) -> None:
        """Drop the connection now: what is buffered is not written, and only ``on_close`` is still called."""
        if self._loop.is_closed():
            self.drop()
        else:
            self._listener.abort()

    def drop(self) -> None:
        """End the connection with what can be done at once; nothing is called back.

        May be called when the event loop is stopped or closed, and then from any thread.
        """
        self._listener.mute()
        if self._loop.is_closed():
            self._sock.close()
            return
        try:
            self._wire.send_close(WSCloseCode.GOING_AWAY)
            self._wire.disconnect(graceful=False)
        except RuntimeError:  # this is not the loop's thread; its transport sees the end when it runs again
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)

    async def wait_closed(self) -> None:
        """Wait until the connection is gone, and ``on_close`` called. Cancelling only ends the wait."""
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
    """Open a WebSocket. There is no time-out: callers bound and cancel it.

    Args:
        url: ``ws://`` or ``wss://``. Redirects are not followed: they would take the credentials along.
        headers: sent with the upgrade request.
        receiver: gets messages and the end. Not called any more when ``dial`` raises.
        wakeups: the tasks that wait for what the receiver gets; they go on when everything was read.
        ssl_context: for ``wss`` (and an ``https`` proxy); by default certificates and names are verified
            against the system's authorities, which are loaded once.
        ping_interval_s: after so many silent seconds the server is pinged.
        ping_timeout_s: an answer that takes longer ends the socket. It has to come before the next ping is
            due: what exceeds ``ping_interval_s`` is cut down to it.
        max_message_bytes: a larger message, in one frame or in many, ends the socket.
        close_timeout_s: how long the server may take to answer a CLOSE, and to take what was written before.
        proxy: ``http://``, ``https://``, ``socks5://`` or ``socks4://``; empty for none. By default the
            environment decides: HTTPS_PROXY (``wss``), HTTP_PROXY (``ws``), ALL_PROXY and NO_PROXY, in
            lower case too. As with other clients, a loopback address is no exception unless NO_PROXY has it.

    Raises:
        UpgradeRefused: the server, or something on the way, answered with ordinary HTTP.
        ConnectFailed: name resolution, TCP, TLS, the proxy or the handshake failed.
        ConfigurationError: a header cannot be sent as it is.

    Cancelling it leaves no socket, task or transport behind.
    """
    _check(headers)
    ping_timeout_s = min(ping_timeout_s, ping_interval_s)
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
            auto_ping_idle_timeout=ping_interval_s,
            auto_ping_reply_timeout=ping_timeout_s,
            max_frame_size=max_message_bytes,
            extra_headers=headers,
            max_redirects=0,
            proxy=route.proxy,
            proxy_ssl_context=context if route.secure_proxy else None,
            # The socket is ours, so that a dial that is cancelled can end it: picows keeps the transport.
            socket_factory=lambda _: sock,
            # aiofastnet takes the certificates of a context from OpenSSL, where those of truststore are not.
            use_aiofastnet=None if context is None else False,
        )
        _keep_pings()
        return WebSocket(listener, _connected(listener, route), sock)
    except BaseException as error:
        listener.mute()
        await discard(sock)
        if isinstance(error, ConnectFailed) or not isinstance(error, Exception):
            raise
        # Handshake errors of picows quote headers, so that they do not go along.
        raise translated(error, route) from (error if isinstance(error, OSError) else None)


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """Verify certificates and names against the authorities of the system. Made once per process.

    Loading the authorities blocks the event loop for tens of milliseconds.
    """
    return ssl.create_default_context()


def _keep_pings() -> None:
    """Keep picows' task of pings until it is done.

    picows gives no access to that task. If its event loop is closed, the task would be reported as destroyed
    while pending.
    """
    for task in asyncio.all_tasks():
        if getattr(task.get_coro(), "__qualname__", None) == _PINGS:
            keep(task)


def _check(headers: Mapping[str, str]) -> None:
    # picows would find this out inside a callback of the transport, and leave the dial waiting.
    for name, value in headers.items():
        if not (name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
            raise ConfigurationError(
                f"the header {name!a} contains characters that HTTP does not allow", argument="headers"
            )


def _connected(listener: FrameListener, route: Route) -> WSTransport:
    # When the server hangs up instead of answering, picows returns as if it were connected.
    if listener.wire is None:
        raise ConnectFailed(f"{route} closed the connection instead of answering the upgrade")
    if "sec-websocket-extensions" in listener.wire.response.headers:
        raise ConnectFailed(f"{route} accepted a WebSocket extension that was not offered")
    return listener.wire


__all__ = ["WebSocket", "default_ssl_context", "dial"]
