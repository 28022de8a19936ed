"""Server-sent events as frames: whatever the chunks, the line ends and the form of the body."""

from __future__ import annotations

import json

import pytest

from trunkline import ProtocolViolation
from trunkline._protocol import sse
from trunkline._protocol.sse import BodyForm, EventParser

A, B = b'{"type":"a","text":"\xc3\xbc"}', b'{"type":"b"}'


def parsed(*chunks: bytes) -> tuple[EventParser, list[bytes]]:
    parser = EventParser()
    frames = [frame for chunk in chunks for frame in parser.feed(chunk)]
    return parser, frames + parser.end()


def frames_of(*chunks: bytes) -> list[bytes]:
    return parsed(*chunks)[1]


BODIES = {
    "usual": b"event: a\ndata: %b\n\nevent: b\ndata: %b\n\n",
    "no names": b"data: %b\n\ndata: %b\n\n",
    "no spaces": b"event:a\ndata:%b\n\nevent:b\ndata:%b\n\n",
    "CR LF": b"event: a\r\ndata: %b\r\n\r\nevent: b\r\ndata: %b\r\n\r\n",
    "CR": b"event: a\rdata: %b\r\rdata: %b\r\r",
    "a byte order mark": b"\xef\xbb\xbfdata: %b\n\ndata: %b\n\n",
    "blank lines first": b"\n\r\n\ndata: %b\n\ndata: %b\n\n",
    "more blank lines": b"data: %b\n\n\n\n\ndata: %b\n\n\n",
    "comments": b": hello\n\n:\ndata: %b\n: amid\n\ndata: %b\n\n: bye\n\n",
    "other fields": b"id: 1\nretry: 5\ndata: %b\n\nwhat\nid\ndata: %b\nevent: b\n\n",
    "done": b"data: %b\n\ndata: %b\n\ndata: [DONE]\n\n",
    "names without data": b"event: a\n\ndata: %b\n\nevent: ping\ndata:\n\ndata: %b\n\n",
    "no last blank line": b"data: %b\n\ndata: %b\n",
    "no last line end": b"data: %b\n\ndata: %b",
    "no last line end after CR LF": b"data: %b\r\n\r\nevent: b\r\ndata: %b\r",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_frames_do_not_depend_on_the_chunks(body: bytes) -> None:
    body %= (A, B)
    assert frames_of(body) == [A, B]
    assert frames_of(*(body[at : at + 1] for at in range(len(body)))) == [A, B]
    for cut in range(len(body) + 1):
        assert frames_of(body[:cut], b"", body[cut:]) == [A, B]


def test_lines_of_data_are_joined() -> None:
    body = b'data: {"type":\ndata:\ndata: "a"}\n\n'
    assert frames_of(body) == frames_of(body[:20], body[20:]) == [b'{"type":\n\n"a"}']


def test_half_an_event_at_the_end_is_dropped() -> None:
    body = b"data: %b\n\nevent: b\ndata: %b" % (A, B)
    for missing in range(1, len(B)):
        assert frames_of(body[:-missing]) == [A]


def test_comments_and_events_without_data_are_counted() -> None:
    parser, _ = parsed(b": one\n\n", b"event: ping\n\n", b"data: [DONE]\n\n", b": two\r\n", b"data: {}\n\n")
    assert parser.comments == 4


@pytest.mark.parametrize("data", [b'{"delta":"x"}', b'{"type":7,"delta":"x"}', b'{"delta":"x" }'])
def test_data_without_a_type_get_the_name_of_their_event(data: bytes) -> None:
    (frame,) = frames_of(b"event: a.b\ndata: %b\n\n" % data)
    expected = {"delta": "x", "type": "a.b"} if b"type" not in data else json.loads(data)
    assert json.loads(frame) == expected


def test_data_that_are_no_object_stay_without_a_type() -> None:
    assert frames_of(b"event: a\ndata: [1]\n\nevent: a\ndata: {\n\n") == [b"[1]", b"{"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('{"type":"error","code":"c"}', {"type": "error", "code": "c"}),
        ('{"error":{"type":"t","code":"c"}}', {"type": "error", "error": {"type": "t", "code": "c"}}),
        ('{"type":"t","code":"c"}', {"type": "error", "error": {"type": "t", "code": "c"}}),
        ('{"error":"died"}', {"type": "error", "error": "died"}),
        ("it died", {"type": "error", "error": {"message": "it died"}}),
        ('"it died"', {"type": "error", "error": {"message": '"it died"'}}),
        ("[" * 50_000, {"type": "error", "error": {"message": "[" * 50_000}}),
    ],
    ids=range(7),
)
def test_an_event_named_error_is_an_error(data: str, expected: object) -> None:
    (frame,) = frames_of(f"event: error\ndata: {data}\n\n".encode())
    assert json.loads(frame) == expected


@pytest.mark.parametrize(
    "body", [b'{"type":"a"}', b"\n <html>", b"[1]", b"\xef\xbb\xbf{}", b"upstream died", b"dat", b"Id: 1\n\n"]
)
def test_a_body_that_begins_like_no_event_is_a_document(body: bytes) -> None:
    text = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    for chunks in ((body,), tuple(body[at : at + 1] for at in range(len(body)))):
        parser, frames = parsed(*chunks)
        assert (parser.form, parser.document, frames) == (BodyForm.DOCUMENT, text, [])


def test_an_empty_body_is_an_empty_document() -> None:
    parser, frames = parsed(b"", b"\n")
    assert (parser.form, parser.document, frames) == (BodyForm.DOCUMENT, b"", [])


def test_events_are_no_document() -> None:
    assert parsed(b"data: {}\n\n")[0].document == b""


def test_an_event_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    line = b"data: %b\n" % (b"x" * 40)
    assert len(frames_of(*[line + b"\n", line + line + b"\n"] * 10)) == 20
    assert len(frames_of(*(line[at : at + 9] for at in range(0, len(line), 9)), line + b"\n")) == 1
    for body in (line * 3, b"data: " + b"x" * 100, b"event: " + b"x" * 100 + b"\n"):
        for size in (1, 7):
            with pytest.raises(ProtocolViolation):
                frames_of(*(body[at : at + size] for at in range(0, len(body), size)))


def test_a_document_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    parser, _ = parsed(*[b"<html>"] * 100)
    assert 90 < len(parser.document) <= 100
