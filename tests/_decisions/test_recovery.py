from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trunkline._decisions.recovery import IN_FULL, Action, Cause, Decision, Facts, decide
from trunkline._protocol.failure import Failure, FailureKind
from trunkline.options import Policy

POLICY = Policy()
RAISED = Decision(Action.RAISE)


def after(failure: Failure, policy: Policy = POLICY, **facts: Any) -> Decision:
    known: dict[str, Any] = {
        "output_seen": False,
        "attempt": 1,
        "remaining_s": None,
        "may_replay": True,
        "names_parent": False,
    }
    return decide(Facts(failure=failure, **{**known, **facts}), policy)


def lost(**facts: Any) -> Failure:
    return Failure.lost("the connection was lost", **{"sent": True, **facts})


def refused(code: str | None = None, status: int | None = 400, **facts: Any) -> Failure:
    return Failure(kind=FailureKind.REFUSED, code=code, status=status, **{"sent": True, **facts})


def failed(code: str | None, **facts: Any) -> Failure:
    return Failure(kind=FailureKind.FAILED, code=code, sent=True, started=True, **facts)


def upgrade(status: int, **facts: Any) -> Failure:
    return Failure(kind=FailureKind.UPGRADE, status=status, **facts)


NO_ROUTE = Failure.connect("no route")
UNREACHABLE = Failure.connect("refused", fault="unreachable")
UNTRUSTED = Failure.connect("not trusted", fault="final")
CUT = Failure.connect("cut", fault="cut")
TOO_LARGE = Failure.too_large(17, 16)
SILENT = Failure.deadline("first_event", 1.0, sent=True)
SLOW = Failure(kind=FailureKind.SLOW_CONSUMER, buffered=3, sent=True, started=True)
NOT_FOUND = refused("previous_response_not_found")
LOST_ITEM = refused(None, 404, message="Item with id 'rs_1' not found. Items are not persisted")
EVERY_FAILURE: list[Failure] = [
    NOT_FOUND,
    LOST_ITEM,
    refused("websocket_connection_limit_reached"),
    refused("websocket_stream_limit_reached"),
    refused("rate_limit_exceeded", 429),
    refused(None, 503),
    refused("invalid_prompt"),
    failed("server_error"),
    failed("invalid_prompt"),
    lost(),
    lost(sent=False),
    Failure.violation("not JSON", sent=True),
    Failure.ignored(),
    NO_ROUTE,
    UNREACHABLE,
    UNTRUSTED,
    CUT,
    TOO_LARGE,
    upgrade(404),
    upgrade(429),
    upgrade(503),
    SLOW,
    *(Failure.deadline(phase, 1.0, sent=phase != "connect") for phase in ("connect", "first_event", "total")),
]


# previous_response_not_found


def test_a_lost_parent_is_forgotten_and_the_turn_is_sent_again_at_once() -> None:
    decision = after(NOT_FOUND, names_parent=True)
    assert decision == Decision(Action.AGAIN, Cause.PARENT_LOST, delay_s=0.0, forget_parent=True)
    assert after(NOT_FOUND, names_parent=True, parent_is_stored=True) == decision
    assert after(failed("previous_response_not_found"), names_parent=True) == decision


def test_a_lost_parent_that_the_caller_named_is_raised() -> None:
    assert after(NOT_FOUND, names_parent=False) == RAISED


def test_a_lost_parent_uses_up_no_attempt_and_no_right_to_replay() -> None:
    decision = after(NOT_FOUND, Policy(max_attempts=1), names_parent=True, may_replay=False)
    assert decision.action is Action.AGAIN


# Parents that a server does not keep


