from __future__ import annotations

from typing import Any

import pytest

from trunkline.cli.contexts import difference

USER: dict[str, Any] = {"role": "user", "content": "Hi"}
CALL: dict[str, Any] = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}
OUTPUT: dict[str, Any] = {"type": "function_call_output", "call_id": "c1", "output": "fine"}
ANSWER: dict[str, Any] = {
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Hel"}, {"type": "output_text", "text": "lo"}],
}
HISTORY = [USER, CALL, OUTPUT, ANSWER]


def test_what_servers_add_and_how_it_is_written_makes_no_difference() -> None:
    seen = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {**CALL, "id": "fc_1", "status": "completed", "arguments": '{"a":1}'},
        {**OUTPUT, "id": "fco_1"},
        {**ANSWER, "id": "msg_1", "status": "completed"},
    ]
    assert difference(HISTORY, seen) is None


@pytest.mark.parametrize(
    ("index", "change"),
    [
        (0, {"role": "developer"}),
        (0, {"content": "Ho"}),
        (1, {"call_id": "c2"}),
        (1, {"name": "g"}),
        (1, {"arguments": '{"a": 2}'}),
        (2, {"call_id": "c2"}),
        (2, {"output": "bad"}),
        (3, {"content": "Hell"}),
        (3, {"type": "other"}),
    ],
)
def test_every_part_of_the_meaning_counts(index: int, change: dict[str, Any]) -> None:
    seen = [{**item, **change} if place == index else item for place, item in enumerate(HISTORY)]
    assert (difference(HISTORY, seen) or "").startswith(f"item {index} is ")


def test_an_item_more_or_less_is_found_on_either_side() -> None:
    assert (difference(HISTORY, HISTORY[:-1]) or "").endswith("and missing there")
    assert (difference(HISTORY[:-1], HISTORY) or "").startswith("item 3 is missing here")
    assert difference(HISTORY, [HISTORY[1], HISTORY[0], *HISTORY[2:]]) is not None
