"""Answers made in advance, so that a count of instructions includes little of the server.

``Messages`` hands whole messages to a receiver, without a socket. ``Lockstep`` serves HTTP and WebSocket on
loopback in the client's own event loop: it writes a burst of events, and the next one only when the client
has read the last one. The number of reads and wake-ups is therefore the same in each run.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

from load.answer import Answer
from load.order import Order, decode_request
from load.wire import Wire

Event = tuple[bytes, str]
"""The payload of an event and its type."""


@dataclass(frozen=True)
class Played:
    """The events of one answer, in order."""

    before: list[Event]
    pieces: list[Event]
    after: list[Event]


class Script:
    """Makes answers with a fixed number of text deltas. The deltas are encoded once."""

    def __init__(self, deltas: int) -> None:
        self._deltas = deltas
        self._pieces: list[Event] = []

    def play(self, request: bytes) -> Played:
        """The answer to one request."""
        events: list[Event] = []
        answer = Answer(
            decode_request(request), Order(deltas=self._deltas), lambda *event: events.append(event)
        )
        answer.begin()
        before, events[:] = list(events), []
        if self._pieces:
            answer._sequence += self._deltas
            answer._texts = ["word"] * self._deltas
        else:
            while answer.left:
                answer.piece()
            self._pieces, events[:] = list(events), []
        answer.end()
        return Played(before, self._pieces, events)


class Messages:
    """Stands in for an open WebSocket: answers each request with whole messages, without framing."""

    is_open = True
    is_gateway = False
    buffered_bytes = 0

    def __init__(self, receiver: Any, script: Script) -> None:
        self._receiver = receiver
        self._script = script
        self._pieces: list[bytes] = []

    def send(self, payload: bytes) -> None:
        """Answer in the next iteration of the event loop."""
        played = self._script.play(payload)
        self._pieces = self._pieces or _payloads(played.pieces)
        messages = _payloads(played.before) + self._pieces + _payloads(played.after)
        asyncio.get_running_loop().call_soon(self._deliver, messages)

    def _deliver(self, messages: list[bytes]) -> None:
        for message in messages:
            self._receiver.on_message(message)

    def ping(self) -> None:
        """Do nothing."""

    def signs(self) -> None:
        """Nothing to judge the connection by."""

    def close(self, code: int = 1000) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""

    async def wait_closed(self) -> None:
        """Return at once."""


def _payloads(events: list[Event]) -> list[bytes]:
    return [payload for payload, _ in events]


class Lockstep(Wire):
    """One loopback connection whose answers advance with their reader.

    Attributes:
        playing: the connection that is answering.
    """

    playing: ClassVar[Lockstep]

    def __init__(self, script: Script, burst: int) -> None:
        super().__init__()
        self._script = script
        self._burst = burst
        self._bursts: dict[int, bytes] = {}
        self._played = Played([], [], [])
        self._read = 0

    def on_request(self, body: bytes, *, arrived_first: bool) -> None:
        Lockstep.playing = self
        self._played = self._script.play(body)
        self._read = 0
        self.begin_events()
        self.write(self._encoded(self._played.before) + self._burst_from(0))

    def on_read(self) -> None:
        """Record that the client read a delta. After the last one of a burst, the next burst is written."""
        self._read += 1
        if self._read == len(self._played.pieces):
            end = b"" if self.is_socket else b"0\r\n\r\n"
            self.write(self._encoded(self._played.after) + end)
        elif self._read % self._burst == 0:
            self.write(self._burst_from(self._read))

    def _burst_from(self, start: int) -> bytes:
        if start not in self._bursts:
            self._bursts[start] = self._encoded(self._played.pieces[start : start + self._burst])
        return self._bursts[start]

    def _encoded(self, events: list[Event]) -> bytes:
        return b"".join(self.encode(*event) for event in events)
