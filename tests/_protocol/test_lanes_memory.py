"""Memory of lanes: their latest response, and the forks that continue it on another lane."""

from __future__ import annotations

import pytest

from .lane_events import (
    COMPLETED,
    FAILED,
    INCOMPLETE,
    Sink,
    answered,
    completed,
    created,
    error,
    in_progress,
    life,
    named,
    new_lane,
    sent,
)

# What the lane remembers


def test_a_lane_remembers_its_latest_completed_response() -> None:
    lanes = named()
    lane = new_lane(lanes)
    answered(lanes, lane, "r1", store=True)
    assert (lane.latest, lane.latest_is_stored) == ("r1", True)
    answered(lanes, lane, "r2")
    assert (lane.latest, lane.latest_is_stored) == ("r2", False)


def test_a_lane_forgets_when_the_next_create_is_sent_and_not_before() -> None:
    lanes = named()
    lane = new_lane(lanes)
    answered(lanes, lane, "r1")
    run = lanes.reserve(lane, Sink())
    assert lane.latest == "r1"
    lanes.sending(run)
    assert lane.latest is None


@pytest.mark.parametrize("kind", [FAILED, INCOMPLETE, "error"])
def test_failed_and_incomplete_responses_are_not_remembered(kind: str) -> None:
    lanes = named()
    lane = new_lane(lanes)
    answered(lanes, lane, "r1")
    run = sent(lanes, lane)
    lanes.route(created(lane, "r2"))
    assert lanes.route(error(lane) if kind == "error" else life(kind, lane, "r2")) is run
    assert lane.latest is None


def test_an_abandoned_answer_is_not_remembered() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    lanes.route(created(lane, "r"))
    lanes.abandon(run, 0.0)
    assert lanes.route(completed(lane, "r")) is run
    assert lane.latest is None


def test_a_response_is_not_remembered_when_a_later_create_was_sent_meanwhile() -> None:
    lanes = named()
    lane = new_lane(lanes)
    first, second = sent(lanes, lane), sent(lanes, lane)
    lanes.route(created(lane, "r1"))
    assert lanes.route(completed(lane, "r1")) is first
    assert lane.latest is None
    lanes.route(created(lane, "r2"))
    assert lanes.route(completed(lane, "r2")) is second
    assert lane.latest == "r2"


@pytest.mark.parametrize("store", [True, False, None, "yes", 1])
def test_stored_is_what_the_response_says_is_stored(store: object) -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    assert lanes.route(completed(lane, "r", store=store)) is run
    assert lane.latest_is_stored is (store is True)


# Forks


def test_a_fork_holds_its_source_until_it_is_in_progress() -> None:
    lanes = named()
    source, lane = new_lane(lanes), new_lane(lanes)
    answered(lanes, source, "r1")
    fork = sent(lanes, lane, fork_of=source)
    assert not source.is_idle
    lanes.route(created(lane, "r2"))
    assert not source.is_idle
    lanes.route(in_progress(lane, "r2"))
    assert source.is_idle
    lanes.route(completed(lane, "r2"))
    assert (source.is_idle, source.forks, fork.fork_of) == (True, 0, None)
    assert source.latest == "r1"


@pytest.mark.parametrize("ending", [COMPLETED, FAILED, INCOMPLETE, "error", "withdraw", "close"])
def test_a_fork_that_ends_early_releases_its_source(ending: str) -> None:
    lanes = named()
    source, lane = new_lane(lanes), new_lane(lanes)
    run = lanes.reserve(lane, Sink(), fork_of=source)
    if ending == "withdraw":
        lanes.withdraw(run)
    elif ending == "close":
        lanes.close()
    else:
        lanes.sending(run)
        lanes.route(error(lane) if ending == "error" else life(ending, lane, "r"))
    assert run.is_over
    assert (source.forks, source.is_idle) == (0, True)


def test_several_forks_hold_a_source_until_the_last_is_in_progress() -> None:
    lanes = named()
    source, *others = [new_lane(lanes) for _ in range(3)]
    for lane in others:
        sent(lanes, lane, fork_of=source)
    for left, lane in enumerate(reversed(others)):
        assert source.forks == 2 - left
        lanes.route(in_progress(lane, f"r-{lane.name}"))
    assert source.is_idle
