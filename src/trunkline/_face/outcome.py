"""Outcomes of a call: an answer, a broken connection, or a call that goes to the service over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from .call import Header


class Chunks(Protocol):
    """The body of an answer."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces of the body.

        Raises:
            Broken: the connection ended.
        """

    async def aclose(self) -> None:
        """Do without the rest. Idempotent."""


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """An HTTP answer.

    Attributes:
        status: the HTTP status.
        headers: the header fields.
        body: the whole body, or its pieces.
    """

    status: int
    headers: tuple[Header, ...]
    body: bytes | Chunks = field(default=b"")

    def __repr__(self) -> str:
        return f"<Answer {self.status}>"


class Reader(Protocol):
    """Takes the body of an answer on its way to the caller."""

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes, and return those for the caller.

        Raises:
            Broken: the answer cannot be read.
        """

    def end(self) -> bytes:
        """The body has ended. Returns the rest for the caller."""


@dataclass(frozen=True, slots=True, repr=False)
class Elsewhere:
    """The call goes to the service over HTTP, by the transport that the caller gave.

    Attributes:
        body: another body; ``None`` for that of the caller.
        acts: the request may have side effects: after a failure the client must not repeat it.
        is_streamed: the request is for a stream of events.
        recording: records the response if it takes the body of an answer with status 200, and shows the
            ``previous_response_id`` of the caller; ``None`` for a request that was not read.
    """

    body: bytes | None = None
    acts: bool = False
    is_streamed: bool = True
    recording: Reader | None = None

    @property
    def is_read_at_once(self) -> bool:
        """Whether the whole body is read before the client gets the answer.

        The client repeats a request whose body breaks off, and this one may have side effects.
        """
        return self.acts and not self.is_streamed

    def __repr__(self) -> str:
        return "<Elsewhere>"


class Break(Enum):
    """What an HTTP client reports when its connection breaks."""

    CONNECT = "ConnectError"
    CONNECT_TIMEOUT = "ConnectTimeout"
    READ_TIMEOUT = "ReadTimeout"
    PROTOCOL = "RemoteProtocolError"


class Broken(Exception):
    """The connection to the service broke.

    Attributes:
        how: the exception of the HTTP client that it becomes.
    """

    def __init__(self, message: str, how: Break = Break.PROTOCOL) -> None:
        super().__init__(message)
        self.how = how


__all__ = ["Answer", "Break", "Broken", "Chunks", "Elsewhere", "Reader"]