@pytest.mark.parametrize(
    "failure",
    [
        refused("invalid_prompt"),
        refused("404", 404),
        refused(None, None),
        refused(None, 401),
        refused(None, 400, started=True),
        refused(None, 500, message="Previous response with id 'resp_1' not found"),
        refused(None, 500, param="previous_response_id"),
        failed("invalid_request", message="the response failed: previous_response_id is not supported"),
    ],
)
def test_a_request_that_was_refused_with_a_parent_is_sent_in_full_at_once(failure: Failure) -> None:
    once = Policy(max_attempts=1, waits=False)
    assert after(failure, once, names_parent=True, parent_is_stored=True) == Decision(
        Action.AGAIN, Cause.PARENT_REFUSED
    )
    assert after(failure, names_parent=True).forget_parent
    assert after(failure, names_parent=False).cause is not Cause.PARENT_REFUSED
    assert after(failure, names_parent=True, output_seen=True).action is Action.RAISE


@pytest.mark.parametrize("names_parent", [False, True])
def test_an_item_that_is_not_found_is_left_out_of_a_full_request(names_parent: bool) -> None:
    once = Policy(max_attempts=1, waits=False)
    decision = after(LOST_ITEM, once, names_parent=names_parent, may_replay=False)
    assert decision == Decision(Action.AGAIN, Cause.ITEM_LOST, forget_parent=names_parent)
    stored = after(LOST_ITEM, names_parent=names_parent, parent_is_stored=True)
    assert stored == Decision(Action.AGAIN, Cause.ITEM_LOST)
    assert after(LOST_ITEM, in_full=True) == RAISED


@pytest.mark.parametrize(
    "failure", [refused("insufficient_quota", 429), refused(None, None, error_type="insufficient_quota")]
)
def test_a_used_up_quota_has_nothing_to_do_with_the_parent(failure: Failure) -> None:
    assert after(failure, names_parent=True).action is Action.RAISE


def test_an_error_that_may_pass_is_retried_with_its_parent() -> None:
    decision = after(refused(None, 429), names_parent=True, parent_is_stored=True)
    assert (decision.cause, decision.forget_parent) == (Cause.TRANSIENT, False)


def test_an_answer_without_the_parent_is_replaced_by_one_to_the_full_context() -> None:
    once = Policy(max_attempts=1, waits=False)
    decision = after(Failure.ignored(), once, names_parent=True)
    assert decision == Decision(Action.AGAIN, Cause.PARENT_IGNORED, forget_parent=True)
    assert after(Failure.ignored(), names_parent=True, may_replay=False).action is Action.RAISE


# Limits


@pytest.mark.parametrize("code", ["websocket_connection_limit_reached", "websocket_stream_limit_reached"])
def test_a_limit_of_the_connection_leads_to_another_one_at_once(code: str) -> None:
    for may_replay in (True, False):
        assert after(refused(code), may_replay=may_replay) == Decision(Action.ELSEWHERE, Cause.LIMIT)
    assert after(refused(code, started=True), may_replay=False).action is Action.RAISE
    assert after(refused(code, started=True)).action is Action.ELSEWHERE


# The socket


@pytest.mark.parametrize(
    "failure", [lost(), lost(started=True), lost(sent=False), Failure.violation("x", sent=True)]
)
def test_a_lost_socket_without_output_is_replayed_at_once_on_another_connection(failure: Failure) -> None:
    assert after(failure) == Decision(Action.ELSEWHERE, Cause.CONNECTION)


def test_a_socket_lost_again_is_replayed_after_a_backoff() -> None:
    assert after(lost(), attempt=2).delay_s > 0


def test_a_failed_dial_is_retried_after_a_backoff() -> None:
    decision = after(NO_ROUTE)
    assert (decision.action, decision.cause) == (Action.ELSEWHERE, Cause.CONNECTION)
    assert decision.delay_s > 0
    assert after(NO_ROUTE, http_allowed=True) == Decision(Action.HTTP, Cause.UPGRADE)


@pytest.mark.parametrize("failure", [UNREACHABLE, UNTRUSTED])
def test_a_server_that_is_not_reached_is_not_reached_over_http_either(failure: Failure) -> None:
    assert after(failure) == after(failure, http_allowed=True) == RAISED


