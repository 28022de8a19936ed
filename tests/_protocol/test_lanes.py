from __future__ import annotations

import gc
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline._decisions.placement import Owner
from trunkline._protocol.decoding import decode
from trunkline._protocol.events import ReceivedEvent
from trunkline._protocol.lane import Lane, Run
from trunkline._protocol.lanes import MAX_IN_FLIGHT, MAX_NAMES, Lanes

COMPLETED, FAILED, INCOMPLETE = "response.completed", "response.failed", "response.incomplete"


def event(kind: str, lane: str | None = None, **fields: Any) -> ReceivedEvent:
    envelope = {"type": kind} if lane is None else {"type": kind, "stream_id": lane}
    return decode(json.dumps({**envelope, **fields}).encode())


def life(kind: str, lane: Lane, response_id: str, **more: Any) -> ReceivedEvent:
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


# Limits and names


def test_sixteen_are_in_flight_at_once_and_32_names_used() -> None:
    lanes = named()
    runs = []
    while lanes.has_room:
        runs.append(lanes.reserve(new_lane(lanes), Sink()))
    assert len(runs) == lanes.in_flight == MAX_IN_FLIGHT == 16
    lanes.withdraw(runs[0])
    assert lanes.has_room
    names = [lane.name for lane in lanes]
    while (lane := lanes.new_lane()) is not None:
        names.append(lane.name)
    assert len(names) == len(set(names)) == MAX_NAMES == 32


def test_limits_can_only_be_made_smaller() -> None:
    small, large = named(max_in_flight=2, max_names=3), named(max_in_flight=99, max_names=99)
    assert (small.max_in_flight, small.max_names) == (2, 3)
    assert (large.max_in_flight, large.max_names) == (16, 32)


def test_without_names_one_run_at_a_time_has_the_default_lane() -> None:
    lanes = Lanes(named=False, max_in_flight=16, max_names=32)
    lane = new_lane(lanes)
    assert lane.name is None
    assert lanes.new_lane() is None
    run = sent(lanes, lane)
    assert not lanes.has_room
    assert lanes.route(created(lane, "r")) is run
    assert lanes.route(delta(lane)) is run
    assert lanes.route(completed(lane, "r")) is run
    assert lanes.has_room


def test_names_are_what_the_protocol_allows() -> None:
    lanes = named()
    for _ in range(MAX_NAMES):
        name = new_lane(lanes).name
        assert name is not None
        assert name.replace("-", "").isalnum()
        assert 1 <= len(name) <= 256


# Routing


def test_events_go_to_the_run_of_their_lane() -> None:
    lanes = named()
    first, second = new_lane(lanes), new_lane(lanes)
    runs = {lane: sent(lanes, lane) for lane in (first, second)}
    for lane in (second, first):
        assert lanes.route(created(lane, f"r-{lane.name}")) is runs[lane]
    for lane in (first, second, first):
        assert lanes.route(delta(lane)) is runs[lane]
    assert lanes.route(event("brand.new", second.name)) is runs[second]
    assert lanes.route(completed(first, f"r-{first.name}")) is runs[first]
    assert lanes.route(delta(second)) is runs[second]
    assert lanes.strays == 0


@pytest.mark.parametrize("kind", [COMPLETED, FAILED, INCOMPLETE])
def test_a_terminal_event_ends_its_run(kind: str) -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    lanes.route(created(lane, "r"))
    assert not run.is_over
    assert lanes.route(life(kind, lane, "r")) is run
    assert run.is_over
    assert (lanes.in_flight, lane.is_idle) == (0, True)


@pytest.mark.parametrize("started", [True, False])
def test_an_error_ends_the_run_whether_it_has_started_or_not(started: bool) -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    if started:
        lanes.route(created(lane, "r"))
    assert lanes.route(error(lane)) is run
    assert run.is_over
    assert lanes.in_flight == 0


def test_runs_on_one_lane_are_first_in_first_out() -> None:
    lanes = named()
    lane = new_lane(lanes)
    first, second = sent(lanes, lane), sent(lanes, lane)
    assert lanes.route(created(lane, "r1")) is first
    assert lanes.route(delta(lane)) is first
    assert lanes.route(completed(lane, "r1")) is first
    assert lanes.route(error(lane)) is second
    assert lane.is_idle


