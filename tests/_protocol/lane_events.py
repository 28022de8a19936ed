"""Lanes and runs, and the events of the server that their tests route."""

from __future__ import annotations

import json
from typing import Any

from trunkline._protocol.decoding import decode
from trunkline._protocol.events import ReceivedEvent
from trunkline._protocol.lane import Lane, Run
from trunkline._protocol.lanes import Lanes

COMPLETED, FAILED, INCOMPLETE = "response.completed", "response.failed", "response.incomplete"


def event(kind: str, lane: str | None = None, **fields: Any) -> ReceivedEvent:
    envelope = {"type": kind} if lane is None else {"type": kind, "stream_id": lane}
    return decode(json.dumps({**envelope, **fields}).encode())


def life(kind: str, lane: Lane, response_id: str, **more: Any) -> ReceivedEvent:
    if kind == FAILED:
        more.setdefault("error", {"code": "c"})
    return event(kind, lane.name, response={"id": response_id, **more})


def created(lane: Lane, response_id: str) -> ReceivedEvent:
    return life("response.created", lane, response_id)


def in_progress(lane: Lane, response_id: str) -> ReceivedEvent:
    return life("response.in_progress", lane, response_id)


def completed(lane: Lane, response_id: str, **more: Any) -> ReceivedEvent:
    return life(COMPLETED, lane, response_id, **more)


def delta(lane: Lane, text: str = "x") -> ReceivedEvent:
    return event("response.output_text.delta", lane.name, delta=text)


def error(lane: Lane | None) -> ReceivedEvent:
    return event("error", lane.name if lane is not None else None, error={"code": "c"})


def steer(outcome: str, lane: Lane, response_id: str, steer_id: str | None = None) -> ReceivedEvent:
    steer = {"id": steer_id, "previous_response_id": response_id}
    return event(f"response.steer.{outcome}", lane.name, steer=steer)


class Sink:
    def on_keep_alive(self) -> None: ...

    def deliver(self, event: ReceivedEvent) -> None:
        raise AssertionError("lanes route; they do not deliver")

    deliver_delta = deliver
    is_over = False

    def fail(self, failure: Any) -> None:
        raise AssertionError("lanes route; they do not deliver")


def named(**limits: int) -> Lanes:
    return Lanes(named=True, **limits)


def new_lane(lanes: Lanes) -> Lane:
    lane = lanes.new_lane()
    assert lane is not None
    return lane


def sent(lanes: Lanes, lane: Lane, fork_of: Lane | None = None) -> Run:
    run = lanes.reserve(lane, Sink(), fork_of=fork_of)
    lanes.sending(run)
    return run


def answered(lanes: Lanes, lane: Lane, response_id: str, store: bool = False) -> Run:
    """A lane whose latest response is this one."""
    run = sent(lanes, lane)
    assert lanes.route(created(lane, response_id)) is run
    assert lanes.route(completed(lane, response_id, store=store)) is run
    return run
