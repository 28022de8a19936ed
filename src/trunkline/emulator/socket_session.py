"""One WebSocket: frames in, lanes, events out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .connection import Connection, Job
from .errors import ApiError
from .events import Event, error_event
from .frames import frame
from .generation import Generation
from .outbox import Outbox
from .pace import Pace
from .player import Player
from .records import RequestRecord
from .request import decode, lane_of
from .schema import missing, unsupported_value, wrong_type
from .service import Service


class SocketSession:
    """What the server does with one open socket. It never waits: bytes come in by `feed`."""

    def __init__(
        self,
        service: Service,
        connection: Connection,
        outbox: Outbox,
        pace: Pace,
        loop: asyncio.AbstractEventLoop,
        decided: Callable[[RequestRecord], None],
    ) -> None:
        self._service = service
        self._connection = connection
        self._outbox = outbox
        self._pace = pace
        self._loop = loop
        self._decided = decided
        self._playing: dict[Player, Generation] = {}

    @property
    def congested(self) -> bool:
        """Whether the client does not read."""
        return self._outbox.congested

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call back once the client has read enough."""
        self._outbox.when_drained(callback)

    def write(self, data: bytes) -> None:
        """Send an event."""
        self._outbox.write(frame(data))

    def feed(self, raw: str | bytes) -> None:
        """Take a message from the client."""
        size = len(raw.encode() if isinstance(raw, str) else raw)
        seen = RequestRecord("invalid", None, size, "websocket", self._connection.id)
        self._service.requests.append(seen)
        try:
            self._accept(decode(raw), seen)
        except ApiError as error:
            self._refuse(error, seen)

    def close(self) -> None:
        """The socket is gone: stop everything that ran on it."""
        for player, generation in self._playing.items():
            player.stop()
            self._service.abandon(generation)
        self._playing.clear()
        self._outbox.close()

    def _accept(self, body: dict[str, Any], seen: RequestRecord) -> None:
        seen.body = body
        kind = body.get("type")
        if kind is None:
            raise missing("type") if "type" not in body else wrong_type("type", "a string", None)
        seen.kind = str(kind)
        if kind != "response.create":
            raise unsupported_value("type", kind, ("response.create", "response.steer"))
        lane = lane_of(body)
        seen.lane = lane
        lanes = self._connection.lanes
        lanes.admit(lane)
        self._connection.record.lane_names = lanes.names
        lanes.push(lane, Job(body, seen))
        self._start_waiting()

    def _start_waiting(self) -> None:
        lanes = self._connection.lanes
        while (taken := lanes.take()) is not None:
            lane, job = taken
            record = self._connection.record
            record.peak_in_flight = max(record.peak_in_flight, lanes.in_flight)
            try:
                generation = self._service.create(job.body, job.request, self._connection)
            except ApiError as error:
                self._refuse(error, job.request)
                lanes.finish(lane)
            else:
                self._decided(job.request)
                self._play(generation)

    def _play(self, generation: Generation) -> None:
        def ended() -> None:
            self._playing.pop(player, None)
            self._connection.lanes.finish(generation.record.lane)
            self._start_waiting()

        player = Player(generation.events(), self, self._pace, self._loop, ended)
        self._playing[player] = generation
        # Not at once, so that one request does not play inside the reading of another.
        self._loop.call_soon(player.start)

    def _refuse(self, error: ApiError, seen: RequestRecord) -> None:
        self._service.refused(seen, error)
        self._decided(seen)
        self._send(error_event(error, seen.lane))

    def _send(self, event: Event) -> None:
        self.write(event.data)
