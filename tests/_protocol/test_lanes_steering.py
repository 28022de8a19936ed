"""Lanes of responses that are steered, and of their successors."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline._protocol.events import ErrorEvent, ReceivedEvent, SteerFailed
from trunkline._protocol.lane import Lane, Run
from trunkline._protocol.lanes import Lanes

from .lane_events import (
    COMPLETED,
    FAILED,
    INCOMPLETE,
    Sink,
    completed,
    created,
    delta,
    error,
    event,
    life,
    named,
    new_lane,
    sent,
    steer,
)


def steered(lanes: Lanes, lane: Lane, ending: str = INCOMPLETE, steers: int = 1) -> Run:
    """A run whose response has ended with its steers accepted."""
    run = sent(lanes, lane)
    lanes.route(created(lane, "r1"))
    for number in range(steers):
        lanes.steering(run)
        assert lanes.route(steer("accepted", lane, "r1", f"s{number}")) is run
    assert lanes.route(life(ending, lane, "r1")) is run
    assert not run.is_over
    return run


def successor(lane: Lane, previous: str | None = "r1") -> ReceivedEvent:
    return life("response.created", lane, "r2", previous_response_id=previous)


def test_steering_events_reach_the_run_that_was_steered_alone() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    assert lanes.route(steer("accepted", lane, "r")) is None
    lanes.route(created(lane, "r"))
    lanes.steering(run)
    assert lanes.route(steer("accepted", lane, "another")) is None
    assert lanes.route(steer("accepted", lane, "r", "s")) is run


@pytest.mark.parametrize("ending", [COMPLETED, INCOMPLETE])
@pytest.mark.parametrize("previous", ["r1", None])
def test_a_lane_on_which_a_steer_was_sent_stays_with_its_run_until_the_end_of_the_successor(
    ending: str, previous: str | None
) -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = steered(lanes, lane, ending)
    assert not lane.is_idle
    assert lanes.route(delta(lane)) is None
    assert lanes.route(successor(lane, previous)) is run
    assert lanes.route(delta(lane)) is run
    assert lanes.route(completed(lane, "r2")) is run
    assert (run.is_over, lane.is_idle, lane.latest, lanes.in_flight) == (True, True, "r2", 0)


def test_a_successor_may_be_steered_as_well() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = steered(lanes, lane)
    lanes.route(successor(lane))
    lanes.steering(run)
    assert lanes.route(steer("accepted", lane, "r2", "s9")) is run
    assert lanes.route(life(INCOMPLETE, lane, "r2")) is run
    assert not run.is_over
    assert lanes.route(life("response.created", lane, "r3", previous_response_id="r2")) is run
    assert lanes.route(completed(lane, "r3")) is run
    assert run.is_over


@pytest.mark.parametrize("outcome", ["failed", "pending"])
def test_a_steer_that_comes_to_nothing_ends_the_run_of_a_response_that_has_ended(outcome: str) -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = steered(lanes, lane, COMPLETED, steers=2)
    assert lanes.route(steer(outcome, lane, "r1", "s0")) is run
    assert not run.is_over
    assert lanes.route(steer(outcome, lane, "r1", "s1")) is run
    assert run.is_over
    assert (lane.is_idle, lane.latest) == (True, "r1")


def test_a_steer_that_fails_at_once_leaves_the_response_to_end_its_run() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    lanes.route(created(lane, "r1"))
    lanes.steering(run)
    assert lanes.route(steer("failed", lane, "r1")) is run
    assert not run.is_over
    assert lanes.route(completed(lane, "r1")) is run
    assert run.is_over
    assert lane.latest == "r1"


def test_a_steer_that_is_refused_with_an_id_leaves_the_accepted_one_open() -> None:
    lanes = named()
    lane, run = waiting(lanes)
    lanes.steering(run)
    assert lanes.route(steer("accepted", lane, "r1", "s1")) is run
    assert lanes.route(steer("failed", lane, "r1", "s2")) is run
    assert (run.steers, run.accepted, run.steers_acknowledged) == (1, 1, 2)
    assert lanes.route(life(INCOMPLETE, lane, "r1")) is run
    assert lanes.route(successor(lane)) is run
    assert lanes.route(completed(lane, "r2")) is run
    assert run.is_over, "no steer is open any more"


@pytest.mark.parametrize("name", ["s2", None])
def test_a_refusal_that_is_repeated_leaves_the_accepted_steer_open(name: str | None) -> None:
    lanes = named()
    lane, run = waiting(lanes)
    lanes.steering(run)
    assert lanes.route(steer("accepted", lane, "r1", "s1")) is run
    for _ in range(2):
        assert lanes.route(steer("failed", lane, "r1", name)) is run
    assert lanes.route(life(INCOMPLETE, lane, "r1")) is run
    assert not run.is_over, "the accepted steer brings a successor"
    assert lanes.route(successor(lane)) is run


def test_an_acceptance_that_is_repeated_is_that_of_no_other_steer() -> None:
    lanes = named()
    lane, run = waiting(lanes)
    lanes.steering(run)
    for _ in range(2):
        assert lanes.route(steer("accepted", lane, "r1", "s1")) is run
    assert (run.steers, run.accepted, run.steers_acknowledged) == (2, 1, 1)


@pytest.mark.parametrize("is_over", [False, True])
def test_an_outcome_without_stream_id_belongs_to_the_response_that_it_names(*, is_over: bool) -> None:
    lanes = named()
    lane, run = waiting(lanes)
    neighbour = sent(lanes, new_lane(lanes))
    if is_over:  # the response: its run waits for the outcome
        lanes.route(completed(lane, "r1"))
    unknown, known = (
        event("response.steer.failed", None, steer={"previous_response_id": name}) for name in ("r0", "r1")
    )
    assert lanes.route(unknown) is None
    assert lanes.route(known) is run
    assert (run.steers, run.is_over, neighbour.is_over) == (0, is_over, False)


def test_an_accepted_steer_without_an_id_is_handed_back_without_one() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    lanes.route(created(lane, "r1"))
    lanes.steering(run)
    assert lanes.route(steer("accepted", lane, "r1")) is run
    assert lanes.route(life(INCOMPLETE, lane, "r1")) is run
    assert lanes.route(steer("failed", lane, "r1")) is run
    assert run.is_over


def test_what_becomes_of_a_steer_that_nobody_sent_changes_nothing() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    lanes.route(created(lane, "r1"))
    assert lanes.route(steer("failed", lane, "r1")) is run
    assert lanes.route(completed(lane, "r1")) is run
    assert run.is_over


def test_once_a_successor_has_begun_the_response_before_it_is_not_remembered() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = steered(lanes, lane, COMPLETED)
    assert lane.latest == "r1"
    lanes.route(successor(lane))
    assert lane.latest is None
    assert lanes.route(life(FAILED, lane, "r2")) is run
    assert (run.is_over, lane.latest) == (True, None)


def test_a_response_of_something_else_is_no_successor() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = steered(lanes, lane)
    assert lanes.route(successor(lane, "another")) is None
    assert lanes.route(completed(lane, "r1")) is None
    assert lanes.route(successor(lane)) is run


def test_an_error_in_place_of_a_successor_ends_the_run() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = steered(lanes, lane)
    assert lanes.route(error(lane)) is run
    assert run.is_over


def test_a_run_that_awaits_a_successor_is_not_refused_as_unstarted_and_can_be_given_up() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = steered(lanes, lane)
    assert lanes.refuse_unstarted() == []
    lanes.withdraw(run)
    assert (run.is_over, lane.is_idle) == (True, True)


def test_what_drains_is_counted() -> None:
    lanes = named()
    first, second, third = (new_lane(lanes) for _ in range(3))
    runs = [sent(lanes, first), steered(lanes, second), lanes.reserve(third, Sink())]
    for run in (*runs, *runs):
        lanes.abandon(run, 0.0)
    assert lanes.draining == 2
    lanes.route(error(first))
    assert lanes.draining == 1
    lanes.close()
    assert lanes.draining == 0


# Servers that do not know steers.


def waiting(lanes: Lanes) -> tuple[Lane, Run]:
    """A run whose response runs, with a steer that is not acknowledged."""
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    lanes.route(created(lane, "r1"))
    lanes.steering(run)
    return lane, run


def refused(lanes: Lanes, lane: str | None, **fields: Any) -> SteerFailed | None:
    found = event("error", lane, **fields)
    assert isinstance(found, ErrorEvent)
    return lanes.refused_steer(found)


def test_an_error_refuses_the_steer_that_waits_and_the_response_goes_on() -> None:
    lanes = named()
    lane, run = waiting(lanes)
    neighbour = sent(lanes, new_lane(lanes))
    assert refused(lanes, lane.name, error={"code": "c"}) is not None
    failed = refused(lanes, None, error={"code": "c", "message": "m"})
    assert failed is not None
    assert (failed.stream_id, failed.json()["error"]) == (lane.name, {"code": "c", "message": "m"})
    assert lanes.route(failed) is run
    assert not run.is_over
    assert not neighbour.is_over
    assert refused(lanes, None, error={"code": "c"}) is None, "no steer waits any more"


def test_other_errors_refuse_no_steer() -> None:
    lanes = named()
    lane, _ = waiting(lanes)
    other = new_lane(lanes)
    assert refused(lanes, other.name, error={"code": "c"}) is None
    assert refused(lanes, "unknown", error={"code": "c"}) is None
    assert refused(lanes, lane.name, response_id="r1", error={"code": "c"}) is None
    assert refused(lanes, lane.name, status=500, error={"code": "server_error"}) is None
    assert refused(lanes, lane.name, error={"code": "websocket_stream_limit_reached"}) is None


def test_a_steer_is_given_up_once_and_only_if_it_was_not_acknowledged() -> None:
    lanes = Lanes(named=False)
    lane, run = waiting(lanes)
    lanes.steering(run)
    lanes.route(steer("accepted", lane, "r1", "s1"))
    assert lanes.unanswered_steer(run, 1) is None
    failed = lanes.unanswered_steer(run, 2)
    assert failed is not None
    assert lanes.route(failed) is run
    assert lanes.unanswered_steer(run, 2) is None
    assert lanes.route(steer("accepted", lane, "r1", "s2")) is None, "too late"
    assert (run.steers, run.accepted, run.steers_acknowledged) == (1, 1, 2)
    lanes.close()
    assert lanes.unanswered_steer(run, 3) is None
