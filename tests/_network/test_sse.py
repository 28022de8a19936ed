"""Server-sent events of an answer, and its refusals, as frames."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from trunkline._network import sse
from trunkline._network.sse import MAX_ERROR_BYTES, read_events
from trunkline._protocol.document import MAX_WORDS

from ..waiting import soon

STREAM = {"content-type": "text/event-stream"}
FINAL = b'{"type": "response.completed"}'


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> httpx2.Response:
    if isinstance(body, bytes):
        body = pieces(body)
    request = httpx2.Request("POST", "http://service.invalid/v1/responses")
    return httpx2.Response(
        status, content=body, headers=STREAM if headers is None else headers, request=request
    )


async def pieces(*parts: bytes | Exception) -> AsyncIterator[bytes]:
    """A body in these pieces; an exception breaks it off."""
    for part in parts:
        if isinstance(part, Exception):
            raise part
        yield part


async def frames_of(response: httpx2.Response) -> list[bytes]:
    frames: list[bytes] = []

    def deliver(frame: bytes) -> bool:
        frames.append(frame)
        return frame == FINAL

    await soon(read_events(response, deliver, lambda: None))
    return frames


async def refusal_of(response: httpx2.Response) -> dict[str, Any]:
    [frame] = await frames_of(response)
    event: dict[str, Any] = json.loads(frame)
    assert event["type"] == "error"
    return event


async def test_the_data_of_each_event_is_a_frame() -> None:
    body = 'event: a\ndata: {"type": "a"}\n\ndata: {"type":\ndata: "ü"}\n\n'
    assert await frames_of(answer(body.encode())) == [b'{"type": "a"}', '{"type":\n"ü"}'.encode()]


async def test_comments_and_done_are_no_frames() -> None:
    assert await frames_of(answer(b": alive\n\ndata:\n\ndata: {}\n\ndata: [DONE]\n\n")) == [b"{}"]


async def test_events_after_the_final_one_are_dropped() -> None:
    body = b"data: " + FINAL + b"\n\ndata: {}\n\n"
    assert await frames_of(answer(body)) == [FINAL]


async def test_a_stream_that_stays_open_after_the_final_event_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"data: " + FINAL + b"\n\n"
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(sse, "READ_ON_S", 0)
    with pytest.raises(TimeoutError):
        await frames_of(answer(body()))


async def test_an_event_may_be_larger_than_the_limit_of_httpx2() -> None:
    [frame] = await frames_of(answer(b"data: " + b"x" * (2 * 2**20) + b"\n\n"))
    assert len(frame) == 2 * 2**20


async def test_compressed_events_are_read() -> None:
    body = gzip.compress(b"data: " + FINAL + b"\n\n")
    assert await frames_of(answer(body, headers={**STREAM, "content-encoding": "gzip"})) == [FINAL]


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_an_event_that_is_whole_counts_when_the_connection_breaks(end: bytes) -> None:
    broken = pieces(b"data: {}\n\ndata: " + FINAL + end, httpx2.ReadError("broken"))
    assert await frames_of(answer(broken)) == [b"{}", FINAL]


@pytest.mark.parametrize("rest", [b"", b'data: {"type":', b"data: {}"])
async def test_a_connection_that_breaks_before_the_final_event_is_an_error(rest: bytes) -> None:
    with pytest.raises(httpx2.ReadError):
        await frames_of(answer(pieces(b"data: {}\n\n" + rest, httpx2.ReadError("broken"))))


async def test_a_document_with_status_200_is_one_frame() -> None:
    (frame,) = await frames_of(answer(pieces(b'{"error": ', b'"died"}')))
    assert json.loads(frame)["error"]["message"] == "died"


async def test_an_empty_body_has_no_frame() -> None:
    assert await frames_of(answer(b"")) == []


async def test_comments_and_events_without_data_are_signs_of_life() -> None:
    signs: list[None] = []
    body = pieces(b": a\n\n", b": b", b"\n\n: c\n\n", b"event: ping\n\n", b"data: {}\n\n", b"data: " + FINAL)
    await soon(read_events(answer(body), lambda frame: frame == FINAL, lambda: signs.append(None)))
    assert len(signs) == 3


async def test_a_refusal_has_the_error_the_status_and_the_headers() -> None:
    body = b'{"error": {"code": "rate_limit_exceeded", "message": "Slow down."}}'
    event = await refusal_of(answer(body, 429, {"content-type": "application/json", "retry-after": "7"}))
    assert event["status"] == 429
    assert (event["error"]["code"], event["error"]["message"]) == ("rate_limit_exceeded", "Slow down.")
    assert event["error"]["headers"]["retry-after"] == "7"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"[" * 50_000])
async def test_a_refusal_without_an_error_object_names_the_status(body: bytes) -> None:
    event = await refusal_of(answer(body, 502, {}))
    assert event["error"]["message"] == "HTTP status 502"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b'{"error": "model not found"}', None, "model not found"),
        (b'{"code": "invalid-argument", "error": "bad"}', "invalid-argument", "bad"),
        (b'{"detail": [{"loc": ["body", "input"], "msg": "field required"}]}', None, "field required"),
        (b'[{"error": {"code": 400, "message": "Unknown name"}}]', "400", "Unknown name"),
        (b"the model does not support tools", None, "the model does not support tools"),
        (b'"only a text"', None, "only a text"),
        (b"x" * 5000, None, "x" * MAX_WORDS),
    ],
)
async def test_a_refusal_keeps_the_words_of_other_servers(body: bytes, code: str | None, words: str) -> None:
    event = await refusal_of(answer(body, 400, {}))
    assert (event["error"].get("code"), event["error"]["message"]) == (code, words)


async def test_a_page_without_end_is_read_up_to_a_limit() -> None:
    sent = 0

    async def page() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1024
            yield b"x" * 1024

    event = await refusal_of(answer(page(), 500, {}))
    assert event["status"] == 500
    assert sent <= MAX_ERROR_BYTES + 2 * 1024
