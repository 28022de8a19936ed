"""Server side of one WebSocket connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from .._protocol.errors import ApiError, connection_limit_reached
from .._protocol.events import Event, error_event
from .._protocol.request import decode
from .._protocol.schema import missing, unsupported_value, wrong_type
from .._service.connection import Connection, Job
from .._service.generation import Generation
from .._service.lanes import MAX_IN_FLIGHT
from .._service.moves import HangUp, Move, Raw
from .._service.records import RequestRecord
from .._service.steering_desk import SteeringDesk
from ..faults.action import Action
from ..faults.fault import Place
from ..faults.strike import rejection, without_parent
from ..quirks.quirks import Reading
from .backend import Backend
from .frames import frame
from .headers import ORGANIZATION
from .outbox import Outbox
from .player import Player
from .shaping import shape

MAX_QUEUED = 1024
"""Number of queued requests from which reading from the client pauses."""

_KINDS = ("response.create", "response.steer")
_CONTINUATION = 0x0
_POLICY_VIOLATION = 1008
_INTERNAL_ERROR = 1011


class Line(Protocol):
    """The transport operations that a session uses."""

    def hang_up(self, how: HangUp) -> None:
        """Close the connection."""
        ...

    def pause_reading(self, seconds: float | None) -> None:
        """Stop reading from the client for some seconds; None: until the connection closes."""
        ...


class SocketSession:
    """Handles the messages of one open socket, given to `feed`, and plays the responses. Never blocks."""

    def __init__(self, backend: Backend, connection: Connection, outbox: Outbox, line: Line) -> None:
        self._backend = backend
        self._service = backend.service
        self._quirks = backend.quirks
        self._connection = connection
        self._outbox = outbox
        self._line = line
        self._loop = asyncio.get_running_loop()
        self._desk = SteeringDesk(self._service, connection, send=self.write, play=self._play)
        self._playing: dict[Player, Generation | None] = {}
        self._closed = False
        self._has_read = False
        self._room = asyncio.Event()

    @property
    def congested(self) -> bool:
        """Whether the client reads too slowly for the write buffer."""
        return self._outbox.congested

    async def ready(self) -> None:
        """Wait until the next message may be read: the write buffer and the request queue have room."""
        while self.congested or self._connection.lanes.queued >= MAX_QUEUED:
            self._room.clear()
            if self.congested:
                self._outbox.when_drained(self._room.set)
            await self._room.wait()

    def when_drained(self, callback: Callable[[], None]) -> None:
        """Call back when the client has read enough."""
        self._outbox.when_drained(callback)

    def write(self, event: Event) -> None:
        """Send an event."""
        self._backend.log.sent(self._connection.id, event.data)
        self._outbox.write(frame(event.data))

    def write_raw(self, message: Raw) -> None:
        """Send a message that is not a whole event, in as many frames as it asks."""
        self._backend.log.sent(self._connection.id, message.data)
        size = -(-len(message.data) // message.fragments) or 1
        parts = [message.data[start : start + size] for start in range(0, len(message.data), size)]
        for index, part in enumerate(parts):
            kind = {} if index == 0 else {"opcode": _CONTINUATION}
            self._outbox.write(frame(part, final=index == len(parts) - 1, **kind))

    def hang_up(self, how: HangUp) -> None:
        """Close the connection."""
        self._outbox.flush()
        self._line.hang_up(how)
        self.close()

    def feed(self, raw: str | bytes) -> None:
        """Handle a message from the client."""
        data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
        self._backend.log.received(self._connection.id, data)
        seen = RequestRecord("invalid", None, len(data), "websocket", self._connection.id)
        seen.organization = self._connection.record.headers.get(ORGANIZATION)
        self._service.received(seen)
        try:
            body = self._decoded(data, seen)
            if body is not None:
                self._accept(body, seen)
        except ApiError as error:
            self._refuse(error, seen)

    def expire(self) -> None:
        """Report the connection limit and close the connection."""
        self._report(error_event(connection_limit_reached(), None))
        self.hang_up(HangUp(1000))

    def close(self) -> None:
        """Stop all responses of the socket after it has closed. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for player, generation in self._playing.items():
            player.stop()
            if generation is not None:
                self._service.abandon(generation)
        self._playing.clear()
        self._connection.running.clear()
        self._outbox.close()

    def _decoded(self, data: bytes, seen: RequestRecord) -> dict[str, Any] | None:
        """The message as JSON; None if quirks ignore it, or close the connection.

        Raises:
            ApiError: it is not a JSON object.
        """
        problem = None
        try:
            seen.body = decode(data)
        except ApiError as error:
            problem = error
        kind = seen.body.get("type") if seen.body is not None else None
        reading = self._quirks.reading(kind, is_first=not self._has_read)
        self._has_read = True
        if reading is Reading.TAKE:
            if problem is not None:
                raise problem
            return seen.body
        self._backend.notify(seen)
        if reading is Reading.CLOSE:
            self.hang_up(HangUp(_POLICY_VIOLATION))
        return None

    def _accept(self, body: dict[str, Any], seen: RequestRecord) -> None:
        kind = body.get("type")
        if kind is None:
            raise missing("type") if "type" not in body else wrong_type("type", "a string", None)
        if not isinstance(kind, str):
            raise wrong_type("type", "a string", kind)
        seen.kind = kind
        if kind == "response.steer":
            self._quirks.check_steer()
            self._desk.take(body, seen)
            self._backend.notify(seen)
        elif kind == "response.create":
            self._queue(body, seen)
        else:
            raise unsupported_value("type", kind, _KINDS)

    def _queue(self, body: dict[str, Any], seen: RequestRecord) -> None:
        """Queue a request for a response on its lane."""
        body = self._with_bound_model(body)
        model = body.get("model")
        if isinstance(model, str) and not self._quirks.knows_model(self._service.behaviour.knows(model)):
            self._backend.notify(seen)
            self.hang_up(HangUp(_INTERNAL_ERROR))
            return
        lanes = self._connection.lanes
        seen.lane = self._quirks.lane_of(body)
        self._quirks.check_load(lanes.in_flight + lanes.queued, MAX_IN_FLIGHT)
        lanes.admit(seen.lane)
        self._connection.record.lane_names = lanes.names
        lanes.push(seen.lane, Job(body, seen))
        self._start_waiting()

    def _with_bound_model(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request with the model to which quirks bind the connection."""
        connection, asked = self._connection, body.get("model")
        bound = connection.model or connection.record.query.get("model")
        connection.model = self._quirks.bound_model(bound, asked)
        return body if connection.model == asked else body | {"model": connection.model}

    def _start_waiting(self) -> None:
        lanes = self._connection.lanes
        while not self._closed and (taken := lanes.take()) is not None:
            lane, job = taken
            record = self._connection.record
            record.peak_in_flight = max(record.peak_in_flight, lanes.in_flight)
            if not self._start(job):
                lanes.finish(lane)
        if lanes.queued < MAX_QUEUED:
            self._room.set()

    def _start(self, job: Job) -> bool:
        """Start a response. Return False if the request was refused."""
        seen = job.request
        place = self._place(job)
        steers, items = self._desk.items_for(job)
        try:
            body = self._strike(place, job.body)
            generation = self._service.create(body, seen, self._connection, steered=items)
        except ApiError as error:
            self._refuse(error, seen, place)
            self._desk.not_created(steers, seen.lane)
            return False
        self._backend.notify(seen)
        self._play(generation, job, place)
        return True

    def _strike(self, place: Place, body: dict[str, Any]) -> dict[str, Any]:
        """The body of a request as the server takes it, after faults."""
        for fault in self._backend.faults.at_request(place):
            if fault.action is Action.FORGET:
                self._connection.cache.forget()
            elif fault.action is Action.SLOW_READ:
                self._line.pause_reading(fault.seconds)
            elif fault.action is Action.IGNORE_PARENT:
                body = without_parent(body)
            else:
                raise rejection(fault)
        return body

    def _play(self, generation: Generation, job: Job, place: Place | None = None) -> None:
        record = generation.record
        self._connection.running[record.wire_id] = (generation, job)
        place = replace(place or self._place(job), response_id=record.id)

        def ended() -> None:
            self._playing.pop(player, None)
            self._connection.running.pop(record.wire_id, None)
            self._service.abandon(generation)
            if self._closed or not self._desk.succeed(generation, job):
                self._connection.lanes.finish(record.lane)
                self._start_waiting()

        moves = self._backend.faults.play(generation.moves(), place)
        player = self._player(shape(moves, self._quirks), ended)
        self._playing[player] = generation
        # Deferred, so that one request does not play while another is being read.
        self._loop.call_soon(player.start)

    def _player(self, moves: Iterator[Move], ended: Callable[[], None]) -> Player:
        return Player(moves, self, self._backend.pace, self._loop, ended)

    def _place(self, job: Job) -> Place:
        model = job.body.get("model")
        return Place(
            connection=self._connection.record.number,
            connection_id=self._connection.id,
            request=self._backend.count_request(),
            lane=job.request.lane,
            model=model if isinstance(model, str) else None,
        )

    def _refuse(self, error: ApiError, seen: RequestRecord, place: Place | None = None) -> None:
        self._service.refused(seen, error)
        self._backend.notify(seen)
        event = error_event(error, seen.lane)
        faults = self._backend.faults
        if not faults:
            self._report(event)
            return

        def ended() -> None:
            self._playing.pop(player, None)

        place = place or Place(self._connection.record.number, self._connection.id, lane=seen.lane)
        player = self._player(shape(faults.play(iter([event]), place), self._quirks), ended)
        self._playing[player] = None
        player.start()

    def _report(self, event: Event) -> None:
        """Send an error in the server's shape."""
        for shaped in self._quirks.shaped(event):
            self.write(shaped)
