"""Steering on one socket: accepts steers and creates the successors of steered responses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .._models.context import Item
from .._protocol.errors import ApiError
from .._protocol.events import Event, EventWriter
from .connection import Connection, Job
from .generation import Generation
from .records import RequestRecord
from .service import Service
from .steering import Steer, check_input, check_steer, failed


class SteeringDesk:
    """Handles the steers of one connection. `send` sends events, `play` starts a successor."""

    def __init__(
        self,
        service: Service,
        connection: Connection,
        *,
        send: Callable[[Event], None],
        play: Callable[[Generation, Job], None],
    ) -> None:
        self._service = service
        self._connection = connection
        self._steering = connection.steering
        self._send = send
        self._play = play

    def take(self, body: dict[str, Any], seen: RequestRecord) -> None:
        """Accept a steer, or return its input.

        Raises:
            ApiError: it is too malformed to be returned.
        """
        target, given = check_steer(body)
        generation, _ = self._connection.running.get(target, (None, None))
        known = generation.record if generation else self._service.responses.get(target)
        if known is not None and known.connection_id != self._connection.id:
            known = None
        seen.lane = known.lane if known else None
        code, message = self._steering.refusal(target, generation, known), None
        try:
            check_input(body)
        except ApiError as error:
            code, message = "invalid_input", error.message
        steer = Steer(target, given, seen.size_bytes)
        if code is None and generation is not None:
            seen.response_id = target
            steer = replace(steer, id=self._service.ids.new("steer"))
            self._send(self._steering.accept(generation, steer))
        else:
            code = code or "response_not_found"
            seen.error = {"code": code, "message": message}
            writer = generation.writer if generation else EventWriter(seen.lane)
            self._send(failed(steer, code, writer, message))

    def items_for(self, job: Job) -> tuple[list[Steer], list[Item]]:
        """Return the steers held for this request and their items; fail those held for another."""
        parent = job.body.get("previous_response_id")
        steers, left_behind = self._steering.release(job.request.lane, parent)
        for event in left_behind:
            self._send(event)
        return steers, _items(steers)

    def not_created(self, steers: list[Steer], lane: str | None) -> None:
        """Fail steers whose request was refused."""
        for steer in steers:
            self._send(failed(steer, "successor_creation_failed", EventWriter(lane)))

    def succeed(self, generation: Generation, job: Job) -> bool:
        """Handle the steers of an ended response. Return whether a successor has started on its lane."""
        record = generation.record
        steers = self._steering.queued.pop(record.wire_id, [])
        if not steers:
            return False
        if record.status not in ("completed", "incomplete"):
            self._hand_back(steers, "response_not_active", generation)
            return False
        if generation.owes_output:
            for event in self._steering.hold(generation, steers):
                self._send(event)
            return False
        return self._create_successor(generation, job, steers)

    def _create_successor(self, generation: Generation, job: Job, steers: list[Steer]) -> bool:
        parent = generation.record
        body = {**job.body, "previous_response_id": parent.wire_id, "input": []}
        size = sum(steer.size_bytes for steer in steers)
        seen = RequestRecord("response.steer", body, size, "websocket", self._connection.id, parent.lane)
        seen.organization = job.request.organization
        try:
            successor = self._service.create(
                body, seen, self._connection, steered=_items(steers), successor_of=parent
            )
        except ApiError as error:
            self._hand_back(steers, "successor_creation_failed", generation, error.message)
            return False
        successor.record.successor_of = parent.id
        self._play(successor, Job(body, seen))
        return True

    def _hand_back(
        self, steers: list[Steer], code: str, generation: Generation, message: str | None = None
    ) -> None:
        for steer in steers:
            self._send(failed(steer, code, generation.writer, message))


def _items(steers: list[Steer]) -> list[Item]:
    return [item for steer in steers for item in steer.items]
