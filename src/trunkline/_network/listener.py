"""Listener of one socket: turns the frames of picows into messages, and reports the end once.

picows leaves four tasks to its users:

- It reports frames. Fragments of a message are joined here.
- It continues with the next frame after a callback has raised. Here the first failure ends the socket, and no
  message is delivered after it.
- It would answer PINGs without a bound on what the server does not read. Here they are answered and counted.
- It reports an end without its reason. Here the receiver gets one exception, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from ..errors import ConnectionLost, ProtocolViolation
from .receiver import Receiver
from .wakeups import Wakeups

# Bound once: in the callback of every frame, a global name is cheaper than an attribute of an enumeration.
_TEXT: Final = WSMsgType.TEXT

_MAX_UNSENT_PONGS: Final = 1024
"""PONGs that may wait in the write buffer: far more than a slow upload collects, and little memory."""
_CLOSED_HERE: Final = "the client closed the connection"


class ListenerState(Enum):
    """The states of a connection, as the listener sees it::

        OPEN ──close──▶ CLOSING ──────────┐
          │                │              │ CLOSE received, failure,
          ├──abort─────────┴──▶ ABORTED ──┤ transport gone, mute
          └───────────────────────────────┴──▶ ENDED

    OPEN     messages are delivered.
    CLOSING  this side sent a CLOSE; messages are delivered until the server answers it.
    ABORTED  this side dropped the connection; nothing is delivered, and the end is still to be reported.
    ENDED    the end was reported, or is of no interest; nothing is delivered.
    """

    OPEN = auto()
    CLOSING = auto()
    ABORTED = auto()
    ENDED = auto()


_CLOSED_BY_CLIENT: Final = (ListenerState.CLOSING, ListenerState.ABORTED)
_SILENT: Final = (ListenerState.ABORTED, ListenerState.ENDED)


class FrameListener(WSListener):
    """The callbacks of picows for one connection.

    Args:
        receiver: receives the messages and the end.
        wakeups: resumes tasks after the socket buffer is parsed.
        max_message_bytes: a larger message ends the connection.
        close_timeout_s: the time from a CLOSE to the end of the TCP connection.

    Attributes:
        wire: the transport of picows, after the upgrade.
        state: see `ListenerState`.
        gone: set when the TCP connection has ended.
        frames: the number of frames that have arrived, in `CountingListener`; else 0.
    """

    def __init__(
        self,
        receiver: Receiver,
        wakeups: Wakeups,
        *,
        max_message_bytes: int,
        close_timeout_s: float,
    ) -> None:
        self._receiver = receiver
        self._wakeups = wakeups
        self._max_message_bytes = max_message_bytes
        self._close_timeout_s = close_timeout_s
        # The function that takes a whole message: the receiver's, or one that refuses or drops it. It is
        # exchanged with the state, so that `on_ws_frame` need not compare anything.
        self._deliver: Callable[[bytes], None] = receiver.on_message
        self._fragments: bytearray | None = None
        self._unsent_pongs = 0
        self._loop = asyncio.get_running_loop()
        self._deadline: asyncio.TimerHandle | None = None
        self.wire: WSTransport | None = None
        self.state = ListenerState.OPEN
        self.gone = asyncio.Event()
        self.frames: int = 0

    # Callbacks of picows.

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.wire = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        wakeups = self._wakeups
        wakeups.is_reading = True
        try:
            if frame.msg_type is _TEXT and frame.fin:
                # A copy: picows overwrites the memory of the frame when this function returns.
                self._deliver(frame.get_payload_as_bytes())
            else:
                self._on_rare_frame(frame)
        except Exception as error:  # picows would continue with the next frame
            lost = ConnectionLost(f"processing a received message raised {type(error).__name__}")
            lost.__cause__ = error
            self._end(lost, WSCloseCode.INTERNAL_ERROR)
        finally:
            wakeups.is_reading = False
            if wakeups.due:
                if frame.last_in_buffer:
                    wakeups.flush()
                elif not wakeups.is_planned:  # an invalid last frame has no callback
                    wakeups.plan()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._loop.call_soon(_retrieve_exception, transport)
        self.gone.set()
        if self.state is not ListenerState.ENDED:
            error = self._why_lost(transport)
            self.mute()
            self._notify(error)

    # Actions of this side.

    def close(self, code: int) -> None:
        """Send a CLOSE. Messages are delivered until the server answers it or the time limit passes."""
        if self.state is ListenerState.OPEN:
            self.state = ListenerState.CLOSING
        self._send_close(code)

    def abort(self) -> None:
        """Drop the connection. Frames that were received but not parsed are dropped too."""
        self._silence(ListenerState.ABORTED)
        if self.wire is not None:
            self.wire.disconnect(graceful=False)

    def mute(self) -> None:
        """Deliver nothing from now on, not even the end."""
        self._silence(ListenerState.ENDED)

    def _silence(self, state: ListenerState) -> None:
        if self.state is not ListenerState.ENDED:
            self.state = state
        self._deliver = _drop

    # Frames other than unfragmented text.

    def _on_rare_frame(self, frame: WSFrame) -> None:
        kind = frame.msg_type
        # PONGs need no action: any byte is an answer to a PING.
        if self.state in _SILENT or kind == WSMsgType.PONG:
            return
        payload = frame.get_payload_as_bytes()
        if kind == WSMsgType.PING:
            self._on_ping(payload)
        elif kind == WSMsgType.CLOSE:
            self._on_close_frame(payload)
        else:
            self._on_fragment(payload, continues=kind == WSMsgType.CONTINUATION, final=bool(frame.fin))

    def _on_ping(self, payload: bytes) -> None:
        assert self.wire is not None
        if not self.wire.underlying_transport.get_write_buffer_size():
            self._unsent_pongs = 0
        self._unsent_pongs += 1
        if self._unsent_pongs > _MAX_UNSENT_PONGS:
            problem = "the server sends PINGs and does not read the answers"
            self._end(ProtocolViolation(problem), WSCloseCode.POLICY_VIOLATION)
        else:
            self.wire.send_pong(payload)

    def _on_close_frame(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big") if payload else None
        reason = payload[2:].decode("utf-8", "replace")
        message = "the server closed the connection" + (f" with code {code}" if code else "")
        if self.state in _CLOSED_BY_CLIENT:  # the answer to our CLOSE
            message = _CLOSED_HERE
        elif code == WSCloseCode.MESSAGE_TOO_BIG.value:
            message += ": a message was too large for it"
        self._end(ConnectionLost(message, close_code=code, reason=reason), WSCloseCode.OK)

    def _on_fragment(self, payload: bytes, *, continues: bool, final: bool) -> None:
        """Join fragments: a first frame and its continuations, with no other message between (RFC 6455, 5.4).

        A binary message comes here too, as a first frame that is also the last.
        """
        if continues != (self._fragments is not None):
            self._on_disorder(payload)
            return
        message = self._fragments if self._fragments is not None else bytearray()
        message += payload
        if len(message) > self._max_message_bytes:  # picows limits single frames only
            self._end(self._too_large(), WSCloseCode.MESSAGE_TOO_BIG)
        elif final:
            self._fragments = None
            self._deliver = self._receiver.on_message
            self._deliver(bytes(message))
        else:
            self._fragments = message
            self._deliver = self._on_disorder  # for an unfragmented text before the last fragment

    def _on_disorder(self, payload: bytes) -> None:
        self._end(
            ProtocolViolation("the server sent message fragments out of order"),
            WSCloseCode.PROTOCOL_ERROR,
        )

    # The end.

    def _end(self, error: ConnectionLost | ProtocolViolation, code: WSCloseCode) -> None:
        """End the connection: send a CLOSE, deliver nothing more, report the error."""
        self.mute()
        self._send_close(code.value)
        if self.wire is not None:
            self.wire.disconnect()
        self._notify(error)

    def _send_close(self, code: int) -> None:
        if self.wire is None:
            return
        self.wire.send_close(WSCloseCode(code))
        # A server that neither answers nor reads would keep the TCP connection open.
        if self._deadline is None:
            self._deadline = self._loop.call_later(self._close_timeout_s, self.wire.disconnect, False)

    def _notify(self, error: ConnectionLost | ProtocolViolation) -> None:
        try:
            self._receiver.on_close(error)
        except Exception as failure:
            context = {"message": "a receiver's on_close raised", "exception": failure}
            self._loop.call_exception_handler(context)

    def _why_lost(self, transport: WSTransport) -> ConnectionLost | ProtocolViolation:
        """The reason of an end without a CLOSE from the server.

        If picows gave the connection up, the code of the CLOSE that it sent is the only trace of its reason.
        """
        if self.state in _CLOSED_BY_CLIENT:
            return ConnectionLost(_CLOSED_HERE)
        handshake = transport.close_handshake
        sent = handshake.sent if handshake is not None else None
        if sent is None:
            return ConnectionLost("the connection ended without a close frame")
        if sent.code == WSCloseCode.MESSAGE_TOO_BIG:
            return self._too_large()
        return ProtocolViolation(
            f"the server broke the WebSocket protocol: {sent.reason or 'unreadable frames'}"
        )

    def _too_large(self) -> ProtocolViolation:
        return ProtocolViolation(f"the server sent a message larger than {self._max_message_bytes} bytes")


class CountingListener(FrameListener):
    """A listener that counts frames, for platforms whose kernel does not count bytes."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.frames += 1
        super().on_ws_frame(transport, frame)


def _drop(payload: bytes) -> None:
    """Drop a message that was received after the end."""


def _retrieve_exception(transport: WSTransport) -> None:
    # picows stores the reason of the end in a future, and asyncio reports a future whose exception is never
    # retrieved. The future is done by now, so that the first step of the coroutine is its last.
    waiting = transport.wait_disconnected()
    try:
        waiting.send(None)
    except (StopIteration, Exception):
        pass
    finally:
        waiting.close()


__all__ = ["CountingListener", "FrameListener", "ListenerState"]
