"""A network without sockets, for tests of a client whose sockets open, end and receive events.

::

    network, clock = FakeNetwork(), FakeClock()
    world = trunkline.World(clock=clock, call_later=clock.call_later, dial=network.dial)
    client = trunkline.Client(api_key="…", world=world)

The test plays the server: it reads the requests in `FakeSocket.sent`, and answers with `FakeSocket.receive`,
or sets ``network.answer``. Rules of the protocol are not checked; `Emulator` does that.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import count
from typing import Any

from .._network.world import Receiver, Signs
from ..errors import ConnectionLost, NetworkError

Answer = Callable[[dict[str, Any]], Iterable[Mapping[str, Any]]]


class FakeClock:
    """A clock that stands still until it is moved on, and timers that follow it.

    Attributes:
        now: the time, in seconds. Added to, it is a time in which the process does not run: calls that
            became due in it are made late, by `advance`.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now: float = now
        self._order = count()
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def __call__(self) -> float:
        """The time, in seconds."""
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> FakeTimer:
        """Plan a call."""
        timer = FakeTimer(callback)
        heappush(self._timers, (self.now + max(0.0, delay_s), next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, and make the calls that were planned for it, each at its time."""
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            due_at, _, timer = heappop(self._timers)
            self.now = max(self.now, due_at)
            timer.fire()
        self.now = end

    def __repr__(self) -> str:
        return f"<FakeClock at {self.now:g} s>"


class FakeTimer:
    """A call that is planned on a `FakeClock`."""

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Do not call."""
        self._callback = None

    def fire(self) -> None:
        """Call now, unless it was cancelled."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class FakeSocket:
    """The client's end of a connection that does not exist.

    Attributes:
        url: the URL that was dialled.
        headers: the headers of the upgrade request.
        sent: what the client sent, as plain JSON, oldest first.
        is_open: whether the client can send.
        pings: the number of PINGs of the client.
        answers_pings: whether each PING is answered.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], receiver: Receiver, answer: Answer | None
    ) -> None:
        self.url = url
        self.headers: dict[str, str] = dict(headers)
        self.sent: list[dict[str, Any]] = []
        self.is_open: bool = True
        self.is_gateway: bool = False
        self.pings: int = 0
        self.answers_pings: bool = True
        self._received = 0
        self._receiver = receiver
        self._answer = answer
        self._gone = asyncio.Event()

    def send(self, payload: bytes) -> None:
        """Take what the client sends."""
        if not self.is_open:
            raise ConnectionLost("the connection had ended before this was sent", sent=False)
        request = json.loads(payload)
        self.sent.append(request)
        if self._answer is not None:
            asyncio.get_running_loop().call_soon(self.receive, *self._answer(request))

    def receive(self, *events: Mapping[str, Any]) -> None:
        """Bring events to the client. Does nothing once the socket is closed."""
        for event in events:
            if self.is_open:
                self._received += 1
                self._receiver.on_message(json.dumps(event).encode())

    def ping(self) -> None:
        """Take a PING of the client."""
        self.pings += 1
        self._received += self.answers_pings

    def signs(self) -> Signs | None:
        """The counters that the client reads. Its requests leave immediately."""
        return Signs(self._received, departed=0, is_leaving=False) if self.is_open else None

    def lose(self, error: ConnectionLost | None = None) -> None:
        """End the connection from the other side."""
        if not self._gone.is_set():
            self.is_open = False
            self._gone.set()
            self._receiver.on_close(error or ConnectionLost("the connection was lost"))

    def close(self, code: int = 1000) -> None:
        """Close, from the client's side."""
        self.is_open = False
        asyncio.get_running_loop().call_soon(self.lose, ConnectionLost("closed from this side"))

    def abort(self) -> None:
        """Drop, from the client's side."""
        self.close()

    def drop(self) -> None:
        """Drop, from the client's side, without a callback."""
        self.is_open = False
        self._gone.set()

    async def wait_closed(self) -> None:
        """Wait for the end."""
        await self._gone.wait()

    def __repr__(self) -> str:
        return f"<FakeSocket {'open' if self.is_open else 'closed'}: {len(self.sent)} frames sent>"


class FakeNetwork:
    """A network without sockets. Give its `dial` to a `World`.

    Attributes:
        sockets: every connection that was made, oldest first.
        refusal: raised by each dial while it is set.
        answer: gives the events that answer a request, for new sockets; ``None`` leaves that to the test.
    """

    def __init__(self, answer: Answer | None = None) -> None:
        self.sockets: list[FakeSocket] = []
        self.refusal: NetworkError | None = None
        self.answer = answer
        self._open = asyncio.Event()
        self._open.set()

    async def dial(
        self, url: str, *, headers: Mapping[str, str], receiver: Receiver, **settings: Any
    ) -> FakeSocket:
        """Make a connection, once dials are not held."""
        await self._open.wait()
        if self.refusal is not None:
            raise self.refusal
        socket = FakeSocket(url, headers, receiver, self.answer)
        self.sockets.append(socket)
        return socket

    def hold(self) -> None:
        """Let dials wait."""
        self._open.clear()

    def release(self) -> None:
        """Let dials continue."""
        self._open.set()


__all__ = ["FakeClock", "FakeNetwork", "FakeSocket", "FakeTimer"]
