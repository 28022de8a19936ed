from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from trunkline._decisions.baselines import MAX_BASELINES, Baseline, Baselines, Plan
from trunkline._protocol.history import History
from trunkline._protocol.items import Item
from trunkline._protocol.lane import Lane

from ..items import assistant, call, output, user

JSON = dict[str, Any]


def answer(text: str, **more: Any) -> JSON:
    """An assistant's message in the form of the service."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [part],
        **more,
    }


def reasoning(name: str) -> JSON:
    return {"type": "reasoning", "id": name, "summary": []}


def of(*values: JSON) -> History:
    return History.of([Item.of(value) for value in values])


def baseline(
    request: Sequence[JSON],
    made: Sequence[JSON],
    *,
    response_id: str = "resp_1",
    model: str = "m",
    stored: bool = True,
    lane: Lane | None = None,
) -> Baseline:
    asked = of(*request)
    items = tuple(Item.from_output(json.dumps(item).encode()) for item in made)
    return Baseline(response_id, model, stored, lane, len(asked), asked.mark, items)


def anything(_: Baseline) -> bool:
    return True


def delta(request: Sequence[JSON], made: Sequence[JSON], asked: Sequence[JSON]) -> list[JSON] | None:
    """The items sent after this one response; ``None`` for a full request."""
    kept = Baselines()
    kept.commit(baseline(request, made))
    plan = kept.plan(of(*asked), "m", anything)
    if plan.is_full:
        assert [item.json() for item in plan.delta] == list(asked)
        return None
    assert plan.parent is not None
    assert plan.parent.response_id == "resp_1"
    return [item.json() for item in plan.delta]


U1, U2, A, B = user("u1"), user("u2"), answer("A"), answer("B")
C1, C2, O1, O2 = call("1"), call("2"), output("1"), output("2")
R = reasoning("rs_1")
REFUSAL = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}
HOSTED = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "q"}}


# Cases of the table in the module's docstring


def test_items_after_the_answer_are_sent() -> None:
    assert delta([U1], [A], [U1, A, U2]) == [U2]


def test_the_first_turn_is_sent_in_full() -> None:
    assert Baselines().plan(of(U1), "m", anything) == Plan(None, [Item.of(U1)])


def test_an_input_without_new_items_is_no_match() -> None:
    assert delta([U1], [A], [U1, A]) is None


def test_an_answer_cut_at_barge_in_is_no_match() -> None:
    assert delta([U1], [answer("All of it.")], [U1, assistant("All"), U2]) is None
    assert delta([U1], [answer("All of it.")], [U1, assistant(""), U2]) is None
    assert delta([U1], [answer("All of it.")], [U1, U2]) is None
    assert delta([U1], [answer("All of it.")], [U1, assistant("All of us."), U2]) is None


def test_an_edited_old_message_is_no_match() -> None:
    assert delta([U1], [A], [user("x1"), A, U2]) is None
    assert delta([user("s"), U1], [A], [U1, A, U2]) is None
    assert delta([U1], [A], [user("s"), U1, A, U2]) is None


def test_texts_joined_by_the_application_are_the_same() -> None:
    assert delta([U1], [A, B], [U1, assistant("AB"), U2]) == [U2]
    assert delta([U1], [answer("AB")], [U1, assistant("A"), assistant("B"), U2]) == [U2]
    assert delta([U1], [A, B], [U1, assistant("BA"), U2]) is None


def test_reasoning_may_be_absent() -> None:
    assert delta([U1], [R, A], [U1, A, U2]) == [U2]
    assert delta([U1], [R, A], [U1, R, A, U2]) == [U2]
    assert delta([U1], [R, C1], [U1, C1, O1]) == [O1]


def test_outputs_between_parallel_calls_are_sent() -> None:
    assert delta([U1], [C1, C2], [U1, C1, O1, C2, O2]) == [O1, O2]


def test_parallel_calls_may_stand_in_any_order() -> None:
    assert delta([U1], [C1, C2], [U1, C2, C1, O1, O2]) == [O1, O2]
    assert delta([U1], [C1, C2], [U1, C2, O2, C1, O1]) == [O2, O1]
    assert delta([U1], [C1, C2], [U1, C1, C2, O2, O1]) == [O2, O1]
    assert delta([U1], [C1, C2], [U1, O1, O2, C1, C2]) == [O1, O2]


def test_a_removed_call_is_no_match() -> None:
    assert delta([U1], [C1, C2], [U1, C1, O1]) is None
    assert delta([U1], [C1, C2], [U1, C1, O1, U2]) is None


def test_a_regenerated_answer_continues_the_previous_response() -> None:
    kept = Baselines()
    kept.commit(baseline([U1], [A], response_id="first"))
    kept.commit(baseline([U1, A, U2], [B], response_id="second"))
    plan = kept.plan(of(U1, A, U2), "m", anything)
    assert plan.parent is not None
    assert plan.parent.response_id == "first"
    assert plan.delta == [Item.of(U2)]


# The rule, clause by clause


def test_the_response_block_ends_with_the_last_item_of_its_output() -> None:
    assert delta([U1], [A, C1], [U1, A, C1, O1, U2]) == [O1, U2]
    assert delta([U1], [C1, A], [U1, C1, O1, U2, A]) is None
    assert delta([U1], [C1, C2], [U1, C1, O1, U2, C2, O2]) is None
    assert delta([U1], [A, B], [U1, A, U2, B]) is None
    assert delta([U1], [A, R], [U1, A, U2, R]) is None


@pytest.mark.parametrize("said", [A, REFUSAL], ids=["text", "refusal"])
def test_a_message_after_the_output_of_a_call_is_no_match(said: JSON) -> None:
    """The response's own message was removed, and a later response said the same."""
    for made in ([said, C1], [C1, said], [C1, said, C2]):
        calls = [item for item in made if item is not said]
        outputs = [output(item["call_id"]) for item in calls]
        assert delta([U1], made, [U1, *calls, said, *outputs, U2]) == [*outputs, U2]
        assert delta([U1], made, [U1, *calls, *outputs, said, U2]) is None
    assert delta([U1], [said, C1, C2], [U1, C1, O1, said, C2, O2]) is None
    assert (
        delta([U1], [answer("One moment."), C1], [U1, assistant("One"), C1, O1, assistant(" moment.")])
        is None
    )
    assert delta([U1], [said, C1], [U1, said, C1, O1, said, U2]) == [O1, said, U2]


