from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest

from trunkline._protocol.response import Response


def response(**fields: Any) -> Response:
    return msgspec.json.decode(json.dumps({"id": "resp_1", **fields}).encode(), type=Response)


def encoded(text: str, encoding: str = "utf-8") -> str:
    return f"resp_{base64.b64encode(text.encode(encoding)).decode()}"


def message(*parts: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts)}


def text(words: str) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": []}


def test_the_fields_in_use_are_decoded() -> None:
    made = response(status="completed", model="m", store=True, previous_response_id="resp_0", output=[])
    assert (made.id, made.status, made.model, made.store) == ("resp_1", "completed", "m", True)
    assert made.previous_response_id == "resp_0"


@pytest.mark.parametrize(
    ("parent", "named", "continues"),
    [
        ("resp_1", "resp_1", True),
        ("resp_1", "resp_2", False),
        ("resp_1", None, False),
        (encoded("litellm:custom_llm_provider:openai;model_id:m;response_id:resp_1"), "resp_1", True),
        (encoded("litellm:custom_llm_provider:openai;model_id:m;response_id:resp_1"), "resp_2", False),
        (encoded("litellm:custom_llm_provider:openai;model_id:m;response_id:resp_1"), None, False),
        (encoded("proxy;response_id:resp_1"), "resp_1", False),
        (encoded("\xff\xfe", "latin-1"), "resp_1", False),
    ],
)
def test_a_response_continues_the_parent_that_it_names(parent: str, named: Any, continues: bool) -> None:
    assert response(previous_response_id=named).continues(parent) is continues


def test_everything_may_be_missing_or_null() -> None:
    for made in (
        response(),
        response(output=None, usage=None, error=None, incomplete_details=None, store=None),
    ):
        assert (made.output, made.usage, made.error, made.incomplete_details) == ([], None, None, None)
        assert (made.output_text, made.tool_calls, made.store) == ("", [], None)
    assert msgspec.json.decode(b"{}", type=Response).id == ""
    assert response(id=None).id == ""


def test_a_null_among_the_output_counts_for_nothing() -> None:
    made = response(output=[None, message(text("hi")), None])
    assert made.output == [message(text("hi"))]
    assert [bytes(item) for item in made.encoded_output or ()] == [json.dumps(made.output[0]).encode()]


def test_objects_are_plain_json() -> None:
    made = response(usage={"total_tokens": 3}, error={"code": "c"}, incomplete_details={"reason": "steered"})
    assert made.usage == {"total_tokens": 3}
    assert made.error == {"code": "c"}
    assert made.incomplete_details == {"reason": "steered"}


def test_a_usage_that_python_cannot_hold_is_none() -> None:
    frame = b'{"id":"resp_1","usage":{"total_tokens":' + b"9" * 5000 + b"}}"
    assert msgspec.json.decode(frame, type=Response).usage is None
    assert response(usage=[1]).usage is None


def test_the_text_of_all_messages_is_joined_and_nothing_else() -> None:
    made = response(
        output=[
            {"type": "reasoning", "content": [text("hidden")]},
            message(text("one "), {"type": "refusal", "refusal": "no"}, text("two")),
            message(text(" three")),
        ]
    )
    assert made.output_text == "one two three"


@pytest.mark.parametrize("content", [None, "text", 5, [None, 5, "x", {"type": "output_text", "text": None}]])
def test_odd_content_has_no_text(content: object) -> None:
    assert response(output=[{"type": "message", "content": content}]).output_text == ""


def test_only_complete_calls_of_the_callers_tools_are_tool_calls() -> None:
    calls = [
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}", "status": "completed"},
        {"type": "custom_tool_call", "call_id": "2", "name": "g", "input": "x"},
        {"type": "function_call", "call_id": "3", "name": "f", "arguments": "", "status": None},
    ]
    others = [
        {"type": "function_call", "call_id": "4", "status": "incomplete"},
        {"type": "function_call", "call_id": "5", "status": "in_progress"},
        {"type": "web_search_call", "status": "completed"},
        message(text("words")),
    ]
    assert response(output=[*others, *calls]).tool_calls == calls


def test_a_tool_call_has_every_field_even_if_the_wire_had_not() -> None:
    made = response(
        output=[
            {"type": "function_call", "call_id": "1", "arguments": {"city": "Oslo"}},
            {"type": "custom_tool_call", "call_id": "2", "name": None},
            {"type": "function_call", "call_id": None, "name": "f", "arguments": "{}"},
            {"type": "function_call", "name": "f", "arguments": "{}"},
            {"type": ["function_call"], "call_id": "5", "name": "f", "arguments": "{}"},
        ]
    )
    assert made.tool_calls == [
        {"type": "function_call", "call_id": "1", "name": "", "arguments": ""},
        {"type": "custom_tool_call", "call_id": "2", "name": "", "input": ""},
    ]
    assert made.output[0]["arguments"] == {"city": "Oslo"}


def test_the_text_of_the_last_message_is_parsed() -> None:
    made = response(status="completed", output=[message(text("1")), message(text("2"), text("3"))])
    assert made.parsed is None
    made = response(status="completed", output=[message(text("1")), message(text("2"), text("3"))])
    made.parse_with(int)
    assert made.parsed == 23


@pytest.mark.parametrize(
    ("status", "output"),
    [
        ("incomplete", [message(text("1"))]),
        ("completed", []),
        ("completed", [message({"type": "refusal", "refusal": "no"})]),
        ("completed", [message()]),
        ("completed", [{"type": "message", "content": "1"}]),
    ],
)
def test_without_a_complete_text_nothing_is_parsed(status: str, output: list[Any]) -> None:
    made = response(status=status, output=output)
    made.parse_with(int)
    assert made.parsed is None


def test_a_response_can_be_given_the_items_that_its_final_event_left_out() -> None:
    items = [msgspec.Raw(json.dumps(message(text("words"))).encode())]
    assert response(status="completed").with_output(items).output_text == "words"


def test_the_output_is_kept_as_bytes_and_decoded_once() -> None:
    made = response(output=[message(text("é"))])
    assert made.encoded_output is not None
    assert json.loads(bytes(made.encoded_output[0])) == message(text("é"))
    assert made.output is made.output


@pytest.mark.parametrize("item", [5, "text", []])
def test_an_output_item_is_an_object(item: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        response(output=[item])


def test_a_repr_shows_no_content() -> None:
    assert (
        repr(response(status="completed", output=[message(text("secret"))])) == "<Response resp_1 completed>"
    )
