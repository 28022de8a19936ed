from __future__ import annotations

import json
import sys
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trunkline._protocol.decoding import decode
from trunkline._protocol.events import (
    CustomToolCallInputDone,
    ErrorEvent,
    Event,
    EventKind,
    FunctionCallArgumentsDone,
    InvalidEvent,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
    ReceivedEvent,
    ResponseCompleted,
    ResponseCreated,
    ResponseFailedEvent,
    ResponseIncomplete,
    ResponseInProgress,
    ResponseQueued,
    ServerEvent,
    SteerAccepted,
    SteerFailed,
    SteerPending,
    UnknownEvent,
)
from trunkline.errors import ProtocolViolation

from ..json_values import JSON_OBJECTS, JSON_VALUES


def frame(kind: str, **fields: Any) -> bytes:
    return json.dumps({"type": kind, **fields}).encode()


RESPONSE = {"id": "resp_1", "status": "completed", "output": [{"type": "message"}]}
MESSAGE = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
VALID: dict[str, dict[str, Any]] = {
    "response.created": {"response": RESPONSE},
    "response.queued": {"response": RESPONSE},
    "response.in_progress": {"response": RESPONSE},
    "response.completed": {"response": RESPONSE},
    "response.failed": {"response": RESPONSE},
    "response.incomplete": {"response": RESPONSE},
    "response.output_item.added": {"item": MESSAGE, "output_index": 0},
    "response.output_item.done": {"item": MESSAGE, "output_index": 0},
    "response.output_text.delta": {"delta": "a", "item_id": "msg_1", "output_index": 0, "content_index": 0},
    "response.output_text.done": {"text": "ab", "item_id": "msg_1"},
    "response.refusal.delta": {"delta": "no"},
    "response.function_call_arguments.delta": {"delta": "{"},
    "response.function_call_arguments.done": {"arguments": "{}"},
    "response.custom_tool_call_input.delta": {"delta": "x"},
    "response.custom_tool_call_input.done": {"input": "x"},
    "response.reasoning_text.delta": {"delta": "hm"},
    "response.reasoning_summary_text.delta": {"delta": "hm"},
    "error": {"status": 400, "error": {"code": "c", "message": "m"}},
    "response.steer.accepted": {"steer": {"id": "s", "previous_response_id": "resp_1"}},
    "response.steer.failed": {"steer": {"previous_response_id": "resp_1"}, "error": {"code": "c"}},
    "response.steer.pending": {"steer": {"id": "s"}, "reason": "r", "required_input": [{}]},
}
KINDS = sorted(VALID)


def union_of_known() -> dict[str, type[Event]]:
    return {cls.type: cls for cls in typing.get_args(ServerEvent) if cls is not UnknownEvent}


def read_everything(event: ReceivedEvent) -> None:
    """Read every attribute of a decoded event."""
    repr(event)
    _ = event.kind
    match event:
        case OutputItemAdded() | OutputItemDone():
            assert isinstance(event.item, dict)
        case ResponseCreated() | ResponseQueued() | ResponseInProgress():
            assert event.response.id is not None
        case ResponseCompleted() | ResponseFailedEvent() | ResponseIncomplete():
            response = event.response
            assert all(isinstance(item, dict) for item in response.output)
            repr((response, response.usage, response.error, response.incomplete_details))
            assert isinstance(response.output_text, str)
            assert isinstance(response.tool_calls, list)
        case ErrorEvent():
            assert event.code is None or isinstance(event.code, str)
            assert isinstance(event.message, str)
            assert all(isinstance(text, str) for pair in event.headers.items() for text in pair)
            repr(event.body)


def decodes_or_violates(data: bytes) -> ReceivedEvent | None:
    try:
        event = decode(data)
    except ProtocolViolation:
        return None
    assert isinstance(event.wire_type, str)
    assert event.raw == data
    assert event.stream_id is None or isinstance(event.stream_id, str)
    read_everything(event)
    return event


# Known events


def test_every_known_type_has_an_example_here() -> None:
    assert sorted(union_of_known()) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_known_event_is_decoded_to_its_own_class(kind: str) -> None:
    event = decode(frame(kind, **VALID[kind], sequence_number=3))
    assert type(event) is union_of_known()[kind]
    assert event.type == event.wire_type == kind
    assert event.stream_id is None


