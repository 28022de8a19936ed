"""A WebSocket: bytes in, bytes out. picows is behind it, and nothing of picows is in front of it.

There is no reader task: picows calls back for each frame, the frame becomes a message, and the ``Receiver``
gets it before anything else runs. The first failure or CLOSE is the end: nothing is delivered after it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Protocol

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from .dialing import connect, default_ssl_context, discard, route_to, translated
from .errors import ConfigurationError, ConnectFailed, ConnectionLost, ProtocolViolation

# Bound once: in the callback of every frame, a global name is cheaper than an attribute of an enumeration.
_TEXT = WSMsgType.TEXT

_LEFT = "the connection was closed from this side"

# picows logs the upgrade request, with its Authorization, and the exceptions of callbacks. Everything that
# matters reaches the Receiver or is raised, so that its logger stays silent at every level.
_SILENT = logging.Logger("trunkline.websocket.silent", level=logging.CRITICAL + 1)


class Receiver(Protocol):
    """Who gets what a socket brings. Called by the event loop, never from within ``WebSocket``'s methods."""

    def on_message(self, payload: bytes) -> None:
        """One whole message. May come before ``dial`` has returned. Must not raise: that ends the socket."""

    def on_close(self, error: ConnectionLost | ProtocolViolation) -> None:
        """The socket is dead, for whatever reason. Called once, and nothing after it. Must not raise."""


class WebSocket:
    """An open connection, made by ``dial``. Methods are to be called from the thread of its event loop."""

    close_timeout_s: float = 2.0
    """How long the peer may take to answer a CLOSE, and the kernel to take what is written, in seconds."""

    def __init__(self, listener: _Listener, transport: WSTransport) -> None:
        self._listener = listener
        self._wire = transport
        self._tcp = transport.underlying_transport

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
            raise ConnectionLost("the connection had ended before this was sent", sent=False)
        self._wire.send(_TEXT, payload)

    def close(self, code: int = 1000) -> None:
        """Send a CLOSE frame and return. Messages still arrive until the peer answers it, or its time is up.

        Does nothing when the socket is not open.
        """
        if self.is_open:
            self._listener.close(code, self.close_timeout_s)

    def abort(self) -> None:
        """Drop the connection now: what is buffered is not written, and only ``on_close`` is still called."""
        self._listener.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone, and ``on_close`` called. Cancelling only ends the wait."""
        await self._listener.gone.wait()


async def dial(
    url: str,
    *,
    headers: Mapping[str, str],
    receiver: Receiver,
    ssl_context: ssl.SSLContext | None = None,
    ping_interval_s: float = 20.0,
    ping_timeout_s: float = 20.0,
    max_message_bytes: int = 64 * 2**20,
    proxy: str | None = None,
) -> WebSocket:
    """Open a WebSocket. There is no time-out: callers bound and cancel it.

    Args:
        url: ``ws://`` or ``wss://``. Redirects are not followed: they would take the credentials along.
        headers: sent with the upgrade request.
        receiver: gets messages and the end. Not called any more when ``dial`` raises.
        ssl_context: for ``wss`` (and an ``https`` proxy); by default certificates and names are verified
            against the system's authorities, which are loaded once.
        ping_interval_s: after so many silent seconds the server is pinged.
        ping_timeout_s: an answer that takes longer ends the socket. It has to come before the next ping is
            due: what exceeds ``ping_interval_s`` is cut down to it.
        max_message_bytes: a larger message, in one frame or in many, ends the socket.
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
    listener = _Listener(receiver, max_message_bytes, ping_timeout_s)
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
        return listener.opened(str(route))
    except BaseException as error:
        listener.mute()
        await discard(sock)
        if isinstance(error, ConnectFailed) or not isinstance(error, Exception):
            raise
        # Handshake errors of picows quote headers, so that they do not go along.
        raise translated(error, route) from (error if isinstance(error, OSError) else None)


