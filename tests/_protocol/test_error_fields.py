"""The fields of errors, in every spelling of every server: one table."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline._protocol.error_fields import ErrorFields, read_error, retry_after_s

EPOCH_S = 784_111_777.0  # Sun, 06 Nov 1994 08:49:37 GMT


def fields(**known: Any) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(("code", "message", "error_type", "param", "status", "request_id"))
    return {**empty, "retry_after_s": None, "should_retry": None, **known}


def read(source: object) -> dict[str, Any]:
    found = read_error(source)
    plain = {name: getattr(found, name) for name in fields() if name != "retry_after_s"}
    return {**plain, "retry_after_s": found.retry_after_s(EPOCH_S)}


SPELLINGS: list[tuple[object, dict[str, Any]]] = [
    # Nested, as OpenAI sends it; flat, as typed in older SDKs.
    (
        {"status": 400, "error": {"code": "c", "message": "m", "type": "t", "param": "p"}},
        fields(code="c", message="m", error_type="t", param="p", status=400),
    ),
    ({"type": "error", "code": "c", "message": "m"}, fields(code="c", message="m")),
    ({"type": "error", "error": {"type": "t", "message": "m"}}, fields(error_type="t", message="m")),
    # Text in place of an object.
    ({"error": "try pulling it"}, fields(message="try pulling it")),
    ({"code": "invalid-argument", "error": "bad"}, fields(code="invalid-argument", message="bad")),
    # FastAPI.
    ({"detail": "field required"}, fields(message="field required")),
    ({"detail": [{"loc": ["body"], "msg": "required", "type": "missing"}]},
     fields(message="required", error_type="missing")),
    ({"detail": {"error": {"message": "deep", "code": "c"}}}, fields(message="deep", code="c")),
    ({"errors": [{"message": "first"}, {"message": "second"}]}, fields(message="first")),
    # Lists.
    ([{"error": {"code": 400, "message": "Unknown name", "status": "INVALID_ARGUMENT"}}],
     fields(code="400", message="Unknown name", status=400)),
    ([], fields()),
    # Codes and statuses as numbers and as text, under other names.
    ({"error": {"code": 402, "message": "m"}}, fields(code="402", message="m", status=402)),
    ({"error": {"code": "429"}}, fields(code="429", status=429)),
    ({"error": {"error_code": "c", "error_message": "m"}}, fields(code="c", message="m")),
    ({"status_code": 503, "error": {"message": "m"}}, fields(status=503, message="m")),
    ({"status": "429"}, fields(status=429)),
    ({"statusCode": 429.0}, fields(status=429)),
    ({"error": {"http_status": 500}}, fields(status=500)),
    # Waits: headers in three places, and fields.
    ({"error": {"headers": {"Retry-After": "1.5", "X-Request-Id": "r"}}},
     fields(retry_after_s=1.5, request_id="r")),
    ({"headers": {"retry-after": 2}, "error": {"message": "m"}}, fields(retry_after_s=2.0, message="m")),
    ({"error": {"metadata": {"headers": {"retry-after": "3"}}}}, fields(retry_after_s=3.0)),
    ({"headers": {"retry-after-ms": "250", "retry-after": "1"}}, fields(retry_after_s=0.25)),
    ({"headers": {"x-ms-retry-after-ms": "250"}}, fields(retry_after_s=0.25)),
    ({"error": {"retry_after": 4}}, fields(retry_after_s=4.0)),
    ({"error": {"retry-after": "4s"}}, fields(retry_after_s=4.0)),
    ({"retry_after_ms": 1500}, fields(retry_after_s=1.5)),
    ({"error": {"resets_in_seconds": 60}}, fields(retry_after_s=60.0)),
    ({"headers": {"retry-after": "Sun, 06 Nov 1994 08:49:40 GMT"}}, fields(retry_after_s=3.0)),
    ({"headers": {"X-Should-Retry": "False"}}, fields(should_retry=False)),
    ({"headers": {"x-should-retry": "true"}}, fields(should_retry=True)),
    ({"request_id": "r"}, fields(request_id="r")),
    # Missing, null, or of another type.
    ({}, fields()),
    (None, fields()),
    ("text", fields()),
    ({"error": None, "status": None, "headers": None}, fields()),
    ({"error": {"code": True, "message": ["x"], "type": [], "param": {}, "headers": "none"}}, fields()),
    ({"error": ["list"]}, fields()),
    ({"status": True}, fields()),
    ({"status": "failed"}, fields()),
    ({"status": 99}, fields()),
    ({"status": float("inf")}, fields()),
    ({"error": {"error": {"error": {"error": {"message": "too deep"}}}}}, fields()),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expected"), SPELLINGS, ids=lambda value: str(value)[:60])
def test_every_spelling_of_an_error_is_read(source: object, expected: dict[str, Any]) -> None:
    assert read(source) == expected


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
    headers = {} if value is None else {"retry-after": value}
    assert retry_after_s(headers, now=EPOCH_S) == seconds


def test_malformed_milliseconds_leave_the_seconds() -> None:
    assert retry_after_s({"retry-after-ms": "soon", "retry-after": "2"}, now=EPOCH_S) == 2.0


def test_an_error_without_fields_is_empty() -> None:
    assert read_error({}) == ErrorFields()
