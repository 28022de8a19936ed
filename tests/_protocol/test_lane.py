"""One lane and its runs."""

from __future__ import annotations

import gc

from trunkline._decisions.placement import Owner
from trunkline._protocol.response import Response

from .lane_events import INCOMPLETE, Sink, completed, created, life, named, new_lane, sent


def test_a_lane_is_home_to_whoever_settled_last_as_long_as_they_live() -> None:
    lane = new_lane(named())
    assert lane.owner is None
    first, second = Owner(), Owner()
    lane.settle(first)
    assert lane.owner is first
    lane.settle(second)
    assert lane.owner is second
    del second
    gc.collect()
    assert lane.owner is None
    lane.settle(first)
    lane.settle(None)
    assert lane.owner is None


def test_a_lane_knows_when_it_was_used_last() -> None:
    lanes = named()
    first, second = new_lane(lanes), new_lane(lanes)
    for lane in (first, second, first):
        lanes.withdraw(lanes.reserve(lane, Sink()))
    assert first.used > second.used > 0


def test_a_run_has_started_once_its_response_has_begun_and_stays_so_after_a_steered_response() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    assert not run.has_started
    lanes.route(created(lane, "r1"))
    assert run.has_started
    lanes.steering(run)
    lanes.route(life(INCOMPLETE, lane, "r1"))
    assert (run.response_id, run.has_started) == (None, True)
    lanes.close()
    assert run.has_started


def test_the_end_of_an_abandoned_run_is_reported_once_before_or_after_it_is_known() -> None:
    lanes = named()
    run = sent(lanes, new_lane(lanes))
    response = Response(_id="r")
    reports: list[str] = []
    run.when_drained(lambda ended: reports.append(f"before {ended.id}"))
    run.drained(response)
    run.when_drained(lambda ended: reports.append(f"after {ended.id}"))
    assert reports == ["before r", "after r"]
    unheard = sent(lanes, new_lane(lanes))
    unheard.drained(response)
    unheard.when_drained(lambda ended: reports.append("late"))
    assert reports[2:] == ["late"]


def test_reprs_show_the_state() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = lanes.reserve(lane, Sink())
    assert repr(run) == "<Run on lane-0: RESERVED>"
    lanes.sending(run)
    assert (repr(run), repr(lane)) == ("<Run on lane-0: SENT>", "<Lane lane-0: 1 in flight>")
    lanes.route(created(lane, "r"))
    assert repr(run) == "<Run on lane-0: STARTED>"
    lanes.route(completed(lane, "r"))
    assert repr(run) == "<Run on lane-0: ENDED>"