@pytest.mark.parametrize("kind", KINDS)
def test_the_lane_is_read_from_every_event(kind: str) -> None:
    assert decode(frame(kind, stream_id="main", **VALID[kind])).stream_id == "main"


@pytest.mark.parametrize("kind", KINDS)
def test_undeclared_fields_are_tolerated(kind: str) -> None:
    event = decode(frame(kind, **VALID[kind], brand_new={"deep": [1, None]}, obfuscation="xyz"))
    assert type(event) is union_of_known()[kind]


def test_the_terminal_types_are_the_three_ends_of_a_response() -> None:
    ends = {"response.completed", "response.failed", "response.incomplete"}
    assert ends == {kind for kind in VALID if decode(frame(kind, **VALID[kind])).kind.is_terminal}


def test_the_raw_bytes_are_the_frame_itself() -> None:
    data = frame("response.output_text.delta", delta="é")
    event = decode(data)
    assert event.raw is data
    assert event.json() == json.loads(data)


def test_a_delta_carries_its_text_and_place() -> None:
    event = decode(frame("response.output_text.delta", **VALID["response.output_text.delta"]))
    assert isinstance(event, OutputTextDelta)
    assert (event.delta, event.item_id, event.output_index, event.content_index) == ("a", "msg_1", 0, 0)


def test_deltas_need_neither_an_item_nor_an_index() -> None:
    event = decode(b'{"type":"response.output_text.delta","delta":"a"}')
    assert isinstance(event, OutputTextDelta)
    assert event.item_id is None


def test_done_events_carry_the_whole_text() -> None:
    done = decode(frame("response.output_text.done", text="all"))
    arguments = decode(frame("response.function_call_arguments.done", arguments="{}"))
    assert isinstance(done, OutputTextDone)
    assert done.text == "all"
    assert isinstance(arguments, FunctionCallArgumentsDone)
    assert arguments.arguments == "{}"
    given = decode(frame("response.custom_tool_call_input.done", input="go"))
    assert isinstance(given, CustomToolCallInputDone)
    assert given.input == "go"


def test_an_item_is_decoded_on_each_access() -> None:
    event = decode(frame("response.output_item.done", item=MESSAGE))
    assert isinstance(event, OutputItemDone)
    event.item["role"] = "changed"
    assert event.item == MESSAGE
    assert json.loads(bytes(event.encoded_item)) == MESSAGE


def test_steering_events_name_their_response() -> None:
    accepted = decode(frame("response.steer.accepted", **VALID["response.steer.accepted"]))
    failed = decode(frame("response.steer.failed", **VALID["response.steer.failed"]))
    pending = decode(frame("response.steer.pending", **VALID["response.steer.pending"]))
    assert isinstance(accepted, SteerAccepted)
    assert accepted.steer.previous_response_id == "resp_1"
    assert isinstance(failed, SteerFailed)
    assert failed.error is not None
    assert failed.error.code == "c"
    assert isinstance(pending, SteerPending)
    assert pending.required_input == [{}]


def test_a_repr_shows_the_type_and_never_the_content() -> None:
    for kind in KINDS:
        assert "secret" not in repr(
            decode(frame(kind, **{**VALID[kind], "delta": "secret", "text": "secret"}))
        )
    assert "secret" not in repr(decode(frame("new", delta="secret")))
    assert "secret" not in repr(decode(frame("response.created", response="secret")))


# Errors


def test_a_nested_error_is_read() -> None:
    event = decode(
        b'{"type":"error","status":429,"stream_id":"main","error":{"type":"t","code":"c","message":"m",'
        b'"param":"p","headers":{"Retry-After":"2","x-number":3}}}'
    )
    assert isinstance(event, ErrorEvent)
    assert (event.code, event.message, event.status, event.stream_id) == ("c", "m", 429, "main")
    assert (event.body.type, event.body.param) == ("t", "p")
    assert event.headers == {"retry-after": "2", "x-number": "3"}


