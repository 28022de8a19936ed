"""Log of the messages on all sockets, for tests."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One message on a socket."""

    connection_id: str
    sent: bool
    """True for messages from the server, false for messages from the client."""
    data: bytes = field(repr=False)

    @property
    def body(self) -> Any:
        """The message as JSON.

        Raises:
            msgspec.DecodeError: the message is not valid JSON.
        """
        return msgspec.json.decode(self.data)


class FrameLog:
    """The last `limit` messages; 0 disables the log."""

    def __init__(self, limit: int) -> None:
        self._enabled = limit > 0
        self.frames: deque[FrameRecord] = deque(maxlen=limit)

    def sent(self, connection_id: str, data: bytes) -> None:
        """Record a message to a client."""
        if self._enabled:
            self.frames.append(FrameRecord(connection_id, True, data))

    def received(self, connection_id: str, data: bytes) -> None:
        """Record a message from a client."""
        if self._enabled:
            self.frames.append(FrameRecord(connection_id, False, data))
