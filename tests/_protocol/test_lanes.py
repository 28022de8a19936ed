"""Routing: the run that an event belongs to, and what becomes of it."""

from __future__ import annotations

import pytest

from trunkline._protocol.lane import Lane, Run
from trunkline._protocol.lanes import MAX_IN_FLIGHT, MAX_NAMES, Lanes

from .lane_events import (
    COMPLETED,
    FAILED,
    INCOMPLETE,
    Sink,
    answered,
    completed,
    created,
    delta,
    error,
    event,
    in_progress,
    life,
    named,
    new_lane,
    sent,
    steer,
)

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
    for kind in (COMPLETED, FAILED, INCOMPLETE, "response.in_progress"):
        assert lanes.route(life(kind, lane, "r1")) is None
    assert (following.response_id, following.is_over) == (None, False)
    assert lanes.route(created(lane, "r2")) is following
    assert lanes.strays == 5
    assert not lanes.repeats_ids


def test_what_comes_before_a_response_is_created_is_nobodys() -> None:
    lanes = named()
    lane = new_lane(lanes)
    answered(lanes, lane, "r1")
    run = sent(lanes, lane)
    late = [delta(lane), event("brand.new", lane.name), steer("accepted", lane, "r1")]
    assert [lanes.route(one) for one in late] == [None, None, None]
    assert lanes.route(created(lane, "r2")) is run


def test_a_response_with_the_id_of_the_one_before_it_belongs_to_the_next_request() -> None:
    lanes = named()
    lane, other = new_lane(lanes), new_lane(lanes)
    answered(lanes, lane, "same")
    for at in (lane, other):
        run = sent(lanes, at)
        assert lanes.route(created(at, "same")) is run
        assert lanes.route(delta(at)) is run
        assert lanes.route(completed(at, "same")) is run
        assert run.is_over
    assert lanes.repeats_ids
    assert lanes.strays == 0


def test_an_id_that_two_responses_have_at_the_same_time_is_not_clear() -> None:
    lanes = named()
    one, other = new_lane(lanes), new_lane(lanes)
    sent(lanes, one)
    sent(lanes, other)
    lanes.route(created(one, "same"))
    assert lanes.has_clear_ids
    lanes.route(created(other, "same"))
    assert not lanes.has_clear_ids, "the id of either names the other one too"


@pytest.mark.parametrize("is_named", [False, True])
def test_a_late_repetition_of_created_begins_no_response(*, is_named: bool) -> None:
    lanes = Lanes(named=is_named)
    lane = new_lane(lanes)
    for response_id in ("r1", "r2"):
        answered(lanes, lane, response_id)
    run = sent(lanes, lane)
    assert [lanes.route(one) for one in (created(lane, "r2"), delta(lane))] == [None, None]
    assert lanes.route(created(lane, "r3")) is run
    assert run.response_id == "r3"
    assert not lanes.repeats_ids


def test_an_id_is_clear_until_a_second_request_and_again_once_the_server_gave_two_ids() -> None:
    lanes = Lanes(named=False)
    lane = new_lane(lanes)
    assert lanes.has_clear_ids
    answered(lanes, lane, "r1")
    assert lanes.has_clear_ids
    run = sent(lanes, lane)
    assert not lanes.has_clear_ids
    lanes.route(created(lane, "r2"))
    assert lanes.has_clear_ids
    lanes.route(completed(lane, "r2"))
    sent(lanes, lane)
    assert run.is_over
    assert lanes.has_clear_ids


def test_an_id_stays_clear_once_the_server_gave_two_ids_or_the_connection_has_ended() -> None:
    ended, telling = Lanes(named=False), Lanes(named=False)
    answered(ended, new_lane(ended), "r1")
    assert not ended.keeps_clear_ids
    ended.close()
    assert ended.keeps_clear_ids
    lane = new_lane(telling)
    for response_id in ("r1", "r2"):
        answered(telling, lane, response_id)
    assert telling.keeps_clear_ids