def test_a_flat_error_is_read() -> None:
    event = decode(b'{"type":"error","code":"c","message":"m","param":"p","sequence_number":3}')
    assert isinstance(event, ErrorEvent)
    assert (event.code, event.message, event.body.param, event.status) == ("c", "m", "p", None)
    assert event.headers == {}


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        ({}, None, "the service gave no message"),
        ({"error": None}, None, "the service gave no message"),
        ({"error": {}}, None, "the service gave no message"),
        (
            {"error": {"code": None, "message": None, "param": None, "type": None}},
            None,
            "the service gave no message",
        ),
        ({"error": {"code": "c"}}, "c", "c"),
        ({"error": {"code": 5, "message": ["x"], "headers": "none"}}, "5", "5"),
        ({"error": "in words"}, None, "in words"),
        ({"error": ["list"]}, None, "the service gave no message"),
        ({"error": 5, "message": "flat"}, None, "flat"),
        ({"code": "", "message": ""}, None, "the service gave no message"),
        ({"status": "400", "sequence_number": None, "code": "c"}, "c", "c"),
    ],
)
def test_every_part_of_an_error_may_be_missing_or_odd(
    fields: dict[str, Any], code: str | None, message: str
) -> None:
    event = decode(frame("error", **fields))
    assert isinstance(event, ErrorEvent)
    assert (event.code, event.message, event.headers) == (code, message, {})


def test_an_error_with_a_number_that_python_cannot_hold_is_read_without_it() -> None:
    event = decode(b'{"type":"error","error":{"code":"c"},"extra":' + b"9" * 5000 + b"}")
    assert isinstance(event, ErrorEvent)
    assert event.code == "c"


@pytest.mark.parametrize("lane", [{}, {"stream_id": "a"}])
@pytest.mark.parametrize("error", [{"message": "no"}, "no"])
def test_an_object_with_an_error_and_no_type_is_an_error_event(lane: dict[str, str], error: Any) -> None:
    data = json.dumps({"error": error, **lane}).encode()
    event = decode(data)
    assert isinstance(event, ErrorEvent)
    assert (event.message, event.stream_id, event.raw) == ("no", lane.get("stream_id"), data)


def test_an_error_whose_type_is_null_is_an_error_event() -> None:
    assert isinstance(decode(b'{"type":null,"error":"no"}'), ErrorEvent)


def test_an_error_without_a_type_and_with_an_impossible_number_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        decode(b'{"error":"no","extra":' + b"9" * 5000 + b"}")


@pytest.mark.parametrize("data", [b'{"error":null}', b'{"error":{}}', b'{"type":"","error":"x"}', b'{"a":1}'])
def test_an_object_without_a_type_and_without_an_error_is_a_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        decode(data)


# Unknown and invalid events


def test_an_unknown_event_keeps_its_type_lane_and_raw_bytes() -> None:
    data = frame("response.brand_new", stream_id="a", thing=1)
    event = decode(data)
    assert isinstance(event, UnknownEvent)
    assert (event.type, event.wire_type) == ("unknown", "response.brand_new")
    assert (event.stream_id, event.raw) == ("a", data)
    assert event.json() == {"type": "response.brand_new", "stream_id": "a", "thing": 1}


@pytest.mark.parametrize(("fields", "has_output"), [({"delta": "a"}, True), ({"thing": 1}, False)])
def test_an_unknown_event_tells_whether_it_has_output(fields: dict[str, Any], has_output: bool) -> None:
    event = decode(frame("response.brand_new", **fields))
    assert isinstance(event, UnknownEvent)
    assert event.has_output is has_output


@pytest.mark.parametrize("part", [{"item": {}}, {"item_id": "x"}, {"output_index": 0}, {"delta": ""}])
def test_an_unknown_event_with_a_field_of_items_is_output(part: dict[str, Any]) -> None:
    assert decode(frame("response.brand_new", **part)).kind is EventKind.OUTPUT
    assert decode(frame("response.brand_new", **dict.fromkeys(part))).kind is not EventKind.OUTPUT


def test_keep_alives_and_the_like_are_no_output() -> None:
    assert decode(frame("keepalive", sequence_number=4)).kind is not EventKind.OUTPUT


