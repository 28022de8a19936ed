from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline import errors
from trunkline._face.outcome import Answer, Break, Broken, Elsewhere
from trunkline._face.refusals import broken, invalid_request, refused


def answer_to(error: errors.TurnError, raw: Any = None, *, acts: bool = False) -> Answer:
    found = refused(error, json.dumps(raw).encode() if raw is not None else b"", acts=acts)
    assert isinstance(found, Answer)
    return found


def body_of(answer: Answer) -> Any:
    assert isinstance(answer.body, bytes)
    return json.loads(answer.body)


def test_a_refusal_is_an_answer_with_the_words_of_the_service() -> None:
    raw = {"type": "error", "status": 429, "error": {"code": "x", "message": "slow", "new": 1, "headers": {}}}
    error = errors.ResponseRefused(
        "…", status=429, code="x", retry_after_s=1.5, request_id="req_1", should_retry=False
    )
    answer = answer_to(error, raw)
    assert answer.status == 429
    assert body_of(answer) == {"error": {"code": "x", "message": "slow", "new": 1}}
    assert dict(answer.headers) == {
        "content-type": "application/json",
        "retry-after": "1.5",
        "x-request-id": "req_1",
        "x-should-retry": "false",
    }
    assert dict(answer_to(errors.ResponseRefused("…", should_retry=True)).headers)["x-should-retry"] == "true"


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(None, "rate_limit_exceeded", 503), (None, "invalid_prompt", 400), (200, None, 400), (404, None, 404)],
)
def test_a_refusal_without_a_status_gets_one(status: int | None, code: str | None, expected: int) -> None:
    assert answer_to(errors.ResponseRefused("…", status=status, code=code)).status == expected


def test_a_flat_error_is_an_answer_too() -> None:
    raw = {"type": "error", "code": "x", "message": "no", "param": "input"}
    error = errors.ResponseRefused("…", status=400, code="x", error_type="invalid_request_error")
    assert body_of(answer_to(error, raw))["error"] == {
        "message": "no",
        "type": "invalid_request_error",
        "param": "input",
        "code": "x",
    }


@pytest.mark.parametrize("raw", [None, {}, []])
def test_an_unreadable_refusal_has_the_words_of_the_exception(raw: Any) -> None:
    error = errors.ResponseRefused("the service refused the request: no", status=400, code="x")
    found = body_of(answer_to(error, raw))["error"]
    assert found["message"].startswith("the service refused the request: no")
    assert found["code"] == "x"


def test_a_refused_upgrade_is_its_answer() -> None:
    headers = {"retry-after": "3", "connection": "close", "content-length": "2", "content-type": "text/plain"}
    answer = answer_to(errors.UpgradeRefused(429, headers=headers, body=b"no"))
    assert (answer.status, answer.body) == (429, b"no")
    assert dict(answer.headers) == {"retry-after": "3", "content-type": "text/plain"}


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (errors.ConnectFailed("cannot connect"), Break.CONNECT),
        (errors.DeadlineExceeded("connect", 10.0), Break.CONNECT_TIMEOUT),
        (errors.DeadlineExceeded("first_output", 10.0, sent=True), Break.READ_TIMEOUT),
        (errors.ConnectionLost(sent=True), Break.PROTOCOL),
        (errors.ProtocolViolation("odd", sent=True), Break.PROTOCOL),
        (errors.SlowConsumer(7), Break.PROTOCOL),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_broken_connection_is_that_of_an_http_client(error: errors.TurnError, how: Break) -> None:
    found = refused(error, b"", acts=False)
    assert isinstance(found, Broken)
    assert found.how is broken(error).how is how
    assert str(found) == str(error)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.DeadlineExceeded("first_output", 10.0, sent=True), 504),
        (errors.ConnectionLost(sent=True), 502),
    ],
    ids=["late", "lost"],
)
def test_a_request_that_may_have_acted_is_not_repeated(error: errors.TurnError, status: int) -> None:
    answer = answer_to(error, acts=True)
    assert answer.status == status
    assert ("x-should-retry", "false") in answer.headers
    assert body_of(answer)["error"]["message"] == str(error)


def test_a_request_that_was_not_sent_may_be_repeated() -> None:
    assert isinstance(refused(errors.ConnectFailed("cannot connect"), b"", acts=True), Broken)


def test_a_request_that_is_wrong_in_itself() -> None:
    answer = invalid_request("given twice", "x-trunkline-key")
    assert answer.status == 400
    assert body_of(answer)["error"]["param"] == "x-trunkline-key"


def test_nothing_of_an_outcome_is_shown() -> None:
    shown = [Answer(200, (("x", "secret"),), b"secret"), Elsewhere(b"secret")]
    assert "secret" not in repr(shown)


@pytest.mark.parametrize(
    ("acts", "started", "own", "expected"),
    [
        (True, True, None, "false"),
        (True, True, True, "true"),
        (True, False, None, None),
        (False, True, None, None),
    ],
)
def test_an_error_of_a_running_response_that_may_have_acted_is_not_repeated(
    acts: bool, started: bool, own: bool | None, expected: str | None
) -> None:
    error = errors.ResponseRefused("…", status=503, should_retry=own, started=started)
    assert dict(answer_to(error, acts=acts).headers).get("x-should-retry") == expected