def test_an_id_that_was_given_twice_is_never_clear_again() -> None:
    lanes = Lanes(named=False)
    lane = new_lane(lanes)
    for response_id in ("r1", "r1", "r2", "r3"):
        answered(lanes, lane, response_id)
    assert not lanes.has_clear_ids


def test_a_server_with_lanes_gives_clear_ids() -> None:
    lanes = named()
    lane = new_lane(lanes)
    answered(lanes, lane, "r1")
    sent(lanes, lane)
    assert lanes.has_clear_ids


def test_the_id_of_a_response_may_change_while_it_runs() -> None:
    lanes = named()
    lane = new_lane(lanes)
    answered(lanes, lane, "r1")
    run = sent(lanes, lane)
    assert lanes.route(created(lane, "r2")) is run
    assert lanes.route(in_progress(lane, "r3")) is run
    assert lanes.route(completed(lane, "r4")) is run
    assert (run.is_over, lane.latest, lanes.repeats_ids) == (True, "r4", False)


@pytest.mark.parametrize("response_id", ["", "same"])
def test_a_server_without_created_events_begins_responses_with_output_or_the_end(response_id: str) -> None:
    lanes = named()
    lane = new_lane(lanes)
    for _ in range(2):
        run = sent(lanes, lane)
        assert lanes.route(delta(lane)) is run
        assert run.has_started
        assert lanes.route(completed(lane, response_id)) is run
        run = sent(lanes, lane)
        assert lanes.route(completed(lane, response_id)) is run
        assert run.is_over
    assert lane.latest == (response_id or None)


def test_output_begins_the_first_response_of_a_lane() -> None:
    lanes = named()
    answered(lanes, new_lane(lanes), "r1")
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    assert lanes.route(delta(lane)) is run


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


@pytest.mark.parametrize("kind", ["response.created", "response.output_text.delta", COMPLETED, "error"])
def test_an_invalid_event_is_nobodys_where_nothing_was_sent(kind: str) -> None:
    lanes = named()
    lane = new_lane(lanes)
    invalid = event(kind, lane.name, response=5, delta=5)
    assert lanes.route(invalid) is None
    run = lanes.reserve(lane, Sink())
    assert lanes.route(invalid) is None
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


# Responses without a create


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


# A failed response without a reason


def unexplained(lanes: Lanes) -> Run:
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    lanes.route(created(lane, "r"))
    assert lanes.route(life(FAILED, lane, "r", error=None)) is run
    return run


def test_an_error_after_a_failed_response_without_a_reason_belongs_to_its_run() -> None:
    lanes = named()
    run = unexplained(lanes)
    assert (run.is_over, run.lane.is_idle) == (False, False)
    assert lanes.route(delta(run.lane)) is None
    assert lanes.route(error(run.lane)) is run
    assert (run.is_over, run.lane.is_idle, lanes.in_flight) == (True, True, 0)


def test_a_second_failure_ends_the_run() -> None:
    for second in ({"error": None}, {}):
        lanes = named()
        run = unexplained(lanes)
        assert lanes.route(life(FAILED, run.lane, "r", **second)) is run
        assert run.is_over


def test_a_run_that_waits_for_a_reason_ends_when_its_caller_leaves() -> None:
    lanes = named()
    run = unexplained(lanes)
    lanes.abandon(run, 1.0)
    assert (run.is_over, lanes.in_flight, lanes.draining) == (True, 0, 0)
    assert lanes.route(error(run.lane)) is None


def test_an_abandoned_run_does_not_wait_for_a_reason() -> None:
    lanes = named()
    lane = new_lane(lanes)
    run = sent(lanes, lane)
    lanes.route(created(lane, "r"))
    lanes.abandon(run, 1.0)
    lanes.route(life(FAILED, lane, "r", error=None))
    assert (run.is_over, lanes.draining) == (True, 0)