@pytest.mark.parametrize("kind", KINDS)
def test_items_and_deltas_are_output_and_life_cycle_and_errors_are_not(kind: str) -> None:
    parts = ("output_item", "output_text", "refusal", "arguments", "input.d", "reasoning")
    assert (decode(frame(kind, **VALID[kind])).kind is EventKind.OUTPUT) == any(
        part in kind for part in parts
    )


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("response.output_text.delta", {"delta": 5}),
        ("response.completed", {}),
        ("response.completed", {"response": None}),
        ("response.completed", {"response": {"id": "r", "output": ["text"]}}),
        ("response.completed", {"response": {"id": "r", "output": {"type": "message"}}}),
        ("response.output_item.done", {"item": "text"}),
        ("error", {"stream_id": 5}),
    ],
)
def test_a_known_event_with_impossible_fields_is_invalid_and_fails_nothing_else(
    kind: str, fields: dict[str, Any]
) -> None:
    event = decode(frame(kind, **{"stream_id": "a", **fields}))
    assert isinstance(event, InvalidEvent)
    assert event.wire_type == kind
    assert event.stream_id == (None if kind == "error" else "a")
    assert event.problem


@pytest.mark.parametrize("is_null", [True, False])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "error"])
def test_a_known_event_without_content_has_no_effect_unless_it_is_terminal(kind: str, is_null: bool) -> None:
    names = ("response", "item", "delta", "text", "arguments", "input", "steer")
    content = next(name for name in names if name in VALID[kind])
    others = {name: value for name, value in VALID[kind].items() if name != content}
    event = decode(frame(kind, stream_id="a", **others, **({content: None} if is_null else {})))
    is_terminal = union_of_known()[kind].kind.is_terminal
    assert type(event) is (InvalidEvent if is_terminal else UnknownEvent)
    assert event.kind is (EventKind.INVALID if is_terminal else EventKind.OTHER)
    assert (event.wire_type, event.stream_id) == (kind, "a")


@pytest.mark.parametrize(("index", "read"), [(1, 1), (1.0, 1), ("1", None), (None, None), (0.5, None)])
def test_an_index_that_is_no_whole_number_counts_as_missing(index: object, read: int | None) -> None:
    for kind in ("response.output_item.done", "response.output_text.done"):
        event = decode(frame(kind, **{**VALID[kind], "output_index": index}))
        assert isinstance(event, OutputItemDone | OutputTextDone)
        assert event.output_index == read


def test_the_problem_of_an_invalid_event_has_no_content() -> None:
    event = decode(frame("response.output_text.delta", delta={"secret": "words"}))
    assert isinstance(event, InvalidEvent)
    assert "$.delta" in event.problem
    assert "secret" not in event.problem


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("usage", [1]),
        ("usage", 1),
        ("error", "x"),
        ("incomplete_details", "x"),
        ("store", "yes"),
        ("model", 5),
    ],
)
def test_odd_fields_of_a_final_response_do_not_fail_a_turn_whose_text_was_delivered(
    field: str, value: object
) -> None:
    event = decode(frame("response.completed", response={"id": "r", "output": [MESSAGE], field: value}))
    assert isinstance(event, ResponseCompleted)
    assert event.response.output_text == "hi"
    read_everything(event)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b"5",
        b'"text"',
        b"[]",
        b"[{}]",
        b"{}",
        b'{"type":null}',
        b'{"type":5}',
        b'{"type":""}',
        b'{"type":["error"]}',
        b'{"type":"error"',
        b'{"type":"error"}}',
        b'{"type":"error","status":NaN}',
        b'{"type":"error","status":Infinity}',
        b"\xef\xbb\xbf{}",
        b"\x00",
        b'\xff{"type":"x"}',
        b'{"type":"x","text":"\xff"}',
        b'{"type":"response.completed","response":{"id":"r","output":[{"text":"\xc3"}]}}',
        b'{"type":"x","surrogate":"\xed\xa0\x80"}',
        b'{"type":"x","deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda data: repr(data[:40]),
)
def test_data_that_is_not_an_event_is_a_protocol_violation(data: bytes) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        decode(data)
    message = str(caught.value)
    assert message.startswith(f"received a frame of {len(data)} bytes that is ")
    assert "JSON" in message
    assert "check that base_url" in message