def test_a_dial_that_is_cut_is_a_reason_for_http() -> None:
    assert after(CUT, http_allowed=True) == Decision(Action.HTTP, Cause.UPGRADE)
    assert after(CUT) == RAISED


def test_a_request_that_is_too_large_goes_over_http_or_is_raised() -> None:
    assert after(TOO_LARGE, http_allowed=True) == Decision(Action.HTTP, Cause.TOO_LARGE)
    assert after(TOO_LARGE) == RAISED


def test_a_socket_that_is_lost_with_a_large_request_may_have_been_closed_for_its_size() -> None:
    large: dict[str, Any] = {"http_allowed": True, "sent_bytes": 2**20 + 1}
    assert after(lost(), **large) == Decision(Action.HTTP, Cause.TOO_LARGE)
    for failure, facts in (
        (lost(), {**large, "sent_bytes": 2**20}),
        (lost(), {**large, "http_allowed": False}),
        (lost(started=True), large),
        (lost(sent=False), large),
    ):
        assert after(failure, **facts).cause is Cause.CONNECTION


@pytest.mark.parametrize("failure", [lost(), Failure.violation("x", sent=True), SILENT])
def test_two_sockets_that_bring_nothing_are_a_reason_for_http(failure: Failure) -> None:
    assert after(failure, barren=2, http_allowed=True) == Decision(Action.HTTP, Cause.UPGRADE)
    assert after(failure, barren=1, http_allowed=True).action is Action.ELSEWHERE
    assert after(failure, barren=2).action is Action.ELSEWHERE
    late = Failure.deadline("first_output", 1.0, sent=True)
    assert after(late, barren=2, http_allowed=True).action is Action.ELSEWHERE


@pytest.mark.parametrize("phase", ["first_event", "first_output", "between_events"])
def test_a_missed_deadline_moves_the_turn_to_another_connection(phase: str) -> None:
    failure = Failure.deadline(phase, 5.0, sent=True)
    for http_allowed in (False, True):
        assert after(failure, http_allowed=http_allowed) == Decision(Action.ELSEWHERE, Cause.STALLED)


def test_a_dial_that_times_out_is_replaced_by_another_or_by_http() -> None:
    failure = Failure.deadline("connect", 5.0)
    assert after(failure) == Decision(Action.ELSEWHERE, Cause.STALLED)
    assert after(failure, http_allowed=True) == Decision(Action.HTTP, Cause.UPGRADE)


@pytest.mark.parametrize("failure", [SILENT, Failure.deadline("connect", 1.0), NO_ROUTE])
def test_a_server_that_never_answers_is_given_up(failure: Failure) -> None:
    for http in (True, False):
        assert after(failure, silent_s=20.1, http_allowed=http).action is not Action.RAISE
        assert after(failure, silent_s=25.0, http_allowed=http).action is Action.RAISE
        patient = after(failure, silent_s=61.0, first_event_s=60.0, http_allowed=http)
        assert patient.action is not Action.RAISE
    assert after(lost(), silent_s=100.0).action is Action.ELSEWHERE, "a large request may have left slowly"


def test_the_total_deadline_and_a_slow_consumer_end_the_turn() -> None:
    assert after(Failure.deadline("total", 5.0, sent=True)) == RAISED
    assert after(SLOW) == RAISED


# Refusals of the service


@pytest.mark.parametrize(
    "failure",
    [
        refused("rate_limit_exceeded", 429),
        refused(None, 429),
        refused(None, 500),
        refused(None, 529),
        refused("server_error", None),
        refused(None, None, error_type="server_error"),
        refused("server_is_overloaded", None),
        refused("slow_down", None),
        refused("overloaded", None),
        refused(None, None, error_type="overloaded_error"),
        refused("rate_limit_exceeded", None),
        failed("server_error"),
        failed("rate_limit_exceeded"),
        failed(None),
    ],
)
def test_a_transient_error_is_retried_after_a_backoff(failure: Failure) -> None:
    decision = after(failure)
    assert (decision.action, decision.cause) == (Action.AGAIN, Cause.TRANSIENT)
    assert 0 < decision.delay_s <= POLICY.backoff_s


