"""Frames in, messages out: what picows calls back, and the one end that every connection has.

picows reports frames, goes on after a callback raised, and tells of an end only by its consequences. Here
frames become messages, the first failure or CLOSE is the last thing heard, and the receiver is told once why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from ..errors import ConnectionLost, ProtocolViolation
from .receiver import Receiver
from .wakeups import Wakeups

# Bound once: in the callback of every frame, a global name is cheaper than an attribute of an enumeration.
_TEXT = WSMsgType.TEXT

_LEFT = "the client closed the connection"


def _drop(payload: bytes) -> None:
    """What arrives after the end."""


class FrameListener(WSListener):
    """picows' callbacks, and what this side does to the connection.

    Attributes:
        wire: picows' transport, once the upgrade is done.
        over: the end was reported; nothing is delivered any more.
        gone: set when the connection is no more.
    """

    def __init__(
        self,
        receiver: Receiver,
        wakeups: Wakeups,
        *,
        max_message_bytes: int,
        ping_timeout_s: float,
        close_timeout_s: float,
    ) -> None:
        self._receiver = receiver
        self._wakeups = wakeups
        self._max_message_bytes = max_message_bytes
        self._ping_timeout_s = ping_timeout_s
        self._close_timeout_s = close_timeout_s
        # What becomes of a whole message. It is exchanged when that changes, so that it need not be asked.
        self._deliver: Callable[[bytes], None] = receiver.on_message
        self._fragments: bytearray | None = None
        self._left = False  # this side wanted the end
        self._loop = asyncio.get_running_loop()
        self._deadline: asyncio.TimerHandle | None = None
        self.wire: WSTransport | None = None
        self.over = False
        self.gone = asyncio.Event()

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.wire = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        wakeups = self._wakeups
        wakeups.is_reading = True
        try:
            if frame.msg_type is _TEXT and frame.fin:
                # A copy: the frame's memory is overwritten when this returns.
                self._deliver(frame.get_payload_as_bytes())
            else:
                self._on_rare_frame(frame)
        except Exception as error:  # picows would go on with the next frame
            lost = ConnectionLost(f"processing a received message raised {type(error).__name__}")
            lost.__cause__ = error
            self._end(lost, WSCloseCode.INTERNAL_ERROR)
        finally:
            wakeups.is_reading = False
            if wakeups.due:
                if frame.last_in_buffer:
                    wakeups.flush()
                elif not wakeups.is_planned:  # a PING, which is not seen here, may be the last
                    wakeups.plan()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._loop.call_soon(_retrieve_exception, transport)
        self.gone.set()
        if not self.over:
            self.mute()
            self._notify(self._why_lost(transport))

    def mute(self) -> None:
        """Nothing is delivered from now on."""
        self.over = True
        self._deliver = _drop

    def close(self, code: int) -> None:
        """Send a CLOSE; messages are delivered until it is answered, or time is up."""
        self._left = True
        self._send_close(code)

    def abort(self) -> None:
        """Drop the connection; of what has arrived, nothing more is delivered."""
        self._left = True
        self._deliver = _drop
        if self.wire is not None:
            self.wire.disconnect(graceful=False)

    def _on_rare_frame(self, frame: WSFrame) -> None:
        kind = frame.msg_type
        if self._deliver is _drop or kind == WSMsgType.PONG:  # PINGs are answered by picows
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
            message += ": a message was too large for it"
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
            ProtocolViolation("the server sent message fragments out of order"),
            WSCloseCode.PROTOCOL_ERROR,
        )

    def _end(self, error: ConnectionLost | ProtocolViolation, code: WSCloseCode) -> None:
        """The first end is the only one: say good-bye, let nothing more in, and tell the receiver."""
        self.mute()
        self._send_close(code.value)
        if self.wire is not None:
            self.wire.disconnect()
        self._notify(error)

    def _send_close(self, code: int) -> None:
        if self.wire is None:
            return
        self.wire.send_close(WSCloseCode(code))
        if self._deadline is None:
            self._deadline = self._loop.call_later(self._close_timeout_s, self.wire.disconnect, False)

    def _notify(self, error: ConnectionLost | ProtocolViolation) -> None:
        try:
            self._receiver.on_close(error)
        except Exception as failure:
            context = {"message": "a receiver's on_close raised", "exception": failure}
            self._loop.call_exception_handler(context)

    def _why_lost(self, transport: WSTransport) -> ConnectionLost | ProtocolViolation:
        """picows tells by the CLOSE it sent why it gave a connection up."""
        if self._left:
            return ConnectionLost(_LEFT)
        handshake = transport.close_handshake
        sent = handshake.sent if handshake is not None else None
        if sent is None:
            return ConnectionLost("the connection ended without a close frame")
        if sent.code == WSCloseCode.GOING_AWAY:
            return ConnectionLost(f"the server did not answer a ping within {self._ping_timeout_s:g} s")
        if sent.code == WSCloseCode.MESSAGE_TOO_BIG:
            return self._too_large()
        return ProtocolViolation(
            f"the server broke the WebSocket protocol: {sent.reason or 'unreadable frames'}"
        )

    def _too_large(self) -> ProtocolViolation:
        return ProtocolViolation(f"the server sent a message larger than {self._max_message_bytes} bytes")


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