@pytest.mark.parametrize(
    "text",
    ['"\\ud83d"', '"cut \\ud83d"', '"\\ude00 x"', '"\\ud83d\\u0041"', '"\\ud83d\\n"', '"\\ud83d\\ud83d"'],
)
@pytest.mark.parametrize(
    "shape",
    [
        '{"type":"response.output_text.delta","delta":%s}',
        '{"type":"response.output_item.done","item":{"type":"message","text":%s}}',
        '{"type":"response.completed","response":{"id":"r","output":[{"type":"message","text":%s}]}}',
        '{"type":"brand_new","text":%s}',
        '{"type":"error","error":{"message":%s}}',
    ],
)
def test_half_a_surrogate_pair_becomes_a_replacement_character(shape: str, text: str) -> None:
    data = (shape % text).encode()
    event = decode(data)
    assert not isinstance(event, InvalidEvent)
    assert event.raw == data
    assert "\ufffd" in json.dumps(event.json(), ensure_ascii=False)
    read_everything(event)
    if isinstance(event, OutputTextDelta):
        assert "\ufffd" in event.delta
        event.delta.encode()


def test_an_impossible_field_beside_half_a_surrogate_pair_makes_an_event_invalid() -> None:
    data = b'{"type":"response.output_text.delta","delta":"\\ud83d","stream_id":5}'
    event = decode(data)
    assert isinstance(event, InvalidEvent)
    assert (event.wire_type, event.raw) == ("response.output_text.delta", data)


def test_numbers_that_python_cannot_hold_are_skipped_or_invalid() -> None:
    digits = b"9" * 5000
    assert isinstance(decode(b'{"type":"x","n":' + digits + b"}"), UnknownEvent)
    assert isinstance(
        decode(b'{"type":"response.output_text.delta","delta":"a","n":' + digits + b"}"), OutputTextDelta
    )
    assert isinstance(decode(b'{"type":"error","status":' + digits + b"}"), InvalidEvent)
    assert isinstance(decode(b'{"type":"error","status":1e999}'), InvalidEvent)
    item = b'{"type":"x","n":' + digits + b"}"
    assert isinstance(decode(b'{"type":"response.output_item.done","item":' + item + b"}"), InvalidEvent)
    usage = b'{"type":"response.completed","response":{"id":"r","usage":{"n":' + digits + b"}}}"
    event = decode(usage)
    assert isinstance(event, ResponseCompleted)
    assert event.response.usage is None


def test_duplicate_keys_are_accepted() -> None:
    assert decodes_or_violates(b'{"type":"error","type":"new"}') is not None
    assert decodes_or_violates(b'{"type":"new","type":"error"}') is not None
    event = decode(
        b'{"type":"response.output_text.delta","delta":"a","delta":"b","stream_id":"x","stream_id":"y"}'
    )
    assert isinstance(event, OutputTextDelta)
    assert (event.delta, event.stream_id) == ("b", "y")


def test_a_field_named_as_the_raw_bytes_are_kept_does_no_harm() -> None:
    for value in ("eA==", 5):
        event = decodes_or_violates(frame("response.output_text.delta", **{"delta": "a", " raw": value}))
        assert event is not None


def test_deeply_nested_undeclared_fields_pass() -> None:
    assert isinstance(decode(b'{"type":"x","deep":' + b"[" * 200 + b"]" * 200 + b"}"), UnknownEvent)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
@example(b'{"type":"error","status":NaN}')
def test_any_bytes_give_an_event_or_a_protocol_violation(data: bytes) -> None:
    decodes_or_violates(data)


@settings(max_examples=200, deadline=None)
@given(JSON_VALUES)
def test_any_json_gives_an_event_or_a_protocol_violation(value: Any) -> None:
    is_event = isinstance(value, dict) and (
        (isinstance(value.get("type"), str) and value["type"])
        or (value.get("type") is None and value.get("error"))
    )
    assert (decodes_or_violates(json.dumps(value).encode()) is not None) == bool(is_event)


FIELDS = st.sampled_from(["response", "item", "delta", "text", "arguments", "error", "status", "code"])
MORE_FIELDS = st.sampled_from(
    ["steer", "required_input", "stream_id", "output_index", "message", " raw", "reason"]
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(KINDS), st.dictionaries(FIELDS | MORE_FIELDS, JSON_VALUES | JSON_OBJECTS, max_size=5))
def test_a_known_type_with_any_fields_gives_an_event(kind: str, fields: dict[str, Any]) -> None:
    event = decodes_or_violates(frame(kind, **{**VALID[kind], **fields}))
    assert event is not None
    assert event.wire_type == kind


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(["id", "status", "output", "usage", "error", "incomplete_details", "store"]),
    JSON_VALUES | st.lists(JSON_OBJECTS, max_size=3),
)
def test_a_response_with_any_fields_gives_an_event(kind: str, name: str, value: Any) -> None:
    event = decodes_or_violates(frame(kind, **{**VALID[kind], "response": {**RESPONSE, name: value}}))
    assert event is not None
    assert event.wire_type == kind


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_a_valid_frame_with_a_few_bytes_changed_gives_an_event_or_a_protocol_violation(
    data: st.DataObject,
) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    mutated = bytearray(frame(kind, stream_id="é", **VALID[kind]))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(mutated) - 1))
        count = data.draw(st.integers(0, 2))
        mutated[position : position + count] = data.draw(
            st.binary(max_size=2)
            | st.sampled_from([b'"', b"\\", b"{", b"}", b"[", b",", b"\\ud800", b"\xff", b"1e999"])
        )
    decodes_or_violates(bytes(mutated))