def test_only_outputs_of_its_own_calls_may_stand_in_the_block() -> None:
    assert delta([U1, call("0")], [C1, C2], [U1, call("0"), C1, output("0"), C2, O1, O2]) is None
    assert delta([U1, call("0")], [C1, C2], [U1, call("0"), C1, C2, output("0"), O1, O2]) == [
        output("0"),
        O1,
        O2,
    ]


def test_equal_items_after_the_block_are_new() -> None:
    assert delta([U1], [A], [U1, A, U1, A]) == [U1, A]
    assert delta([U1], [A], [U1, A, assistant("A")]) == [assistant("A")]
    assert delta([U1], [A], [U1, A, assistant("B"), U2]) == [assistant("B"), U2]
    assert delta([U1], [A, A], [U1, A, U2]) is None


def test_a_call_matches_by_its_id_name_and_arguments() -> None:
    sent = {**call("1", '{"a":1}'), "id": "fc_1", "status": "completed"}
    for written in ('{"a":1}', '{ "a": 1 }'):
        assert delta([U1], [sent], [U1, call("1", written), O1]) == [O1]
    for edited in (call("1", '{"a":2}'), call("2", '{"a":1}'), {**call("1", '{"a":1}'), "name": "g"}):
        assert delta([U1], [sent], [U1, edited, output(edited["call_id"])]) is None


