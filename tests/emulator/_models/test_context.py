"""Context chains, their compaction and truncation."""

from __future__ import annotations

import pytest

from trunkline.emulator import ApiError, Emulator
from trunkline.emulator._models.context import Context, common_tokens
from trunkline.emulator._service.compaction import fitted

from ..wire import Event, Socket, Wire, wired


def user(text: str) -> Event:
    return {"role": "user", "content": text}


def call(call_id: str) -> Event:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}


def answer(call_id: str) -> Event:
    return {"type": "function_call_output", "call_id": call_id, "output": "1"}


def test_a_chain_reads_as_its_items_in_both_directions() -> None:
    items = [user(str(number)) for number in range(6)]
    context = Context(None, tuple(items[:2])).extended(items[2:3]).extended([]).extended(items[3:])
    assert context.items() == items
    assert list(context.newest_first()) == items[::-1]
    assert context.length == 6


def test_open_calls_are_known_without_looking_back() -> None:
    context = Context(None, (user("x"), call("a"), call("b")))
    assert set(context.open_calls) == {"a", "b"}
    assert set(context.extended([answer("b")]).open_calls) == {"a"}
    with pytest.raises(ApiError, match="No tool output found for function call a"):
        context.extended([answer("b")]).require_answers()
    context.extended([answer("b"), answer("a")]).require_answers()


def test_calls_of_async_tools_may_stay_open() -> None:
    context = Context(None, (call("a"), {**call("b"), "async": True}))
    context.require_answers({"f"})
    with pytest.raises(ApiError, match="for function call a"):
        context.require_answers({"g"})
    assert set(context.extended([answer("b")]).open_calls) == {"a"}


PROGRAM = {"type": "program", "caller_id": "prog_1"}


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, {"b", "c"}),
        ({"call_id": None, "caller": {"type": "direct"}}, {"b", "c"}),
        ({"namespace": "n", "caller": PROGRAM}, {"a", "b"}),
        ({"namespace": "n"}, {"a", "b", "c"}),
        ({"name": "g"}, {"a", "b", "c"}),
    ],
)
def test_an_output_without_a_call_id_answers_the_oldest_call_of_its_function(
    changes: Event, left: set[str]
) -> None:
    context = Context(None, (call("a"), call("b"), {**call("c"), "namespace": "n", "caller": PROGRAM}))
    given = {"type": "function_call_output", "name": "f", "output": "1", **changes}
    assert set(context.extended([given]).open_calls) == left


@pytest.mark.parametrize(
    "item",
    [
        answer("nobody"),
        {"type": "custom_tool_call_output", "call_id": "a", "output": "1"},
        {"type": "shell_call_output", "call_id": "a", "output": []},
    ],
)
def test_an_output_has_to_answer_a_call_of_its_kind(item: Event) -> None:
    with pytest.raises(ApiError, match="No tool call found"):
        Context(None, (call("a"),)).extended([item])


@pytest.mark.parametrize(
    ("kind", "owed"),
    [
        ({"type": "shell_call", "call_id": "a", "environment": {"type": "container_reference"}}, False),
        ({"type": "shell_call", "call_id": "a", "environment": {"type": "local"}}, True),
        ({"type": "apply_patch_call", "call_id": "a"}, True),
        ({"type": "computer_call", "call_id": "a"}, True),
        ({"type": "web_search_call", "id": "a"}, False),
        (call("a") | {"status": "incomplete"}, False),
    ],
)
def test_only_what_the_client_runs_is_owed(kind: Event, owed: bool) -> None:
    assert bool(Context(None, (kind,)).open_calls) is owed


def test_common_beginnings_are_found_by_identity_and_by_value() -> None:
    one = Context(None, (user("a"), user("b")))
    longer = one.extended([user("c")])
    assert common_tokens(one, longer) == one.tokens
    copy = Context(None, (user("a"), user("x")))
    assert common_tokens(one, copy) == Context(None, (user("a"),)).tokens


def test_truncation_drops_the_oldest_and_what_hangs_on_them() -> None:
    items = (user("x" * 400), call("a"), answer("a"), user("last"))
    context = Context(None, items)
    with pytest.raises(ApiError) as refusal:
        fitted(context, budget=60, truncation="disabled")
    assert refusal.value.code == "context_length_exceeded"
    assert fitted(context, budget=60, truncation="auto").items() == list(items[1:])
    assert fitted(context, budget=40, truncation="auto").items() == [items[3]]
    assert fitted(context, budget=0, truncation="auto").items() == [items[3]]


async def test_the_window_of_a_model_is_kept_to() -> None:
    async with Emulator(context_window=500) as emulator, wired(emulator) as wire, wire.socket() as socket:
        first = await socket.response(input="x" * 1000)
        error = await socket.refused(input="y" * 1000, previous_response_id=first["id"], store=False)
        assert (error["status"], error["code"]) == (400, "context_length_exceeded")
        cut = await socket.response(input="y" * 1000, previous_response_id=first["id"], truncation="auto")
        assert cut["truncation"] == "auto"
        assert len(emulator.effective_context(cut["id"])) == 1


async def test_a_context_beyond_its_threshold_is_compacted_within_the_response(
    wire: Wire, socket: Socket, emulator: Emulator
) -> None:
    managed = {"context_management": [{"type": "compaction", "compact_threshold": 200}], "store": False}
    first = await socket.response(input="short", **managed)
    assert [item["type"] for item in first["output"]] == ["message"]
    second = await socket.response(input="x" * 1000, previous_response_id=first["id"], **managed)
    assert [item["type"] for item in second["output"]] == ["compaction", "message"]
    assert len(emulator.effective_context(second["id"])) == 3
    third = await socket.response(input="on", previous_response_id=second["id"], **managed)
    seen = emulator.effective_context(third["id"])
    assert seen[:2] == second["output"]
    assert len(seen) == 3


async def test_a_compaction_item_is_accepted_as_input_and_a_forged_one_is_not(socket: Socket) -> None:
    managed = {"context_management": [{"type": "compaction", "compact_threshold": 10}], "store": False}
    compacted = await socket.response(input="x" * 100, **managed)
    item = compacted["output"][0]
    await socket.response(input=[item, user("on")])
    error = await socket.refused(input=[item | {"encrypted_content": "Zm9yZ2VkIQ=="}, user("on")])
    assert error["code"] == "invalid_encrypted_content"