def test_duplicate_terminal_events_are_nobodys() -> None:
    lanes = named()
    lane = new_lane(lanes)
    answered(lanes, lane, "r1")
    assert lanes.route(completed(lane, "r1")) is None
    following = sent(lanes, lane)
    for kind in (COMPLETED, FAILED, INCOMPLETE, "response.in_progress", "response.created"):
        assert lanes.route(life(kind, lane, "r1")) is None
    assert (following.response_id, following.is_over) == (None, False)
    assert lanes.route(created(lane, "r2")) is following
    assert lanes.route(completed(lane, "r1")) is None
    assert not following.is_over
    assert lanes.strays == 7


def test_what_comes_before_a_response_is_created_is_nobodys() -> None:
    lanes = named()
    lane = new_lane(lanes)
    answered(lanes, lane, "r1")
    run = sent(lanes, lane)
    late = [delta(lane), event("brand.new", lane.name), steer("accepted", lane, "r1")]
    assert [lanes.route(one) for one in late] == [None, None, None]
    assert lanes.route(created(lane, "r2")) is run


def test_events_for_a_lane_that_nobody_waits_for_are_nobodys() -> None:
    lanes = named()
    lane = new_lane(lanes)
    for one in (delta(lane), error(lane), event("brand.new", lane.name), delta(Lane(lanes, "unknown"))):
        assert lanes.route(one) is None
    assert lanes.strays == 4


def test_nothing_reaches_a_run_that_was_not_sent() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = lanes.reserve(lane, Sink())
    for one in (delta(lane), error(lane), error(None), created(lane, "r"), completed(lane, "r")):
        assert lanes.route(one) is None
    assert (run.is_over, run.response_id) == (False, None)


# Errors without a lane


def test_an_error_without_a_lane_is_that_of_the_only_run_that_was_sent() -> None:
    lanes = named()
    run = sent(lanes, new_lane(lanes))
    lanes.reserve(new_lane(lanes), Sink())
    assert lanes.route(error(None)) is run
    assert run.is_over


def test_an_error_without_a_lane_is_nobodys_when_there_are_several() -> None:
    lanes = named()
    runs = [sent(lanes, new_lane(lanes)) for _ in range(2)]
    assert lanes.route(error(None)) is None
    assert not any(run.is_over for run in runs)


def test_an_error_of_another_lane_is_not_that_of_the_only_run() -> None:
    lanes = named()
    run = sent(lanes, new_lane(lanes))
    assert lanes.route(error(Lane(lanes, "unknown"))) is None
    assert lanes.route(event("response.output_text.delta", delta="x")) is None
    assert not run.is_over


def test_what_is_unstarted_can_be_refused_together() -> None:
    lanes = named()
    started, waiting, unsent = new_lane(lanes), new_lane(lanes), new_lane(lanes)
    goes_on, refused, later = sent(lanes, started), sent(lanes, waiting), lanes.reserve(unsent, Sink())
    lanes.route(created(started, "r"))
    assert lanes.refuse_unstarted() == [refused]
    assert (goes_on.is_over, refused.is_over, later.is_over) == (False, True, False)
    assert lanes.in_flight == 2


# Events with impossible fields


def test_an_invalid_event_goes_to_its_run_which_ends_only_with_a_terminal_one() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    invalid = event("response.created", lane.name, response=5)
    assert lanes.route(invalid) is run
    assert not run.is_over
    assert lanes.route(in_progress(lane, "r")) is run
    assert lanes.route(event("response.output_text.delta", lane.name, delta=5)) is run
    assert not run.is_over
    assert lanes.route(event(COMPLETED, lane.name, response=5)) is run
    assert run.is_over


@pytest.mark.parametrize("kind", [COMPLETED, FAILED, INCOMPLETE, "error"])
def test_an_invalid_end_before_the_beginning_ends_the_run(kind: str) -> None:
    lanes = Lanes(named=False)
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    assert lanes.route(event(kind, response=5, status=5, stream_id=5)) is run
    assert run.is_over


def test_an_invalid_delta_before_the_beginning_is_nobodys() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    assert lanes.route(event("response.output_text.delta", lane.name, delta=5)) is None
    assert not run.is_over


# Leaving