@pytest.mark.parametrize(
    "failure",
    [
        refused("invalid_prompt"),
        refused("invalid_api_key", 401),
        refused(None, 404),
        refused(None, None),
        refused("steering_not_supported"),
        failed("invalid_prompt"),
        failed("content_filter"),
    ],
)
def test_a_permanent_error_is_raised(failure: Failure) -> None:
    assert after(failure) == RAISED


@pytest.mark.parametrize(
    "failure", [refused("invalid_prompt"), refused(None, 500), failed("x"), failed(None)]
)
def test_a_refusal_forgets_an_unstored_parent(failure: Failure) -> None:
    assert after(failure, names_parent=True).forget_parent
    assert not after(failure, names_parent=True, parent_is_stored=True).forget_parent
    assert not after(failure, names_parent=False).forget_parent
    assert after(failure, names_parent=True, attempt=99).forget_parent
    assert after(failure, names_parent=True, output_seen=True).forget_parent


@pytest.mark.parametrize(
    "failure", [lost(), Failure.deadline("first_event", 1, sent=True), Failure.violation("x")]
)
def test_other_failures_keep_the_parent(failure: Failure) -> None:
    assert not after(failure, names_parent=True).forget_parent


# Waiting


@pytest.mark.parametrize("make", [refused, failed])
def test_the_service_says_how_long_to_wait(make: Any) -> None:
    assert after(make("rate_limit_exceeded", retry_after_s=4.5)).delay_s == 4.5
    assert after(make("rate_limit_exceeded", retry_after_s=0.0)).delay_s == 0.0
    assert after(make("rate_limit_exceeded", retry_after_s=-3.0)).delay_s == 0.0


def test_a_retry_after_beyond_the_bound_is_raised() -> None:
    assert after(refused(None, 429, retry_after_s=5.0)).delay_s == 5.0
    assert after(refused(None, 429, retry_after_s=5.5)) == RAISED
    assert after(refused(None, 429, retry_after_s=5.5), Policy(max_retry_after_s=60.0)).delay_s == 5.5
    assert after(upgrade(429, retry_after_s=86_400)) == RAISED


def test_a_wait_stays_inside_the_deadline() -> None:
    failure = refused(None, 429, retry_after_s=2.0)
    assert after(failure, remaining_s=2.5).action is Action.AGAIN
    assert after(failure, remaining_s=2.0) == RAISED
    assert after(lost(), remaining_s=0.0) == RAISED
    assert after(lost(), remaining_s=-1.0) == RAISED
    assert after(lost(), remaining_s=0.1).action is Action.ELSEWHERE


def test_the_backoff_doubles_up_to_its_bound_and_is_jittered_over_its_upper_half() -> None:
    policy = Policy(max_attempts=10_000, backoff_s=1.0, max_backoff_s=8.0)
    longest = [
        after(refused(None, 500), policy, attempt=n, jitter=1.0).delay_s for n in (1, 2, 3, 4, 5, 9_999)
    ]
    shortest = [
        after(refused(None, 500), policy, attempt=n, jitter=0.0).delay_s for n in (1, 2, 3, 4, 5, 9_999)
    ]
    assert longest == [1, 2, 4, 8, 8, 8]
    assert shortest == [0.5, 1, 2, 4, 4, 4]


# The upgrade


@pytest.mark.parametrize("status", [401, 403, 404, 405, 426, 500, 501, 502, 503, 520])
def test_a_refused_upgrade_falls_back_to_http_if_allowed(status: int) -> None:
    assert after(upgrade(status), http_allowed=True) == Decision(Action.HTTP, Cause.UPGRADE)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 426, 501])