def decodings(frame: bytes) -> int:
    """How often a decoder is called for a frame."""
    found = 0

    def count(_: Any, event: str, called: Any) -> None:
        nonlocal found
        found += event == "c_call" and isinstance(getattr(called, "__self__", None), msgspec.json.Decoder)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        decode(frame)
    finally:
        sys.setprofile(before)
    return found


def test_only_an_event_that_must_be_read_is_decoded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delta is decoded in one pass; pass-through needs no second decoding."""
    monkeypatch.setattr(msgspec.json, "decode", None)
    monkeypatch.setattr(json, "loads", None)
    frame = b'{"type":"response.output_text.delta","delta":"a"}'
    assert decode(frame).raw == frame
    assert decodings(frame) == decodings(b'{"type":"response.created","response":{"id":"r"}}') == 1
    assert decodings(b'{"type":"response.brand_new"}') == 2


def test_the_place_of_a_delta_is_decoded_on_access() -> None:
    frame = json.dumps(
        {"type": "response.output_text.delta", "delta": "a", "item_id": "msg_1", "content_index": 2}
    ).encode()
    event = decode(frame)
    assert isinstance(event, OutputTextDelta)
    assert (event.item_id, event.output_index, event.content_index) == ("msg_1", None, 2)
    assert "item_id" not in OutputTextDelta.__struct_fields__


def test_an_event_that_no_frame_brought_has_no_place() -> None:
    event = OutputTextDelta(delta="a")
    assert (event.item_id, event.output_index, event.content_index) == (None, None, None)


def test_an_invalid_place_does_not_fail_the_event() -> None:
    frame = b'{"type":"response.output_text.delta","delta":"\\ud83d","item_id":7,"output_index":"first"}'
    event = decode(frame)
    assert isinstance(event, OutputTextDelta)
    assert (event.item_id, event.output_index, event.content_index) == (None, None, None)


# Guarantees for callers


def everything_decoded() -> list[ReceivedEvent]:
    known = [decode(frame(kind, **VALID[kind])) for kind in KINDS]
    return [*known, decode(frame("response.brand_new"))]


@pytest.mark.parametrize("event", everything_decoded(), ids=lambda event: event.wire_type)
def test_an_event_cannot_be_changed(event: ReceivedEvent) -> None:
    for name in (*event.__struct_fields__, "type"):
        with pytest.raises(AttributeError):
            setattr(event, name, None)
        with pytest.raises(AttributeError):
            delattr(event, name)


def test_the_response_of_an_event_cannot_be_changed() -> None:
    event = decode(frame("response.completed", response=RESPONSE))
    assert isinstance(event, ResponseCompleted)
    before = event.response.output_text
    for name in event.response.__struct_fields__:
        with pytest.raises(AttributeError):
            setattr(event.response, name, None)
    assert event.response.output_text == before


def test_the_type_of_a_class_is_the_tag_by_which_it_is_decoded() -> None:
    for kind, cls in union_of_known().items():
        assert cls.__struct_config__.tag == kind


def test_a_server_cannot_pretend_an_event_to_be_unknown_or_invalid() -> None:
    for kind in ("unknown", "invalid"):
        event = decode(frame(kind, wire_type="response.completed", problem="x"))
        assert isinstance(event, UnknownEvent)
        assert event.wire_type == kind


def test_callers_are_never_given_an_invalid_event() -> None:
    assert InvalidEvent not in typing.get_args(ServerEvent)
    assert set(typing.get_args(ReceivedEvent)) == {*typing.get_args(ServerEvent), InvalidEvent}
