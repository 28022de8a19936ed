"""Errors of the service, read into failures."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from trunkline._protocol.decoding import decode
from trunkline._protocol.events import ErrorEvent, ResponseFailedEvent
from trunkline._protocol.failure import FailureKind
from trunkline._protocol.refusals import concerns_item, explained, failed_response, is_unexplained, refusal
from trunkline.errors import ServiceError


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
    odd = error(status="soon", error={"code": True, "type": [], "param": {}, "headers": "none"})
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


def test_a_failed_response_has_the_status_and_the_wait_of_its_error() -> None:
    error = {"code": "too_many_requests", "status": "429", "headers": {"Retry-After-Ms": "250"}}
    failure = failed_response(failed(error=error))
    assert (failure.status, failure.retry_after_s) == (429, 0.25)
    assert failure.is_transient


@pytest.mark.parametrize(
    ("body", "is_transient"),
    [
        # A quota does not come back within a turn, whatever the status.
        ({"status": 429, "error": {"code": "insufficient_quota"}}, False),
        ({"status": 429, "error": {"type": "insufficient_quota"}}, False),
        ({"status": 500, "error": {"code": "context_length_exceeded"}}, False),
        # The server's own word.
        ({"status": 429, "headers": {"x-should-retry": "false"}}, False),
        ({"status": 400, "headers": {"x-should-retry": "true"}}, True),
        # Codes and statuses that mean "later", also without a status and in other letters.
        ({"error": {"code": "too_many_requests"}}, True),
        ({"error": {"status": "RESOURCE_EXHAUSTED", "code": 429}}, True),
        ({"error": {"code": "RESOURCE_EXHAUSTED"}}, True),
        ({"error": {"code": "stream_incomplete"}}, True),
        ({"status_code": 503}, True),
        ({"status": 408}, True),
        ({"status": 400, "error": {"code": "invalid_prompt"}}, False),
    ],
)
def test_an_error_is_transient_if_it_may_pass(body: dict[str, Any], is_transient: bool) -> None:
    assert refusal(error(**body), started=False, now=0.0).is_transient is is_transient


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "context_length_exceeded", "message": "too long"}},
        {"error": {"type": "ContextWindowExceededError", "message": "too long"}},
        {"error": {"code": 400, "message": "This model's maximum context length is 8192 tokens."}},
    ],
)
def test_a_context_that_is_too_long_is_named_and_has_a_remedy(body: dict[str, Any]) -> None:
    exception = refusal(error(**body), started=False, now=0.0).exception()
    assert isinstance(exception, ServiceError)
    assert exception.is_context_too_long
    assert str(exception).endswith("shorten the history with Conversation.compact() or replace()")


def test_other_errors_are_not_about_the_length_of_the_context() -> None:
    for body in ({"error": {"message": "no such model"}}, {"error": {"code": "overloaded", "message": "m"}}):
        exception = refusal(error(**body), started=False, now=0.0).exception()
        assert isinstance(exception, ServiceError)
        assert not exception.is_context_too_long


@pytest.mark.parametrize(
    ("message", "status", "concerns"),
    [
        ("Item with id 'rs_1' not found. Items are not persisted when `store` is set to false.", 404, True),
        ("Item 'rs_1' of type 'reasoning' was provided without its required following item.", 400, True),
        ("item rs_1 does not exist", None, True),
        ("Item with id 'rs_1' not found.", 500, False),
        ("Previous response with id 'resp_1' not found.", 400, False),
        ("No tool output found for function call call_1.", 400, False),
    ],
)
def test_a_refusal_that_concerns_an_item_is_told_by_its_words(
    message: str, status: int | None, concerns: bool
) -> None:
    failure = refusal(error(status=status, error={"message": message}), started=False, now=0.0)
    assert concerns_item(failure) is concerns


@pytest.mark.parametrize(
    ("fields", "is_bare"),
    [
        ({}, True),
        ({"error": {"code": None, "message": ""}}, True),
        ({"error": "overheated"}, False),
        ({"error": {"type": "server_error"}}, False),
        ({"error": {"status": 503}}, False),
        ({"error": None, "last_error": {"code": "c"}}, False),
    ],
)
def test_a_failed_response_without_any_fact_is_unexplained(fields: dict[str, Any], is_bare: bool) -> None:
    assert is_unexplained(failed(**fields)) is is_bare


def test_a_reason_that_follows_completes_the_failure() -> None:
    bare = failed_response(failed(status="failed"))
    reason = refusal(error(status=429, error={"code": "c", "message": "a: b"}), started=True, now=0.0)
    failure = explained(replace(bare, retry_after_s=3.0, should_retry=True), reason)
    assert (failure.kind, failure.message) == (FailureKind.FAILED, "the response failed: a: b")
    assert (failure.code, failure.status, failure.response_id) == ("c", 429, "r1")
    assert (failure.retry_after_s, failure.should_retry) == (3.0, True)
    later = explained(bare, replace(reason, retry_after_s=5.0, should_retry=False))
    assert (later.retry_after_s, later.should_retry) == (5.0, False)
