"""Errors of the service, read into failures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline._protocol.decoding import decode
from trunkline._protocol.events import ErrorEvent, ResponseFailedEvent
from trunkline._protocol.failure import FailureKind
from trunkline._protocol.refusals import failed_response, refusal, retry_after_s

EPOCH_S = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


def error(**fields: Any) -> ErrorEvent:
    event = decode(json.dumps({"type": "error", **fields}).encode())
    assert isinstance(event, ErrorEvent)
    return event


def failed(**fields: Any) -> ResponseFailedEvent:
    event = decode(json.dumps({"type": "response.failed", "response": {"id": "r1", **fields}}).encode())
    assert isinstance(event, ResponseFailedEvent)
    return event


def test_a_refusal_has_the_facts_of_the_error() -> None:
    failure = refusal(
        error(
            status=429,
            error={
                "code": "rate_limit_exceeded",
                "message": "slow down",
                "type": "requests",
                "param": "model",
                "headers": {"Retry-After": "1.5", "X-Request-Id": "req_1"},
            },
        ),
        started=True,
        now=0.0,
    )
    assert failure.kind is FailureKind.REFUSED
    assert failure.message == "the service refused the request: slow down"
    assert (failure.code, failure.status) == ("rate_limit_exceeded", 429)
    assert (failure.error_type, failure.param) == ("requests", "model")
    assert (failure.retry_after_s, failure.request_id) == (1.5, "req_1")
    assert (failure.sent, failure.started) == (True, True)


def test_fields_of_a_refusal_that_are_missing_or_of_another_type_count_as_missing() -> None:
    odd = error(status="429", error={"code": 7, "type": [], "param": {}, "headers": "none"})
    for event in (error(), odd):
        failure = refusal(event, started=False, now=0.0)
        assert (failure.code, failure.status, failure.error_type, failure.param) == (None,) * 4
        assert (failure.retry_after_s, failure.request_id) == (None, None)
        assert failure.started is False


def test_a_failed_response_has_its_error_and_the_whole_resource() -> None:
    failure = failed_response(failed(error={"code": "server_error", "message": "overheated"}))
    assert failure.kind is FailureKind.FAILED
    assert failure.message == "the response failed: overheated"
    assert (failure.code, failure.response_id) == ("server_error", "r1")
    assert failure.response == {"id": "r1", "error": {"code": "server_error", "message": "overheated"}}
    assert (failure.sent, failure.started) == (True, True)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "the service gave no reason"),
        ({"error": None}, "the service gave no reason"),
        ({"error": {"code": "x"}}, "x"),
    ],
)
def test_a_failed_response_may_lack_a_message_or_the_whole_error(fields: dict[str, Any], reason: str) -> None:
    assert failed_response(failed(**fields)).message == f"the response failed: {reason}"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("1.25", 1.25),
        ("Sun, 06 Nov 1994 08:49:40 GMT", 3.0),
        ("Sun, 06 Nov 1994 08:49:30 GMT", 0.0),  # it has passed
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("nan", None),
        ("9999999999", None),
        ("Sun, 99 Nov 1994 08:49:40 GMT", None),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=EPOCH_S) == seconds
