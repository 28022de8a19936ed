"""A record of every message on every socket, for those who want to look."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One message on a socket."""

    connection_id: str
    sent: bool
    """True from the server to the client, false the other way."""
    data: bytes

    @property
    def body(self) -> Any:
        """The message as JSON.

        Raises:
            msgspec.DecodeError: it is none.
        """
        return msgspec.json.decode(self.data)


class FrameLog:
    """The last messages, when `limit` is not zero."""

    def __init__(self, limit: int) -> None:
        self._enabled = limit > 0
        self.frames: deque[FrameRecord] = deque(maxlen=limit)

    def sent(self, connection_id: str, data: bytes) -> None:
        """A message went to a client."""
        if self._enabled:
            self.frames.append(FrameRecord(connection_id, True, data))

    def received(self, connection_id: str, data: bytes) -> None:
        """A message came from a client."""
        if self._enabled:
            self.frames.append(FrameRecord(connection_id, False, data))
