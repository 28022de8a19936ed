"""Answers that are no event streams, as frames."""

from __future__ import annotations

import json
from typing import Any

import pytest

from trunkline._protocol.document import document_frame, with_head


def event_of(content: bytes | dict[str, Any], status: int = 200) -> dict[str, Any]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    event: dict[str, Any] = json.loads(document_frame(body, status, {"x-request-id": "r"}))
    return event


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
@pytest.mark.parametrize("more", [{"object": "response"}, {"output": []}])
def test_a_whole_response_is_its_terminal_event(status: str, more: dict[str, Any]) -> None:
    response = {"id": "resp_1", "status": status, **more}
    assert event_of(response) == {"type": f"response.{status}", "response": response}


def test_a_response_is_an_answer_with_status_200_only() -> None:
    event = event_of({"object": "response", "status": "completed", "output": []}, 500)
    assert (event["type"], event["status"]) == ("error", 500)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"error": {"message": "no credit", "code": "c"}}, "no credit"),
        ({"message": "no credit", "code": "c"}, "no credit"),
        ({"error": "no credit", "code": "c"}, "no credit"),
        ({"detail": "no credit", "code": "c"}, "no credit"),
        ({"object": "response", "status": "failed", "error": {"message": "no credit", "code": "c"}}, None),
    ],
)
@pytest.mark.parametrize("status", [200, 402])
def test_an_error_keeps_its_words_its_code_and_the_headers(
    content: dict[str, Any], message: str | None, status: int
) -> None:
    event = event_of(content, status)
    if message is None and status == 200:
        assert event["type"] == "response.failed"
        return
    error = event["error"]
    assert (event["type"], error["message"], error["code"]) == ("error", "no credit", "c")
    assert error["headers"] == {"x-request-id": "r"}
    assert event.get("status") == (402 if status == 402 else None)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"error": {"message": 7}}', b"7"])
def test_a_refusal_without_words_names_the_status(content: bytes) -> None:
    assert event_of(content, 502)["error"]["message"] == "HTTP status 502"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!doctype html><TITLE lang=en>Sign\n in</TITLE>", "a page (Sign in)"),
        (b"<html>" + b"x" * 100_000, "a page instead"),
        (b'{"object": "response", "status": "queued"}', "(status 'queued')"),
        (b'{"object": "chat.completion"}', "JSON that is not a response"),
        (b"[1]", "JSON that is not a response"),
    ],
)
def test_other_documents_with_status_200_are_described(content: bytes, words: str) -> None:
    message = event_of(content)["error"]["message"]
    assert message.startswith("HTTP status 200 with ")
    assert words in message
    assert len(message) < 450


@pytest.mark.parametrize("status", [200, 502])
def test_the_words_of_a_text_are_the_message(status: int) -> None:
    message = event_of(b"upstream\n died " + b"x" * 100_000, status)["error"]["message"]
    assert message.startswith("upstream died x")
    assert len(message) <= 300


HEAD = {"retry-after": "7", "x-request-id": "r", "content-type": "text/event-stream"}


@pytest.mark.parametrize(
    ("frame", "headers"),
    [
        ({"type": "error"}, {"retry-after": "7", "x-request-id": "r"}),
        ({"type": "error", "headers": {"a": "b"}}, {"a": "b", "retry-after": "7", "x-request-id": "r"}),
        ({"type": "error", "error": {"retry_after": 2}}, {"x-request-id": "r"}),
        ({"type": "x", "response": {"error": {"headers": {"retry-after-ms": "2"}}}}, {"x-request-id": "r"}),
    ],
)
def test_an_error_of_a_stream_has_the_facts_of_its_head(frame: dict[str, Any], headers: Any) -> None:
    event = json.loads(with_head(json.dumps(frame).encode(), HEAD))
    assert event == {**frame, "headers": headers}


@pytest.mark.parametrize("frame", [b"[]", b"{", b'{"type":"error"}'])
def test_a_head_without_facts_changes_nothing(frame: bytes) -> None:
    assert with_head(frame, {"content-type": "text/event-stream"}) == frame
    assert frame[:1] == b"{" or with_head(frame, HEAD) == frame