@pytest.mark.parametrize(
    "held",
    [
        REFUSAL,
        {"type": "custom_tool_call", "call_id": "1", "name": "n", "input": "x"},
        {"type": "computer_call", "call_id": "1", "action": {"type": "wait"}},
        {"type": "shell_call", "call_id": "1", "action": {"commands": []}},
        {"type": "local_shell_call", "call_id": "1", "action": {"command": []}},
        {"type": "apply_patch_call", "call_id": "1", "operation": {"path": "a"}},
        {"type": "tool_search_call", "call_id": "1", "arguments": {}},
        {"type": "mcp_approval_request", "id": "a", "server_label": "s", "name": "n", "arguments": "{}"},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"},
        {"type": "brand_new", "thing": 1},
    ],
    ids=lambda item: item["type"],
)
def test_items_that_applications_hold_must_be_present(held: JSON) -> None:
    assert delta([U1], [held], [U1, held, U2]) == [U2]
    assert delta([U1], [A, held], [U1, A, U2]) is None


@pytest.mark.parametrize(
    "hosted",
    [
        R,
        HOSTED,
        {"type": "mcp_call", "id": "mcp_1"},
        {"type": "tool_search_call", "id": "t", "call_id": None},
    ],
    ids=lambda item: item["type"],
)
def test_server_only_items_may_be_absent_or_present(hosted: JSON) -> None:
    assert delta([U1], [hosted, A], [U1, A, U2]) == [U2]
    assert delta([U1], [hosted, A], [U1, A, hosted, U2]) == [U2]


def test_the_outputs_of_every_kind_of_call_are_the_delta() -> None:
    for kind, result in (
        ("custom_tool_call", "custom_tool_call_output"),
        ("computer_call", "computer_call_output"),
        ("shell_call", "shell_call_output"),
        ("apply_patch_call", "apply_patch_call_output"),
        ("tool_search_call", "tool_search_output"),
    ):
        first, second = {"type": kind, "call_id": "1"}, {"type": kind, "call_id": "2"}
        done = {"type": result, "call_id": "1"}, {"type": result, "call_id": "2"}
        assert delta([U1], [first, second], [U1, first, done[0], second, done[1]]) == list(done)
    local = {"type": "local_shell_call", "call_id": "1"}, {"type": "local_shell_call_output", "id": "1"}
    assert delta([U1], [local[0], C2], [U1, *local, C2, O2]) == [local[1], O2]


def test_an_answer_without_text_must_be_present() -> None:
    assert delta([U1], [answer("")], [U1, assistant(""), U2]) == [U2]
    assert delta([U1], [answer("")], [U1, U2]) is None
    assert delta([U1], [A, answer("")], [U1, assistant("A"), U2]) == [U2]
    assert delta([U1], [answer(""), answer(""), A], [U1, answer(""), answer(""), A, U2]) == [U2]
    assert delta([U1], [answer("AB")], [U1, assistant("A"), assistant(""), assistant("B"), U2]) == [U2]
    assert delta([U1], [answer("")], [U1, assistant(""), assistant(""), U2]) == [assistant(""), U2]


def test_a_response_without_output_is_a_parent() -> None:
    """A warm-up prepares a request; all items after it are new."""
    assert delta([U1], [], [U1, U2]) == [U2]
    assert delta([], [], [U1]) == [U1]
    assert delta([U1], [], [U1]) is None
    assert delta([U1], [R], [U1, U2]) == [U2]


def test_texts_of_the_request_may_be_joined_as_well() -> None:
    assert delta([U1, assistant("x"), assistant("y"), U2], [A], [U1, assistant("xy"), U2, A, user("u3")]) == [
        user("u3")
    ]
    assert delta([U1, assistant("xy"), U2], [A], [U1, assistant("x"), assistant("y"), U2, A, user("u3")]) == [
        user("u3")
    ]


def test_a_text_joined_across_request_and_answer_is_no_match() -> None:
    assert delta([U1, assistant("x")], [A], [U1, assistant("xA"), U2]) is None


# Which baseline, and when


def test_the_longest_baseline_that_can_be_named_is_the_parent() -> None:
    kept = Baselines()
    kept.commit(baseline([U1, A, U2], [B], response_id="long", stored=False))
    kept.commit(baseline([U1], [A], response_id="short"))
    asked = of(U1, A, U2, B, user("u3"))
    assert [plan.parent.response_id for plan in kept.candidates(asked, "m") if plan.parent] == [
        "long",
        "short",
    ]
    plan = kept.plan(asked, "m", lambda parent: parent.stored)
    assert plan.parent is not None
    assert plan.parent.response_id == "short"
    assert plan.delta == [Item.of(value) for value in (U2, B, user("u3"))]


