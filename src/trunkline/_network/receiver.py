"""Receiver: the interface through which a socket reports messages and its end."""

from __future__ import annotations

from typing import Protocol

from ..errors import ConnectFailed, ConnectionLost, ProtocolViolation


class Receiver(Protocol):
    """Receives messages of one socket. The event loop calls it, never a method of the socket."""

    def on_message(self, payload: bytes) -> None:
        """Take one whole message.

        May be called before the dial has returned. An exception ends the socket.
        """

    def on_close(self, error: ConnectionLost | ProtocolViolation) -> None:
        """The socket is dead. Called once, after every message. Must not raise."""


class Dialling(Receiver, Protocol):
    """A receiver that is told why a dial takes long."""

    def on_refusal(self, error: ConnectFailed) -> None:
        """The server cannot be reached. Another dial follows, or the error is raised."""


__all__ = ["Dialling", "Receiver"]
