from __future__ import annotations

import pytest

from trunkline._face.call import Call, base_of, is_own

URL = "https://api.openai.com/v1/responses"
JSON_TYPE = ("Content-Type", "application/json; charset=utf-8")


def call(*headers: tuple[str, str], method: str = "POST", url: str = URL, body: bytes | None = b"{}") -> Call:
    return Call(method, url, [JSON_TYPE, *headers], body)


@pytest.mark.parametrize("url", [URL, f"{URL}/", f"{URL}?api-version=1"])
def test_a_post_of_json_to_responses_asks_for_a_response(url: str) -> None:
    assert call(url=url).is_create


@pytest.mark.parametrize(
    "other",
    [
        call(method="GET"),
        call(url=f"{URL}/compact"),
        call(body=None),
        call(body=b""),
        call(("Content-Encoding", "gzip")),
        call(("idempotency-key", "1")),
        Call("POST", URL, [("content-type", "multipart/form-data")], b"{}"),
        Call("POST", URL, [], b"{}"),
    ],
    ids=["method", "path", "unread", "empty", "encoding", "idempotency", "multipart", "no type"],
)
def test_other_calls_do_not(other: Call) -> None:
    assert not other.is_create


def test_the_response_that_a_call_deletes() -> None:
    assert call(method="DELETE", url=f"{URL}/resp_1").deleted == "resp_1"
    assert call(method="GET", url=f"{URL}/resp_1").deleted is None
    assert call(method="DELETE", url=URL).deleted is None
    assert base_of(f"{URL}/resp_1?a=b") == f"{URL}?a=b"


def test_an_upgrade_gets_all_headers_that_are_not_harmless() -> None:
    headers = [
        ("Authorization", "Bearer k"),
        ("X-Tenant", "a"),
        ("x-tenant", "b"),
        ("OpenAI-Beta", "c"),
        ("Host", "d"),
        ("Accept-Encoding", "e"),
        ("X-Stainless-Retry-Count", "0"),
        ("Traceparent", "f"),
        ("X-Trunkline-Key", "g"),
        ("Cookie", "h"),
    ]
    expected = {"authorization": "Bearer k", "x-tenant": "a, b", "openai-beta": "c"}
    assert call(*headers).upgrade_headers() == expected


def test_headers_of_ours_are_known() -> None:
    assert is_own("X-Trunkline-Anything")
    assert not is_own("X-Tenant")
    assert call(("X-TRUNKLINE-KEY", "a"), ("x-trunkline-key", "b")).keys == ["a", "b"]


def test_nothing_of_a_call_is_shown() -> None:
    assert "secret" not in repr(call(("Authorization", "secret"), body=b"secret"))