def test_without_a_nameable_parent_the_full_input_is_sent() -> None:
    kept = Baselines()
    kept.commit(baseline([U1], [A]))
    plan = kept.plan(of(U1, A, U2), "m", lambda _: False)
    assert plan.is_full
    assert plan.delta == [Item.of(value) for value in (U1, A, U2)]


def test_another_model_has_no_parent() -> None:
    kept = Baselines()
    kept.commit(baseline([U1], [A], model="m"))
    assert kept.plan(of(U1, A, U2), "other", anything).is_full
    assert not kept.plan(of(U1, A, U2), "m", anything).is_full


def test_two_parallel_turns_each_continue_their_own_answer() -> None:
    kept = Baselines()
    kept.commit(baseline([U1], [A], response_id="one"))
    kept.commit(baseline([U1], [B], response_id="two"))
    for made, name in ((A, "one"), (B, "two")):
        plan = kept.plan(of(U1, made, U2), "m", anything)
        assert plan.parent is not None
        assert plan.parent.response_id == name
    assert kept.plan(of(U1, answer("C"), U2), "m", anything).is_full


def test_of_equal_answers_the_newest_is_named() -> None:
    kept = Baselines()
    for name in ("first", "second", "third"):
        kept.commit(baseline([U1], [A], response_id=name))
    plan = kept.plan(of(U1, A, U2), "m", anything)
    assert plan.parent is not None
    assert plan.parent.response_id == "third"


def test_two_owners_with_equal_histories_never_share_a_parent() -> None:
    mine, theirs = Baselines(), Baselines()
    mine.commit(baseline([U1], [A]))
    assert theirs.plan(of(U1, A, U2), "m", anything).is_full


def test_baselines_are_bounded_and_the_oldest_is_dropped() -> None:
    kept = Baselines()
    for number in range(MAX_BASELINES + 3):
        kept.commit(baseline([user(str(number))], [A], response_id=f"resp_{number}"))
    assert len(kept) == MAX_BASELINES
    assert next(known.response_id for known in kept) == "resp_3"
    few = Baselines(limit=1)
    few.commit(baseline([U1], [A], response_id="one"))
    few.commit(baseline([U2], [A], response_id="two"))
    assert [known.response_id for known in few] == ["two"]


def test_a_forgotten_response_is_not_named_again() -> None:
    kept = Baselines()
    kept.commit(baseline([U1], [A], response_id="one"))
    kept.forget("unknown")
    kept.forget("one")
    assert len(kept) == 0
    assert kept.plan(of(U1, A, U2), "m", anything).is_full


def test_committing_again_replaces_and_renews() -> None:
    kept = Baselines(limit=2)
    kept.commit(baseline([U1], [A], response_id="one"))
    kept.commit(baseline([U2], [A], response_id="two"))
    kept.commit(baseline([U1], [B], response_id="one"))
    kept.commit(baseline([U1], [A], response_id="three"))
    assert [known.response_id for known in kept] == ["one", "three"]


def test_a_copy_has_the_same_baselines_and_changes_separately() -> None:
    kept = Baselines()
    kept.commit(baseline([U1], [A], response_id="one"))
    branch = kept.copy()
    branch.commit(baseline([U2], [B], response_id="two"))
    kept.forget("one")
    assert [known.response_id for known in branch] == ["one", "two"]
    assert len(kept) == 0


def test_a_plan_can_treat_its_parent_as_unstored() -> None:
    kept = baseline([U1], [A], stored=True)
    plan = Plan(kept, [Item.of(U2)])
    doubted = plan.unstored()
    assert doubted.parent is not None
    assert (doubted.parent.stored, doubted.parent.response_id, doubted.delta) == (False, "resp_1", plan.delta)
    assert kept.stored
    assert doubted.unstored() is doubted
    full = Plan(None, [])
    assert full.unstored() is full


# Against a model: the server's context equals the requested input


SERVER_ONLY = ("reasoning", "web_search_call")


