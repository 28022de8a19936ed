from __future__ import annotations

from typing import Any

import pytest

from trunkline._protocol.items import Item
from trunkline.heard import as_heard

from .talk import assistant

REASONING: dict[str, Any] = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}
CALL = {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "snow"}
RUN = [assistant("One moment. "), CALL, OUTPUT, assistant("It snows in Oslo.")]


def heard(output: list[dict[str, Any]], text: str) -> list[str]:
    """The kept items: texts of messages, and types of other items."""
    kept = as_heard([Item.of(item) for item in output], text)
    return [item.joinable_text if item.joinable_text is not None else item.kind for item in kept]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("One moment. It snows in Oslo.", ["One moment. ", *RUN[1:3], "It snows in Oslo."]),
        ("One moment. It snows", ["One moment. ", *RUN[1:3], "It snows"]),
        ("One moment. ", ["One moment. ", *RUN[1:3]]),
        ("One mo", ["One mo", *RUN[1:3]]),
        ("", RUN[1:3]),
    ],
)
def test_messages_are_cut_to_the_heard_text_in_order(text: str, kept: list[Any]) -> None:
    expected = [item if isinstance(item, str) else item["type"] for item in kept]
    assert heard(RUN, text) == expected


def test_a_text_that_is_no_prefix_replaces_the_last_message() -> None:
    assert heard(RUN, "It snows") == ["function_call", "function_call_output", "It snows"]
    assert heard([assistant("one")], "eins") == ["eins"]
    assert heard(RUN, "One moment. It snows in Oslo. And more") == [
        "function_call",
        "function_call_output",
        "One moment. It snows in Oslo. And more",
    ]


@pytest.mark.parametrize("between", ["", " ", "\n"])
def test_white_space_between_messages_makes_no_difference(between: str) -> None:
    output = [assistant("One moment."), CALL, OUTPUT, assistant("It snows.")]
    assert heard(output, f"One moment.{between}It") == [
        "One moment.",
        "function_call",
        "function_call_output",
        "It",
    ]
    assert heard(output, f"One moment.{between}") == ["One moment.", "function_call", "function_call_output"]


def test_a_message_that_was_heard_in_full_is_unchanged() -> None:
    parts = [{"type": "output_text", "text": "one two", "annotations": []}]
    item = Item.of({"type": "message", "role": "assistant", "content": parts})
    assert as_heard([item], "one two ") == [item]
    assert as_heard([item], "one two ")[0].json()["content"] == parts


def test_reasoning_is_kept_before_calls_or_if_all_was_heard() -> None:
    last = [REASONING, assistant("It snows.")]
    output = [REASONING, assistant("One moment."), CALL, OUTPUT, *last]
    first = ["reasoning", "One moment.", "function_call", "function_call_output"]
    assert heard(output, "One moment.It") == [*first, "It"]
    assert heard(output, "One moment.It snows.") == [*first, "reasoning", "It snows."]
    assert heard(last, "") == []


def test_without_a_message_the_heard_text_comes_last() -> None:
    assert heard([REASONING, CALL, OUTPUT], "Hm.") == [
        "reasoning",
        "function_call",
        "function_call_output",
        "Hm.",
    ]
    assert heard([REASONING], "") == []
    assert heard([], "Hm.") == ["Hm."]


def test_refusals_and_other_items_are_kept() -> None:
    refusal = {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]}
    assert heard([assistant("one two"), refusal], "one") == ["one", "message"]
