from __future__ import annotations

import json
from typing import Any, cast

import pytest

from trunkline._decisions.lineage import Asked, Place
from trunkline._face import recording as recordings
from trunkline._face.memory import Memory
from trunkline._face.outcome import Broken
from trunkline._face.recording import Recording
from trunkline._face.sse import Rewriting
from trunkline._protocol.history import History
from trunkline._protocol.sse import EventParser
from trunkline.errors import ProtocolViolation

SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "m",
    "store": True,
    "previous_response_id": None,
    "output": [SAID],
}


class FakeUpstream:
    def __init__(self) -> None:
        self.memory = Memory()
        self.keeps_responses = True

    def now(self) -> float:
        return 0.0


class Recorded:
    """A recording of the answer to a new request."""

    def __init__(self, parent_id: str | None = None, *, owned: bool = True) -> None:
        self.upstream = cast(Any, FakeUpstream())
        asked = Asked(b"f", b"o", History.of(()))
        place = self.upstream.memory.lineage.find(asked, 0.0)
        if not owned:
            place = Place(place.way, None, place.context, asked)
        self.recording = Recording(self.upstream, place, Rewriting(parent_id) if parent_id else None)

    def knows(self, response_id: str = "resp_1") -> bool:
        known: bool = self.upstream.memory.lineage.knows(response_id)
        return known


def event(kind: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **members}).encode())


STREAM = event("response.created", response={**RESPONSE, "status": "in_progress", "output": []}) + event(
    "response.completed", response=RESPONSE
)


def test_a_stream_is_recorded_before_its_last_bytes_are_sent() -> None:
    recorded = Recorded()
    for at in range(0, len(STREAM), 50):
        assert not recorded.knows()
        chunk = STREAM[at : at + 50]
        assert recorded.recording.feed(chunk) == chunk
    assert recorded.knows()
    assert recorded.recording.feed(b": more\n\n") == b": more\n\n"
    assert recorded.recording.end() == b""
    assert "resp_1" not in repr(recorded.recording)


def test_a_document_is_recorded_at_its_end() -> None:
    recorded, document = Recorded(), json.dumps(RESPONSE).encode()
    assert recorded.recording.feed(document) == document
    assert recorded.recording.end() == b""
    assert recorded.knows()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        STREAM[: STREAM.index(b"event: response.completed")],
        event("response.failed", response={**RESPONSE, "status": "failed", "error": {"message": "no"}}),
        event("error", error={"message": "no"}),
        event("response.completed", response={**RESPONSE, "output": 3}),
        b"data: [1]\n\n" + STREAM,
        json.dumps({**RESPONSE, "status": "in_progress"}).encode(),
        json.dumps({**RESPONSE, "id": None}).encode(),
    ],
)
def test_what_is_no_whole_response_is_passed_on_and_not_recorded(body: bytes) -> None:
    recorded = Recorded()
    assert recorded.recording.feed(body) + recorded.recording.end() == body
    assert not recorded.knows()


def test_what_has_no_owner_is_not_recorded() -> None:
    recorded = Recorded(owned=False)
    recorded.recording.feed(STREAM)
    assert not recorded.knows()


def test_a_stream_is_written_with_the_parent_of_the_caller() -> None:
    recorded = Recorded("resp_0")
    rest = b": sign\n\n" + event("x.delta", delta='"previous_response_id"') + b"data: [1]\n\n"
    written = recorded.recording.feed(STREAM[:70]) + recorded.recording.feed(STREAM[70:])
    written += recorded.recording.feed(rest) + recorded.recording.end()
    found = [json.loads(frame) for frame in EventParser().feed(written)]
    assert [each["response"]["previous_response_id"] for each in found[:2]] == ["resp_0", "resp_0"]
    assert found[1]["response"]["output"] == [SAID]
    assert found[2] == {"type": "x.delta", "delta": '"previous_response_id"'}
    assert found[3] == [1]
    assert recorded.knows()


def test_a_document_is_written_with_the_parent_of_the_caller() -> None:
    recorded = Recorded("resp_0")
    document = json.dumps(RESPONSE).encode()
    assert recorded.recording.feed(document[:9]) + recorded.recording.feed(document[9:]) == b""
    assert json.loads(recorded.recording.end()) == {**RESPONSE, "previous_response_id": "resp_0"}
    assert recorded.knows()


@pytest.mark.parametrize("body", [b"<html>", b'{"half":', b"[]"])
def test_another_document_is_passed_on(body: bytes) -> None:
    recorded = Recorded("resp_0")
    assert recorded.recording.feed(body) + recorded.recording.end() == body


@pytest.mark.parametrize("parent_id", [None, "resp_0"])
def test_an_event_that_is_too_large_is_passed_on_or_breaks_the_answer(
    parent_id: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(EventParser):
        def feed(self, chunk: bytes) -> list[bytes]:
            raise ProtocolViolation("too large")

    monkeypatch.setattr(recordings, "EventParser", Full)
    recorded = Recorded(parent_id)
    if parent_id is None:
        assert recorded.recording.feed(STREAM) == STREAM
        assert not recorded.knows()
    else:
        with pytest.raises(Broken, match="too large"):
            recorded.recording.feed(STREAM)