def form(item: JSON) -> tuple[Any, ...]:
    """An item by the rules of equality, independent of the library's."""
    if item["type"] == "message":
        content = item["content"]
        parts = [content] if isinstance(content, str) else content
        words = [part if isinstance(part, str) else part.get("text") for part in parts]
        if None in words:
            return ("refusal", item["role"], json.dumps(parts))
        return ("text", item["role"], "".join(words))
    if item["type"] == "function_call":
        return ("call", item["call_id"], item["name"], item["arguments"])
    if item["type"] == "function_call_output":
        return ("output", item["call_id"], item["output"])
    return (item["type"], item.get("id"))


def joined(items: Iterable[JSON]) -> list[tuple[Any, ...]]:
    forms: list[tuple[Any, ...]] = []
    for new in map(form, items):
        match (forms[-1] if forms else None), new:
            case ("text", "assistant", before), ("text", "assistant", after):
                forms[-1] = ("text", "assistant", before + after)
            case _:
                forms.append(new)
    return forms


def without(items: Iterable[JSON], kinds: Sequence[str]) -> list[JSON]:
    return [item for item in items if item["type"] not in kinds]


def equals_but_for_the_order_in_the_block(
    request: Sequence[JSON], made: Sequence[JSON], sent: Sequence[JSON], asked: Sequence[JSON]
) -> bool:
    """Whether request + output + delta equals the input, up to the server's order inside the block."""
    for start in range(len(asked) + 1):
        if joined(asked[:start]) != joined(request):
            continue
        for end in range(start, len(asked) + 1):
            block, rest = asked[start:end], asked[end:]
            if block_says(block, made, sent[: len(sent) - len(rest)]) and joined(rest) == joined(
                sent[len(sent) - len(rest) :]
            ):
                return True
    return False


def block_says(block: Sequence[JSON], made: Sequence[JSON], outputs: Sequence[JSON]) -> bool:
    """Whether the block has the response's output, except server-only items, and outputs of its calls."""

    def texts(items: Sequence[JSON]) -> str:
        return "".join(found[2] for found in map(form, items) if is_text(found))

    def others(items: Sequence[JSON]) -> list[str]:
        return sorted(repr(found) for found in map(form, items) if not is_text(found))

    def is_text(found: tuple[Any, ...]) -> bool:
        return found[:2] == ("text", "assistant")

    if "message" in [item["type"] for item in block[first_output(block) :]]:
        return False
    calls = {item["call_id"] for item in made if item["type"] == "function_call"}
    answered = [item for item in block if item["type"] == "function_call_output" and item["call_id"] in calls]
    held = [item for item in block if item not in answered]
    if [form(item) for item in answered] != [form(item) for item in outputs] or texts(held) != texts(made):
        return False
    if any(map(is_text, map(form, made))) != any(map(is_text, map(form, held))):
        return False
    may_be_absent = others([item for item in made if item["type"] in SERVER_ONLY])
    extra = others(made)
    for found in others(held):
        if found not in extra:
            return False
        extra.remove(found)
    return all(found in may_be_absent for found in extra)


def first_output(block: Sequence[JSON]) -> int:
    return next(
        (index for index, item in enumerate(block) if item["type"] == "function_call_output"), len(block)
    )


WORDS = st.sampled_from(["", "a", "b", "ab"])
CALLS = st.sampled_from(["1", "2", "3"])
REQUESTS = st.lists(st.builds(user, WORDS) | st.builds(assistant, WORDS), max_size=3)
OUTPUTS = st.lists(
    st.builds(answer, WORDS)
    | st.builds(call, CALLS)
    | st.sampled_from([R, reasoning("rs_2"), HOSTED, REFUSAL]),
    max_size=4,
    unique_by=lambda item: repr(item) if "call_id" in item else object(),
)
NEW = st.lists(st.builds(user, WORDS) | st.builds(output, CALLS) | st.builds(assistant, WORDS), max_size=2)
EDITS = st.sampled_from(
    [
        "answer calls",
        "swap",
        "join",
        "split",
        "cut text",
        "edit",
        "remove",
        "repeat",
        "drop server-only",
        "insert",
    ]
)


