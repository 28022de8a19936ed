from __future__ import annotations

import json

import pytest

from trunkline._decisions.hidden import hosted_ids, id_of, is_hosted, needs_service
from trunkline._protocol.items import Item


def received(**item: object) -> Item:
    return Item.received(json.dumps(item).encode())


@pytest.mark.parametrize("kind", ["mcp_call", "web_search_call", "code_interpreter_call", "made_up", None])
def test_results_of_the_service_and_unknown_items_are_hosted(kind: str | None) -> None:
    assert is_hosted({"type": kind, "id": "x_1"})


@pytest.mark.parametrize("kind", ["message", "reasoning", "function_call", "compaction"])
def test_what_callers_hold_is_not_hosted(kind: str) -> None:
    assert not is_hosted({"type": kind, "id": "x_1"})


def test_a_search_that_the_caller_answers_is_not_hosted() -> None:
    assert is_hosted({"type": "tool_search_call", "call_id": None})
    assert not is_hosted({"type": "tool_search_call", "call_id": "call_1"})


def test_references_and_hosted_items_need_the_service() -> None:
    assert needs_service(received(type="item_reference", id="msg_1"))
    assert needs_service(received(type="mcp_call", id="mcp_1"))
    assert not needs_service(received(type="reasoning", id="rs_1", summary=[]))
    assert not needs_service(received(role="user", content="hello"))


def test_ids_are_those_of_hosted_items_that_have_one() -> None:
    items = [
        received(type="mcp_call", id="mcp_1"),
        received(type="web_search_call"),
        received(type="message", role="assistant", id="msg_1", content="hi"),
        received(type="mcp_call", id=""),
    ]
    assert hosted_ids(items) == {"mcp_1"}
    assert id_of({"id": 7}) is None
