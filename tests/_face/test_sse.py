from __future__ import annotations

import json
import re
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from trunkline._decisions.given_ids import GivenIds
from trunkline._face.sse import Rewriting, whole_failure
from trunkline._protocol.calls import announcement
from trunkline._protocol.decoding import decode
from trunkline._protocol.events import MadeFrame, OutputItemDone, OutputTextDelta
from trunkline._protocol.refusal_text import told_refusal
from trunkline._protocol.whole_text import told

SHARED = {"id": "r", "previous_response_id": "r"}
DELTA = {"type": "response.output_text.delta", "item_id": "m", "delta": "a", "sequence_number": 4}


def written(frame: bytes, parent_id: str | None = None) -> bytes:
    event: Any = decode(frame)
    return Rewriting(parent_id).event(event)


def sse(event: dict[str, Any] | bytes, parent_id: str | None = None) -> tuple[str, Any]:
    """The name and the data of an event."""
    frame = event if isinstance(event, bytes) else json.dumps(event, separators=(",", ":")).encode()
    text = written(frame, parent_id).decode()
    *lines, end, last = text.split("\n")
    assert (end, last) == ("", "")
    name = next((line[7:] for line in lines if line.startswith("event: ")), "")
    return name, json.loads(next(line[6:] for line in lines if line.startswith("data: ")))


def test_an_event_keeps_its_bytes() -> None:
    frame = b'{"type": "response.output_text.delta", "delta":"\\u0041", "sequence_number":4}'
    assert written(frame) == b"event: response.output_text.delta\ndata: " + frame + b"\n\n"


def test_the_lane_is_removed_from_the_top_level_alone() -> None:
    event = {**DELTA, "stream_id": "lane-1", "x": {"stream_id": "y"}, "delta": '"stream_id":"lane-1"'}
    name, data = sse(event)
    assert name == "response.output_text.delta"
    assert data == {name: value for name, value in event.items() if name != "stream_id"}


@pytest.mark.parametrize("stream_id", [None, "lane"])
@pytest.mark.parametrize("kind", ["response.created", "response.completed", "response.queued"])
def test_a_resource_names_the_parent_of_the_caller(kind: str, stream_id: str | None) -> None:
    response = {"id": "r", "previous_response_id": "resp_ours", "output": [], "status": "completed"}
    event = {"type": kind, "response": response, "sequence_number": 1}
    if stream_id is not None:
        event["stream_id"] = stream_id
    assert sse(event)[1]["response"]["previous_response_id"] is None
    assert sse(event, "resp_theirs")[1]["response"]["previous_response_id"] == "resp_theirs"
    assert "stream_id" not in sse(event)[1]


def test_a_response_whose_id_another_one_has_gets_its_own_in_all_events() -> None:
    ids = GivenIds(8)
    for expected in ("r", "r-2"):
        rewriting = Rewriting("r", give=ids.give)
        for kind in ("response.created", "response.completed"):
            event: Any = decode(json.dumps({"type": kind, "response": {**SHARED, "status": "x"}}).encode())
            *_, data, _, _ = rewriting.event(event).decode().split("\n")
            assert json.loads(data.removeprefix("data: "))["response"] == {
                **SHARED,
                "id": expected,
                "previous_response_id": "r",
                "status": "x",
            }
        assert rewriting.shown("r") == expected


@pytest.mark.parametrize("parent", [None, "p"])
def test_the_parent_stays_where_the_service_got_that_of_the_caller(parent: str | None) -> None:
    raw = json.dumps({"id": "r", "previous_response_id": parent}).encode()
    assert Rewriting("p", keeps_parent=True).resource(raw) == raw


def test_a_resource_without_a_parent_stays_as_it_is() -> None:
    rewriting = Rewriting("resp_theirs")
    assert rewriting.resource(b'{"id": "r"}') == b'{"id": "r"}'
    assert rewriting.resource(b"null") == b"null"


@pytest.mark.parametrize("stream_id", [None, "lane"])
def test_events_that_the_service_did_not_send_are_left_out(stream_id: str | None) -> None:
    assert Rewriting(None).event(told("text", stream_id)) == b""
    assert Rewriting(None).event(told_refusal("No.", stream_id)) == b""
    made = OutputItemDone(
        encoded_item=decode(announcement({"type": "function_call"})).encoded_item,  # type: ignore[union-attr]
        raw=MadeFrame(announcement({"type": "function_call"})),
        stream_id=stream_id,
    )
    assert Rewriting(None).event(made) == b""