def test_without_http_a_permanent_refusal_of_the_upgrade_is_raised(status: int) -> None:
    assert after(upgrade(status)) == RAISED


@pytest.mark.parametrize(("status", "http_allowed"), [(429, False), (429, True), (500, False), (503, False)])
def test_a_transient_refusal_of_the_upgrade_is_retried_after_a_backoff(
    status: int, http_allowed: bool
) -> None:
    decision = after(upgrade(status, retry_after_s=3.0), http_allowed=http_allowed)
    assert decision == Decision(Action.ELSEWHERE, Cause.UPGRADE, 3.0)
    assert 0 < after(upgrade(status), http_allowed=http_allowed).delay_s <= POLICY.backoff_s


# Invariants of every failure


@pytest.mark.parametrize("failure", EVERY_FAILURE, ids=repr)
@pytest.mark.parametrize("http_allowed", [False, True])
def test_after_output_every_failure_is_raised(failure: Failure, http_allowed: bool) -> None:
    decision = after(failure, output_seen=True, names_parent=True, http_allowed=http_allowed)
    assert decision.action is Action.RAISE


@pytest.mark.parametrize("failure", EVERY_FAILURE, ids=repr)
def test_a_request_that_may_not_be_replayed_is_not_retried_once_it_has_started(failure: Failure) -> None:
    decision = after(failure, http_allowed=True, may_replay=False, names_parent=True)
    harmless = {Cause.PARENT_LOST, Cause.PARENT_REFUSED, Cause.ITEM_LOST, Cause.LIMIT}
    before_it_began = failure.sent and decision.cause in harmless and not failure.started
    assert decision.action is Action.RAISE or not failure.sent or before_it_began


@settings(max_examples=400, deadline=None)
@given(
    failure=st.sampled_from(EVERY_FAILURE),
    output_seen=st.booleans(),
    attempt=st.integers(1, 6),
    remaining_s=st.none() | st.floats(-1, 100),
    may_replay=st.booleans(),
    names_parent=st.booleans(),
    parent_is_stored=st.booleans(),
    jitter=st.floats(0, 1),
    policy=st.builds(
        Policy,
        max_attempts=st.integers(1, 6),
        backoff_s=st.floats(0.01, 5),
        max_backoff_s=st.floats(0.01, 60),
    ),
    http_allowed=st.booleans(),
)
def test_recovery_is_bounded(failure: Failure, policy: Policy, **facts: Any) -> None:
    decision = after(failure, policy, **facts)
    if decision.action is Action.RAISE:
        assert (decision.cause, decision.delay_s) == (None, 0.0)
        return
    assert decision.cause is not None
    assert not facts["output_seen"]
    assert facts["attempt"] < policy.max_attempts or decision.cause in IN_FULL
    assert 0 <= decision.delay_s <= max(policy.max_backoff_s, policy.max_retry_after_s)
    assert facts["remaining_s"] is None or decision.delay_s < facts["remaining_s"]
    assert decision.action is not Action.HTTP or facts["http_allowed"]
    assert facts["names_parent"] or not decision.forget_parent


# Without waits


def test_without_waits_only_immediate_retries_are_made() -> None:
    impatient = Policy(waits=False)
    assert after(NOT_FOUND, impatient, names_parent=True).action is Action.AGAIN
    assert after(refused("websocket_connection_limit_reached"), impatient).action is Action.ELSEWHERE
    assert after(lost(), impatient).action is Action.ELSEWHERE
    assert after(upgrade(404), impatient, http_allowed=True).action is Action.HTTP
    for failure in (
        refused("rate_limit_exceeded", 429, retry_after_s=0.0),
        failed("server_error"),
        upgrade(503),
        NO_ROUTE,
        Failure.deadline("first_event", 5.0, sent=True),
    ):
        assert after(failure, impatient).action is Action.RAISE
    assert after(lost(), impatient, attempt=2).action is Action.RAISE