def _check(headers: Mapping[str, str]) -> None:
    # picows would find this out inside a callback of the transport, and leave the dial waiting.
    for name, value in headers.items():
        if not (name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
            raise ConfigurationError(f"the header {name!a} holds what HTTP cannot carry", argument="headers")


def _drop(payload: bytes) -> None:
    """What arrives after the end."""


class _Listener(WSListener):
    """picows' callbacks. Frames become messages; the first end is the only one."""

    def __init__(self, receiver: Receiver, max_message_bytes: int, ping_timeout_s: float) -> None:
        self._receiver = receiver
        self._max_message_bytes = max_message_bytes
        self._ping_timeout_s = ping_timeout_s
        # What becomes of a whole message. It is exchanged when that changes, so that it need not be asked.
        self._deliver: Callable[[bytes], None] = receiver.on_message
        self._fragments: bytearray | None = None
        self._wire: WSTransport | None = None
        self._left = False  # this side wanted the end
        self._hung_up = False  # the CLOSE that was sent is ours, not picows'
        self._deadline: asyncio.TimerHandle | None = None
        self.over = False
        self.gone = asyncio.Event()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._wire = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        try:
            if frame.msg_type is _TEXT and frame.fin:
                # A copy: the frame's memory is overwritten when this returns.
                self._deliver(frame.get_payload_as_bytes())
            else:
                self._on_rare_frame(frame)
        except Exception as error:  # picows would go on with the next frame
            lost = ConnectionLost(f"a message could not be handled: {type(error).__name__}")
            lost.__cause__ = error
            self._end(lost, WSCloseCode.INTERNAL_ERROR)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        asyncio.get_running_loop().call_soon(_retrieve_exception, transport)
        self.gone.set()
        if not self.over:
            self.mute()
            self._notify(self._why_lost(transport))

    def opened(self, where: str) -> WebSocket:
        """The socket, after picows says that it is connected."""
        if self._wire is None:
            raise ConnectFailed(f"{where} closed the connection instead of answering the upgrade")
        if "sec-websocket-extensions" in self._wire.response.headers:
            raise ConnectFailed(f"{where} answered the upgrade with an extension that was not offered")
        return WebSocket(self, self._wire)

    def mute(self) -> None:
        """Nothing is delivered from now on."""
        self.over = True
        self._deliver = _drop

    def close(self, code: int, timeout_s: float) -> None:
        self._left = True
        self._send_close(code, timeout_s)

    def abort(self) -> None:
        self._left = True
        self._deliver = _drop
        if self._wire is not None and not self._wire.is_disconnected:
            self._wire.disconnect(graceful=False)

    def _on_rare_frame(self, frame: WSFrame) -> None:
        kind = frame.msg_type
        if self.over or kind == WSMsgType.PONG:  # PINGs are answered by picows
            return
        payload = frame.get_payload_as_bytes()
        if kind == WSMsgType.CLOSE:
            self._on_close_frame(payload)
        else:
            self._on_fragment(payload, continues=kind == WSMsgType.CONTINUATION, final=bool(frame.fin))

    def _on_close_frame(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big") if payload else None
        reason = payload[2:].decode("utf-8", "replace")
        message = "the server closed the connection" + (f" with code {code}" if code else "")
        if self._left:
            message = _LEFT
        elif code == WSCloseCode.MESSAGE_TOO_BIG.value:
            message += ": a message was too large for the server"
        self._end(ConnectionLost(message, close_code=code, reason=reason), WSCloseCode.OK)

    def _on_fragment(self, payload: bytes, *, continues: bool, final: bool) -> None:
        """A message is one frame, or a first one and its continuations, never mixed (RFC 6455, 5.4)."""
        if continues != (self._fragments is not None):
            return self._on_disorder(payload)
        message = self._fragments if self._fragments is not None else bytearray()
        message += payload
        if len(message) > self._max_message_bytes:
            self._end(self._too_large(), WSCloseCode.MESSAGE_TOO_BIG)
        elif final:
            self._fragments = None
            self._deliver = self._receiver.on_message
            self._deliver(bytes(message))
        else:
            self._fragments = message
            self._deliver = self._on_disorder
        return None

    def _on_disorder(self, payload: bytes) -> None:
        self._end(
            ProtocolViolation("the server sent fragments of messages out of order"),
            WSCloseCode.PROTOCOL_ERROR,
        )

    def _end(self, error: ConnectionLost | ProtocolViolation, code: WSCloseCode) -> None:
        """The first end is the only one: say good-bye, let nothing more in, and tell the receiver."""
        if self.over:
            return
        self.mute()
        self._send_close(code.value, WebSocket.close_timeout_s)
        if self._wire is not None:
            self._wire.disconnect()
        self._notify(error)

    def _send_close(self, code: int, timeout_s: float) -> None:
        if self._wire is None:
            return
        self._hung_up = True
        self._wire.send_close(WSCloseCode(code))
        if self._deadline is None:
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(timeout_s, self._wire.disconnect, False)

    def _notify(self, error: ConnectionLost | ProtocolViolation) -> None:
        try:
            self._receiver.on_close(error)
        except Exception as failure:
            context = {"message": "a receiver's on_close raised", "exception": failure}
            asyncio.get_running_loop().call_exception_handler(context)

    def _why_lost(self, transport: WSTransport) -> ConnectionLost | ProtocolViolation:
        """picows tells by the CLOSE it sent why it gave a connection up."""
        if self._left:
            return ConnectionLost(_LEFT)
        handshake = transport.close_handshake
        sent = handshake.sent if handshake is not None else None
        if sent is None or self._hung_up:
            return ConnectionLost("the connection ended without a close frame")
        if sent.code == WSCloseCode.GOING_AWAY:
            return ConnectionLost(
                f"the connection is dead: a ping was not answered within {self._ping_timeout_s:g} s"
            )
        if sent.code == WSCloseCode.MESSAGE_TOO_BIG:
            return self._too_large()
        return ProtocolViolation(
            f"the server broke the WebSocket protocol: {sent.reason or 'unreadable frames'}"
        )

    def _too_large(self) -> ProtocolViolation:
        return ProtocolViolation(f"the server sent a message of more than {self._max_message_bytes} bytes")


def _retrieve_exception(transport: WSTransport) -> None:
    # picows leaves the reason in a future, and asyncio complains when nobody looks at it. It is done by now,
    # so that the first step of the coroutine is its last.
    waiting = transport.wait_disconnected()
    try:
        waiting.send(None)
    except (StopIteration, Exception):
        pass
    finally:
        waiting.close()