def edited(data: st.DataObject, values: list[JSON], action: str, start: int) -> list[JSON]:
    """One edit of a history by an application or a bug, mostly after ``start``."""
    values = list(values)
    low = start if start < len(values) and data.draw(st.booleans()) else 0
    index = data.draw(st.integers(low, max(low, len(values) - 1)))
    item = values[index] if index < len(values) else None
    match action:
        case "answer calls":
            for found in [item for item in values if item["type"] == "function_call"]:
                at = data.draw(st.integers(values.index(found) + 1, len(values)))
                values.insert(at, output(found["call_id"]))
        case "swap" if index + 1 < len(values):
            values[index], values[index + 1] = values[index + 1], values[index]
        case "join" if index + 1 < len(values):
            first, second = form(values[index]), form(values[index + 1])
            match first, second:
                case ("text", "assistant", left), ("text", "assistant", right):
                    values[index : index + 2] = [assistant(left + right)]
        case "split" | "cut text" if item is not None:
            match form(item):
                case ("text", "assistant", text):
                    at = data.draw(st.integers(0, len(text)))
                    rest = [assistant(text[at:])] if action == "split" else []
                    values[index : index + 1] = [assistant(text[:at]), *rest]
        case "edit" if item is not None and item["type"] == "message":
            values[index] = {**item, "content": data.draw(WORDS)}
        case "edit" if item is not None and item["type"] == "function_call":
            values[index] = {**item, "arguments": '{"a":1}'}
        case "remove" if item is not None:
            del values[index]
        case "repeat" if item is not None:
            values.insert(data.draw(st.integers(0, len(values))), item)
        case "drop server-only":
            values = without(values, SERVER_ONLY)
        case "insert":
            values.insert(index, data.draw(st.builds(user, WORDS)))
    return values


@settings(max_examples=1000, deadline=None)
@given(REQUESTS, OUTPUTS, NEW, st.lists(EDITS, max_size=3), st.data())
def test_the_servers_context_equals_the_requested_input(
    request_items: list[JSON], made: list[JSON], new: list[JSON], edits: list[str], data: st.DataObject
) -> None:
    asked = request_items + made + new
    for action in edits:
        asked = edited(data, asked, action, len(request_items))
    sent = delta(request_items, made, asked)
    event("delta" if sent is not None else "full")
    if sent is not None:
        assert sent
        assert equals_but_for_the_order_in_the_block(request_items, made, sent, asked)


@settings(max_examples=400, deadline=None)
@given(REQUESTS, OUTPUTS, st.data())
def test_permitted_changes_of_an_answer_are_a_match(
    request_items: list[JSON], made: list[JSON], data: st.DataObject
) -> None:
    texts = [item for item in made if form(item)[0] == "text"]
    others = [item for item in made if item not in texts]
    kept = [item for item in others if item["type"] not in SERVER_ONLY or data.draw(st.booleans())]
    shuffled = data.draw(st.permutations(kept))
    places = sorted(data.draw(st.integers(0, len(shuffled))) for _ in texts)
    for text, at in reversed(list(zip(texts, places, strict=True))):
        shuffled.insert(at, text)
    outputs = [output(item["call_id"]) for item in kept if item["type"] == "function_call"]
    block = shuffled + outputs
    assert delta(request_items, made, request_items + block + [U2]) == [*outputs, U2]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(REQUESTS, OUTPUTS), min_size=1, max_size=4), NEW, st.sets(st.integers(0, 3)))
def test_a_conversation_continues_the_newest_response_that_can_be_named(
    turns: list[tuple[list[JSON], list[JSON]]], new: list[JSON], gone: set[int]
) -> None:
    kept, context = Baselines(), list[JSON]()
    lengths = []
    for number, (request_items, made) in enumerate(turns):
        context += request_items or [U1]
        kept.commit(baseline(context, made, response_id=str(number)))
        context += made
        lengths.append(len(context))
    asked = context + (new or [U2])
    plan = kept.plan(of(*asked), "m", lambda parent: int(parent.response_id) not in gone)
    nameable = [number for number in range(len(turns)) if number not in gone]
    if not nameable:
        assert plan.is_full
        return
    assert plan.parent is not None
    assert int(plan.parent.response_id) >= nameable[-1]
    assert len(plan.delta) <= len(asked) - lengths[nameable[-1]]