def test_an_abandoned_run_drains_and_its_lane_is_busy_until_the_end() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    lanes.abandon(run, 0.0)
    assert (run.sink, run.is_over, lane.is_idle, lanes.in_flight) == (None, False, False, 1)
    assert lanes.route(created(lane, "r")) is run
    assert lanes.route(delta(lane)) is run
    assert lanes.route(completed(lane, "r")) is run
    assert (lane.is_idle, lanes.in_flight) == (True, 0)


def test_an_abandoned_run_that_was_not_sent_gives_its_place_back() -> None:
    lanes = named()
    lane, source = new_lane(lanes), new_lane(lanes)
    run = lanes.reserve(lane, Sink(), fork_of=source)
    assert not source.is_idle
    lanes.abandon(run, 0.0)
    assert run.is_over
    assert (lane.is_idle, source.is_idle, lanes.in_flight) == (True, True, 0)


def test_withdrawing_twice_gives_back_one_place() -> None:
    lanes = named()
    run, other = lanes.reserve(new_lane(lanes), Sink()), sent(lanes, new_lane(lanes))
    lanes.withdraw(run)
    lanes.withdraw(run)
    assert lanes.in_flight == 1
    assert not other.is_over


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


# Responses that nobody asked for


def test_a_successor_that_nobody_asked_for_keeps_the_lane_busy_and_reaches_nobody() -> None:
    lanes = named()
    lane = new_lane(lanes)
    answered(lanes, lane, "r1")
    assert lanes.route(created(lane, "successor")) is None
    assert (lane.is_idle, lane.latest) == (False, None)
    assert lanes.route(delta(lane)) is None
    assert lanes.route(completed(lane, "successor")) is None
    assert (lane.is_idle, lane.latest) == (True, None)
    assert lanes.in_flight == 0


def test_nothing_of_a_successor_reaches_the_next_run() -> None:
    lanes = named()
    lane = new_lane(lanes)
    answered(lanes, lane, "r1")
    lanes.route(created(lane, "successor"))
    run = sent(lanes, lane)
    for one in (
        in_progress(lane, "successor"),
        delta(lane),
        event("response.output_text.delta", lane.name, delta=5),
        completed(lane, "successor"),
        completed(lane, "successor"),
        delta(lane),
    ):
        assert lanes.route(one) is None
    assert (run.response_id, run.is_over) == (None, False)
    assert lanes.route(created(lane, "r2")) is run


@pytest.mark.parametrize("ending", [COMPLETED, FAILED, INCOMPLETE, "error", "invalid"])
def test_however_a_successor_ends_its_lane_is_free_again(ending: str) -> None:
    lanes = named()
    lane = new_lane(lanes)
    lanes.route(in_progress(lane, "successor"))
    assert not lane.is_idle
    if ending == "error":
        lanes.route(error(lane))
    elif ending == "invalid":
        lanes.route(event(COMPLETED, lane.name, response=5))
    else:
        lanes.route(life(ending, lane, "successor"))
    assert lane.is_idle


def test_a_successor_that_is_already_over_leaves_the_lane_free() -> None:
    lanes = named()
    lane = new_lane(lanes)
    answered(lanes, lane, "r1")
    assert lanes.route(completed(lane, "successor")) is None
    assert (lane.is_idle, lane.latest) == (True, None)


# Steering


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


# The end of the connection


def test_closing_ends_everything_and_gives_every_run_once() -> None:
    lanes = named()
    first, second, third = (new_lane(lanes) for _ in range(3))
    answered(lanes, third, "r0")
    runs = [sent(lanes, first), sent(lanes, first), lanes.reserve(second, Sink(), fork_of=third)]
    lanes.route(created(first, "r1"))
    assert lanes.close() == runs
    assert all(run.is_over for run in runs)
    assert (lanes.in_flight, lanes.has_room, lanes.is_open) == (0, False, False)
    assert all(lane.is_idle and lane.latest is None for lane in lanes)
    assert lanes.close() == []


def test_nothing_is_routed_to_a_run_after_the_connection_has_closed() -> None:
    lanes = named()
    lane = new_lane(lanes)
    sent(lanes, lane)
    lanes.close()
    for one in (created(lane, "r"), delta(lane), completed(lane, "r"), error(lane), error(None)):
        assert lanes.route(one) is None