def test_events_without_a_sequence_number_are_passed_on() -> None:
    events: list[dict[str, Any]] = [
        {"type": "response.output_text.delta", "item_id": "m", "delta": "a"},
        {"type": "response.output_item.done", "output_index": 0, "item": {"type": "message"}},
        {"type": "new", "x": 1},
    ]
    for event in events:
        assert sse(event)[1] == event


@pytest.mark.parametrize("lane", [{}, {"stream_id": "lane"}])
def test_events_of_terse_servers_are_passed_on(lane: dict[str, Any]) -> None:
    """They have the same fields as the events that the library makes."""
    events: list[dict[str, Any]] = [
        {"type": "response.output_text.delta", "delta": "a"},
        {"type": "response.refusal.delta", "delta": "a"},
        {"type": "response.output_item.done", "item": {"type": "function_call", "call_id": "c"}},
    ]
    for event in events:
        assert sse({**event, **lane})[1] == event


def test_an_event_in_several_lines_becomes_one() -> None:
    frame = json.dumps(DELTA, indent=1).encode()
    assert sse(frame)[1] == DELTA


def test_a_name_with_a_line_break_is_left_out() -> None:
    name, data = sse({"type": "a\nb", "sequence_number": 1})
    assert name == ""
    assert data["type"] == "a\nb"


def test_half_surrogates_are_mended() -> None:
    frame = b'{"type":"response.output_text.delta","delta":"\\ud83d","stream_id":"l","item_id":"m"}'
    assert isinstance(decode(frame.replace(b"\\ud83d", b"x")), OutputTextDelta)
    assert b"stream_id" not in written(frame)


def test_a_failure_before_output_begins_as_a_response() -> None:
    failed = {
        "type": "response.failed",
        "sequence_number": 9,
        "response": {"id": "r", "error": {"code": "x"}},
    }
    kinds = []
    for kind, frame in whole_failure(json.dumps(failed).encode()):
        event = json.loads(frame)
        kinds.append((kind, event["type"], event["response"]["id"], event["response"]["error"]))
    assert kinds == [
        ("response.created", "response.created", "r", None),
        ("response.in_progress", "response.in_progress", "r", None),
        ("response.failed", "response.failed", "r", {"code": "x"}),
    ]


@pytest.mark.parametrize("given", ["[]", "null", '[{"a":1}]', '[{"b":2},{"b":2}]', '{"a":1}', None])
def test_the_resource_of_an_answer_has_the_output_that_was_received(given: str | None) -> None:
    member = b"" if given is None else b',"output":' + given.encode()
    frame = b'{"type":"x","response":{"id":"r"%b}}' % member
    items = [Raw(b'{"a":1}'), Raw(b'{"b":2}')]
    assert json.loads(Rewriting(None).resource_in(frame, items))["output"] == [{"a": 1}, {"b": 2}]
    assert Rewriting(None).resource_in(frame, None) == b'{"id":"r"%b}' % member
    assert Rewriting(None).resource_in(frame, []) == b'{"id":"r"%b}' % member


def test_a_resource_with_the_output_that_was_received_keeps_its_bytes() -> None:
    frame = b'{"response":{ "id":"r", "output": [{"a": 1} , {}] }}'
    items = [Raw(b'{"a": 1}'), Raw(b"{}")]
    assert Rewriting(None).resource_in(frame, items) == b'{ "id":"r", "output": [{"a": 1} , {}] }'


@pytest.mark.parametrize("lane", [b"", b',"stream_id":"lane"'])
def test_a_call_is_the_same_in_its_event_and_in_the_response(lane: bytes) -> None:
    call = b'{"type": "function_call","call_id":"c"}'
    frame = b'{"type":"response.output_item.done","sequence_number":1,"item":%b%b}' % (call, lane)
    event: Any = decode(frame)
    assert call in Rewriting(None).event(event)
    named = replace(event, encoded_item=Raw(call.replace(b'"c"', b'"d"')))
    (data,) = re.findall(rb"data: (.*)\n", Rewriting(None).event(named))
    assert json.loads(data)["item"]["call_id"] == "d"
    assert b"lane" not in data
