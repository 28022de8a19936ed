"""Failures: records of what went wrong, and the exceptions that they become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trunkline._protocol.failure import Failure, FailureKind
from trunkline.errors import (
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    NetworkError,
    ProtocolViolation,
    ResponseFailed,
    ResponseRefused,
    SlowConsumer,
    TurnError,
    UpgradeRefused,
)

RESPONSE = {"id": "r1", "status": "failed"}
FAILURES: dict[FailureKind, tuple[Failure, type[TurnError], dict[str, Any]]] = {
    FailureKind.CONNECT: (Failure.connect("no route"), ConnectFailed, {"sent": False}),
    FailureKind.UPGRADE: (
        Failure(kind=FailureKind.UPGRADE, status=429, headers={"a": "b"}, body=b"later", retry_after_s=2.0),
        UpgradeRefused,
        {"status": 429, "headers": {"a": "b"}, "body": b"later", "retry_after_s": 2.0},
    ),
    FailureKind.LOST: (
        Failure.lost("the connection was lost", close_code=1006, reason="gone", sent=True),
        ConnectionLost,
        {"close_code": 1006, "reason": "gone", "sent": True, "started": False},
    ),
    FailureKind.TOO_LARGE: (
        Failure.too_large(17, 16),
        ConnectionLost,
        {"close_code": 1009, "sent": False, "started": False},
    ),
    FailureKind.VIOLATION: (
        Failure.violation("not JSON", sent=True, started=True),
        ProtocolViolation,
        {"sent": True, "started": True},
    ),
    FailureKind.DEADLINE: (
        Failure.deadline("first_event", 5.0, sent=True),
        DeadlineExceeded,
        {"phase": "first_event", "waited_s": 5.0, "sent": True, "started": False},
    ),
    FailureKind.REFUSED: (
        Failure(
            kind=FailureKind.REFUSED,
            message="the service refused the request",
            code="invalid_prompt",
            status=400,
            error_type="invalid_request_error",
            param="input",
            request_id="req_1",
            sent=True,
        ),
        ResponseRefused,
        {"code": "invalid_prompt", "status": 400, "param": "input", "request_id": "req_1", "started": False},
    ),
    FailureKind.FAILED: (
        Failure(
            kind=FailureKind.FAILED,
            message="the response failed",
            code="server_error",
            response_id="r1",
            response=RESPONSE,
            sent=True,
            started=True,
        ),
        ResponseFailed,
        {"code": "server_error", "response_id": "r1", "response": RESPONSE, "started": True},
    ),
    FailureKind.IGNORED: (Failure.ignored(), ProtocolViolation, {"sent": True, "started": True}),
    FailureKind.SLOW_CONSUMER: (
        Failure(kind=FailureKind.SLOW_CONSUMER, buffered=3, sent=True, started=True),
        SlowConsumer,
        {"buffered": 3},
    ),
}


def refused(code: str | None, status: int | None) -> Failure:
    return Failure(kind=FailureKind.REFUSED, code=code, status=status, sent=True)


@pytest.mark.parametrize("kind", FailureKind)
def test_each_kind_becomes_its_exception_with_the_facts_of_it(kind: FailureKind) -> None:
    failure, expected, facts = FAILURES[kind]
    error = failure.exception()
    assert type(error) is expected
    assert {name: getattr(error, name) for name in facts} == facts
    assert (failure.kind, failure.name) == (kind, expected.__name__)


@pytest.mark.parametrize("kind", FailureKind)
def test_the_service_reports_refusals_and_failed_responses_alone(kind: FailureKind) -> None:
    assert FAILURES[kind][0].is_of_service is (kind in (FailureKind.REFUSED, FailureKind.FAILED))


def test_each_exception_is_a_new_one_with_what_the_caller_saw_and_the_cause() -> None:
    below = OSError("reset")
    failure = Failure.lost("the connection was lost", sent=True, cause=below)
    first, second = failure.exception(output_seen=True), failure.exception()
    assert first is not second
    assert (first.output_seen, second.output_seen) == (True, False)
    assert first.__cause__ is second.__cause__ is below


def test_a_failure_of_a_connection_becomes_one_of_each_of_its_requests() -> None:
    failure = Failure.lost("the connection was lost", close_code=1012)
    begun = failure.on_request(sent=True, started=True)
    assert (begun.sent, begun.started, begun.close_code) == (True, True, 1012)
    assert (failure.sent, failure.started) == (False, False)


@pytest.mark.parametrize(
    ("failure", "is_transient"),
    [
        (refused("rate_limit_exceeded", 429), True),
        (refused(None, 503), True),
        (refused("invalid_prompt", 400), False),
        (FAILURES[FailureKind.FAILED][0], True),
        (Failure.lost("the connection was lost"), False),
    ],
)
def test_rate_limits_and_faults_of_the_service_are_transient(failure: Failure, is_transient: bool) -> None:
    assert failure.is_transient is is_transient


# From an exception that a dial raised


@pytest.mark.parametrize(
    "make",
    [
        lambda: ConnectFailed("no route"),
        lambda: UpgradeRefused(403, headers={"a": "b"}, body=b"no", retry_after_s=1.0),
        lambda: ConnectionLost("reset", close_code=1011, reason="x", sent=False),
        lambda: ProtocolViolation("a masked frame"),
        lambda: DeadlineExceeded("connect", 5.0, sent=False),
    ],
)
def test_the_record_of_an_exception_becomes_an_equal_exception(
    make: Callable[[], NetworkError | DeadlineExceeded],
) -> None:
    error = make()
    again = Failure.of(error).exception()
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


def test_the_record_of_an_exception_keeps_the_cause() -> None:
    error = ConnectFailed("no route")
    error.__cause__ = OSError("unreachable")
    assert Failure.of(error).exception().__cause__ is error.__cause__


def test_its_repr_shows_the_kind_and_the_code_and_no_content() -> None:
    assert repr(Failure.lost("secret")) == "<Failure LOST>"
    assert repr(refused("invalid_prompt", 400)) == "<Failure REFUSED invalid_prompt>"


def test_a_network_error_of_no_other_kind_is_a_failed_connection() -> None:
    assert Failure.of(NetworkError("lost")).kind is FailureKind.CONNECT