# Owners


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


# A random walk against a small model of the server


class Answering:
    """What the server does on one lane: it answers creates one after another."""

    def __init__(self) -> None:
        self.queue: list[Run] = []
        self.run: Run | None = None
        self.response_id: str | None = None
        self.over: list[str] = []
        self.awaiting: str | None = None
        self.steers = self.accepted = 0

    @property
    def is_free(self) -> bool:
        return self.response_id is None and self.run is None


class Walk:
    """Lanes, what the server does on each, and what should be true of the lanes then."""

    def __init__(self, names: int, data: st.DataObject) -> None:
        self.draw = data.draw
        self.lanes = named(max_in_flight=4)
        self.places = [new_lane(self.lanes) for _ in range(names)]
        self.server = {lane: Answering() for lane in self.places}
        self.reserved: dict[Lane, list[Run]] = {lane: [] for lane in self.places}
        self.forks: dict[Run, Lane] = {}
        self.latest: dict[Lane, str | None] = dict.fromkeys(self.places)
        self.responses = 0

    def step(self) -> None:
        lane = self.draw(st.sampled_from(self.places))
        server = self.server[lane]
        weights = {
            self.reserve: 2 * self.lanes.has_room * (len(self.reserved[lane]) < 2),
            self.send: 4 * any(not run.was_sent for run in self.reserved[lane]),
            self.leave: bool(self.reserved[lane]),
            self.begin: 3 * server.is_free,
            self.work: server.response_id is not None,
            self.finish: 2 * (server.response_id is not None),
            self.speak: 1,
            self.refuse: 1,
            self.repeat: bool(server.over),
            self.lose_the_way: 1,
            self.steer: 4 * (server.run is not None and server.response_id is not None),
            self.accept: 4 * (server.response_id is not None and server.accepted < server.steers),
            self.hand_back: 3 * bool(server.steers),
            self.succeed: 6 * (server.awaiting is not None and bool(server.accepted)),
        }
        self.draw(st.sampled_from([action for action, weight in weights.items() for _ in range(weight)]))(
            lane
        )
        self.check()

    def emit(self, one: ReceivedEvent, expected: Run | None) -> None:
        strays = self.lanes.strays
        assert self.lanes.route(one) is expected
        assert self.lanes.strays == strays + (expected is None)

    def over(self, lane: Lane) -> None:
        server = self.server[lane]
        if server.run is not None:
            self.reserved[lane].remove(server.run)
            self.forks.pop(server.run, None)
            assert server.run.is_over
        server.run = server.response_id = server.awaiting = None
        server.steers = server.accepted = 0

    def new_response(self) -> str:
        self.responses += 1
        return f"resp_{self.responses}"

    def reserve(self, lane: Lane) -> None:
        fork_of = self.draw(st.none() | st.sampled_from(self.places))
        run = self.lanes.reserve(lane, Sink(), fork_of=fork_of)
        self.reserved[lane].append(run)
        if fork_of is not None:
            self.forks[run] = fork_of

    def send(self, lane: Lane) -> None:
        run = next(run for run in self.reserved[lane] if not run.was_sent)
        self.lanes.sending(run)
        self.server[lane].queue.append(run)
        self.latest[lane] = None

    def leave(self, lane: Lane) -> None:
        run = self.draw(st.sampled_from(self.reserved[lane]))
        self.lanes.abandon(run, 0.0)
        assert run.sink is None
        assert run.is_over is not run.was_sent
        if not run.was_sent:
            self.reserved[lane].remove(run)
            self.forks.pop(run, None)

    def begin(self, lane: Lane) -> None:
        """The next response begins: that of the oldest create, or one that nobody asked for."""
        server = self.server[lane]
        server.response_id = self.new_response()
        server.run = server.queue.pop(0) if server.queue else None
        self.latest[lane] = None
        kind = self.draw(st.sampled_from(["created", "queued"]))
        self.emit(life(f"response.{kind}", lane, server.response_id), server.run)

    def work(self, lane: Lane) -> None:
        server = self.server[lane]
        assert server.response_id is not None
        self.emit(in_progress(lane, server.response_id), server.run)
        if server.run is not None:
            self.forks.pop(server.run, None)

    def speak(self, lane: Lane) -> None:
        server = self.server[lane]
        self.emit(delta(lane), server.run if server.response_id is not None else None)

    def finish(self, lane: Lane) -> None:
        server, run = self.server[lane], self.server[lane].run
        assert server.response_id is not None
        kind = self.draw(st.sampled_from([COMPLETED, COMPLETED, FAILED, INCOMPLETE]))
        self.emit(life(kind, lane, server.response_id), run)
        server.over.append(server.response_id)
        if kind == COMPLETED and run is not None and run.sink is not None and not server.queue:
            self.latest[lane] = server.response_id
        if run is None or not server.steers:
            self.over(lane)
        else:
            server.awaiting, server.response_id = server.response_id, None
            self.forks.pop(run, None)

    def refuse(self, lane: Lane) -> None:
        """An error: of what runs, else of what waits, else of nothing."""
        server = self.server[lane]
        if server.is_free and server.queue:
            server.run = server.queue.pop(0)
        elif server.response_id is not None:
            server.over.append(server.response_id)
        self.emit(error(lane), server.run)
        self.over(lane)

    def repeat(self, lane: Lane) -> None:
        kind = self.draw(st.sampled_from([COMPLETED, FAILED, "response.created", "response.in_progress"]))
        self.emit(life(kind, lane, self.server[lane].over[-1]), None)

    def lose_the_way(self, _: Lane) -> None:
        self.emit(delta(Lane(self.lanes, "unknown")), None)
        self.emit(error(Lane(self.lanes, "unknown")), None)

    def steer(self, lane: Lane) -> None:
        server = self.server[lane]
        assert server.run is not None
        self.lanes.steering(server.run)
        server.steers += 1

    def accept(self, lane: Lane) -> None:
        server = self.server[lane]
        assert server.response_id is not None
        server.accepted += 1
        self.emit(steer("accepted", lane, server.response_id, f"s{server.accepted}"), server.run)

    def hand_back(self, lane: Lane) -> None:
        server = self.server[lane]
        target = server.response_id or server.awaiting
        assert target is not None
        was_accepted = bool(server.accepted)
        server.steers -= 1
        server.accepted -= was_accepted
        outcome = self.draw(st.sampled_from(["failed", "pending"]))
        self.emit(steer(outcome, lane, target, "s" if was_accepted else None), server.run)
        if server.awaiting is not None and not server.steers:
            self.over(lane)

    def succeed(self, lane: Lane) -> None:
        server = self.server[lane]
        server.response_id = self.new_response()
        one = life("response.created", lane, server.response_id, previous_response_id=server.awaiting)
        server.awaiting = None
        server.steers -= server.accepted
        server.accepted = 0
        self.latest[lane] = None
        self.emit(one, server.run)

    def close(self) -> None:
        runs = [run for reserved in self.reserved.values() for run in reserved]
        assert self.lanes.close() == runs
        assert all(run.is_over for run in runs)
        assert not self.lanes.has_room
        assert self.lanes.draining == self.lanes.in_flight == 0
        assert all(lane.is_idle and lane.latest is None for lane in self.lanes)

    def check(self) -> None:
        """The lanes are as the model says."""
        assert self.lanes.in_flight == sum(map(len, self.reserved.values())) <= 4
        assert self.lanes.draining == sum(run.sink is None for run in self.lanes.runs)
        assert self.lanes.runs == [run for runs in self.reserved.values() for run in runs]
        for lane, server in self.server.items():
            assert list(lane.runs) == self.reserved[lane]
            assert lane.latest == self.latest[lane]
            assert lane.forks == list(self.forks.values()).count(lane)
            assert (lane.stray is not None) == (server.response_id is not None and server.run is None)
            started = [run for run in lane.runs if run.response_id is not None]
            assert started == ([server.run] if server.run is not None and server.response_id else [])
            assert lane.is_idle == (not lane.runs and lane.stray is None and lane not in self.forks.values())


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 3), st.integers(20, 60), st.data())
def test_whatever_happens_no_two_runs_overlap_and_every_event_reaches_its_own(
    names: int, steps: int, data: st.DataObject
) -> None:
    walk = Walk(names, data)
    for _ in range(steps):
        walk.step()
    walk.close()
