"""World: clock, randomness and network of a client, which tests replace by ``Client(world=…)``.

`trunkline.emulator` has a `FakeClock` and a `FakeNetwork`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from .._decisions.liveness import Signs
from .receiver import Receiver


class Socket(Protocol):
    """An open WebSocket.

    Attributes:
        is_gateway: the answer to the upgrade named the server as a trunkline gateway, which has lanes.
    """

    is_gateway: bool

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent: no CLOSE was sent or received, and the transport has not ended."""

    def send(self, payload: bytes) -> None:
        """Send one text message, without waiting.

        Raises:
            ConnectionLost: the socket is not open; nothing was written.
        """

    def ping(self) -> None:
        """Send a PING. Its answer counts as received. Does nothing if the socket is not open."""

    def signs(self) -> Signs | None:
        """Counters of bytes that have arrived and left; ``None`` once the socket has ended."""

    def close(self, code: int = 1000) -> None:
        """Send a CLOSE frame. Messages may still arrive."""

    def abort(self) -> None:
        """Drop the connection now. Only ``on_close`` is still called."""

    def drop(self) -> None:
        """As `abort`; may be called when the event loop is closed."""

    async def wait_closed(self) -> None:
        """Wait until the connection has ended and ``on_close`` was called. Cancelling ends the wait."""


class Dial(Protocol):
    """Opens a WebSocket."""

    def __call__(
        self, url: str, *, headers: Mapping[str, str], receiver: Receiver, **settings: Any
    ) -> Awaitable[Socket]:
        """Open a socket to a URL.

        Raises:
            NetworkError: the socket could not be opened.
        """


async def _dial(url: str, *, headers: Mapping[str, str], receiver: Receiver, **settings: Any) -> Socket:
    # Imported at the first dial and not with the package: picows would be a third of the import time.
    from .websocket import dial

    return await dial(url, headers=headers, receiver=receiver, **settings)


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> object:
        """Do not call."""


def _call_later(delay_s: float, callback: Callable[[], object]) -> Timer:
    return asyncio.get_running_loop().call_later(delay_s, callback)


@dataclass(frozen=True, slots=True)
class World:
    """Clock, randomness and network of a client.

    Attributes:
        clock: monotonic time in seconds, for ages and deadlines.
        wall_clock: seconds since the epoch, for dates in headers.
        call_later: schedules a call after a number of seconds of ``clock``, for deadlines and upkeep.
        random: a random number from 0 to 1, for jitter.
        dial: opens WebSockets.
    """

    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    call_later: Callable[[float, Callable[[], object]], Timer] = _call_later
    random: Callable[[], float] = random.random
    dial: Dial = _dial


__all__ = ["Dial", "Receiver", "Signs", "Socket", "Timer", "World"]
