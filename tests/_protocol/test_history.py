from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trunkline._protocol.history import History
from trunkline._protocol.items import Item
from trunkline.errors import ConfigurationError

from ..items import assistant, call, output, user
from ..memory import kept_bytes

LONG = 10_000
COPY_BYTES = LONG * 8
"""A copy of a list of so many items takes this much memory at least."""


REFUSAL = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "a"}]}
VALUES = st.sampled_from(
    [
        *(assistant(text) for text in ("", "a", "b", "ab", "ba")),
        user(""),
        user("a"),
        REFUSAL,
        {"type": "x", "n": 1},
    ]
    + [make(call_id) for make in (call, output) for call_id in ("1", "2", "3")]
)
LISTS = st.lists(VALUES, max_size=7)


def items(values: list[dict[str, Any]]) -> list[Item]:
    return [Item.of(value) for value in values]


def history(*values: dict[str, Any]) -> History:
    return History.of(items(list(values)))


def joined(made: list[Item]) -> list[object]:
    """The join rule, in its plain form: consecutive assistant texts are joined."""
    form: list[object] = []
    for item in made:
        if item.joinable_text is None:
            form.append(item.identity)
        elif form and isinstance(form[-1], str):
            form[-1] += item.joinable_text
        else:
            form.append(item.joinable_text)
    return form


def open_and_orphans(made: list[Item]) -> tuple[set[str], set[str]]:
    """Calls and outputs, paired by counting."""
    balance: dict[str, int] = {}
    calls: set[str] = set()
    orphans: set[str] = set()
    for item in made:
        name = item.call_id
        if name is None:
            continue
        if item.is_call:
            balance[name] = 0 if name in orphans else 1
            orphans.discard(name)
        elif balance.get(name):
            balance[name] = 0
        else:
            orphans.add(name)
        calls = {name for name, count in balance.items() if count}
    return calls, orphans


def holds(made: History, expected: list[Item]) -> None:
    assert len(made) == len(expected)
    assert list(made) == made.items() == expected
    assert [item.encoded for item in made] == [item.encoded for item in expected]
    assert made.mark == History.of(expected).mark
    calls, orphans = open_and_orphans(expected)
    assert made.open_calls == calls
    assert made.orphan_outputs == orphans
    assert made.size_bytes == sum(len(item.encoded) + 1 for item in expected)


# Marks


@settings(max_examples=400, deadline=None)
@given(LISTS, LISTS)
def test_marks_are_equal_if_and_only_if_the_contents_are(
    left: list[dict[str, Any]], right: list[dict[str, Any]]
) -> None:
    made = items(left), items(right)
    assert (History.of(made[0]).mark == History.of(made[1]).mark) == (joined(made[0]) == joined(made[1]))


@settings(max_examples=200, deadline=None)
@given(LISTS, st.data())
def test_texts_may_be_split_and_joined_anywhere(values: list[dict[str, Any]], data: st.DataObject) -> None:
    split: list[dict[str, Any]] = []
    for value in values:
        if value.get("role") == "assistant" and isinstance(value["content"], str):
            cut = data.draw(st.integers(0, len(value["content"])))
            split += [assistant(value["content"][:cut]), assistant(value["content"][cut:])]
        else:
            split.append(value)
    assert History.of(items(split)).mark == History.of(items(values)).mark


@settings(max_examples=200, deadline=None)
@given(LISTS)
def test_every_beginning_has_the_mark_of_its_items(values: list[dict[str, Any]]) -> None:
    whole = History.of(items(values))
    for length in range(len(values) + 1):
        shorter = whole.prefix(length)
        holds(shorter, items(values[:length]))
        assert whole.position_of(shorter.mark, near=length) == length


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([], [assistant("")]),
        ([user("a")], [assistant("a")]),
        ([user("a")], [user("a"), assistant("")]),
        ([user("ab")], [user("a"), user("b")]),
        ([assistant("a"), user(""), assistant("b")], [assistant("ab"), user("")]),
        ([assistant("a"), REFUSAL, assistant("b")], [assistant("ab"), REFUSAL]),
        ([assistant("a"), call("1"), assistant("b")], [call("1"), assistant("ab")]),
        ([user("a"), user("b")], [user("b"), user("a")]),
    ],
)
def test_only_consecutive_assistant_texts_are_joined(
    left: list[dict[str, Any]], right: list[dict[str, Any]]
) -> None:
    assert history(*left).mark != history(*right).mark


def test_marks_are_those_of_the_text_on_the_wire() -> None:
    assert history(assistant("\ud83d")).mark == history(assistant("\ufffd")).mark
    assert history(assistant("\ud83d\ude00")).mark == history(assistant("\U0001f600")).mark
    assert history(assistant("\ud83d")).mark != history(assistant("?")).mark


def test_a_position_is_searched_near_the_expected_place_first() -> None:
    asked = history(user("a"), assistant("x"), assistant("y"), user("b"))
    mark = history(user("a"), assistant("xy")).mark
    assert asked.position_of(mark, near=2) == 3
    assert asked.position_of(mark, near=3) == 3
    assert asked.position_of(mark, near=400) == 3
    assert asked.position_of(history(user("b")).mark, near=1) is None
    again = history(user("a"), assistant("x"), assistant(""), assistant(""))
    assert [again.position_of(again.mark, near=near) for near in (2, 3, 4)] == [2, 3, 4]


def test_a_position_beyond_the_end_of_this_version_is_not_found() -> None:
    short = history(user("a"))
    long = short.extended(items([user("b")]))
    assert short.position_of(long.mark, near=2) is None
    assert short.position_of(long.mark, near=0) is None
    assert long.position_of(long.mark, near=0) == 2


# Versions


class Versions(RuleBasedStateMachine):
    """Deriving a version changes no other version."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[History, list[Item]]] = [(History(), [])]

    @rule(which=st.integers(0, 50), values=LISTS)
    def extend(self, which: int, values: list[dict[str, Any]]) -> None:
        version, expected = self.kept[which % len(self.kept)]
        new = items(values)
        self.kept.append((version.extended(new), expected + new))

    @rule(values=st.lists(VALUES, min_size=1, max_size=2))
    def extend_the_newest(self, values: list[dict[str, Any]]) -> None:
        self.extend(len(self.kept) - 1, values)

    @rule(which=st.integers(0, 50), length=st.integers(0, 12))
    def shorten(self, which: int, length: int) -> None:
        version, expected = self.kept[which % len(self.kept)]
        self.kept.append((version.prefix(length), expected[:length]))

    @rule(which=st.integers(0, 50), values=LISTS, keep=st.integers(0, 12))
    def follow(self, which: int, values: list[dict[str, Any]], keep: int) -> None:
        version, expected = self.kept[which % len(self.kept)]
        whole = [item.json() for item in expected[:keep]] + values
        self.kept.append((version.following(whole), items(whole)))

    @invariant()
    def every_version_is_as_it_was_made(self) -> None:
        for version, expected in self.kept:
            holds(version, expected)


TestVersions = Versions.TestCase
TestVersions.settings = settings(max_examples=40, stateful_step_count=12, deadline=None)


def test_extending_the_newest_version_copies_nothing() -> None:
    first = history(*(user(str(number)) for number in range(LONG)))
    [answer], [other] = items([assistant("a")]), items([assistant("b")])
    second = first.extended([answer])
    assert kept_bytes(lambda: second.extended([answer])) < COPY_BYTES / 2
    assert kept_bytes(lambda: first.extended([other])) > COPY_BYTES, "another went on from here before"
    assert second.extended([]) is second
    assert second.prefix(LONG + 1) is second


def test_two_versions_may_extend_joined_texts() -> None:
    short = history(user("u"), assistant("a"), assistant("b"))
    longer = short.extended(items([assistant("c")]))
    other = short.extended(items([assistant("d")]))
    holds(longer, items([user("u"), assistant("a"), assistant("b"), assistant("c")]))
    holds(other, items([user("u"), assistant("a"), assistant("b"), assistant("d")]))
    assert other.mark == history(user("u"), assistant("abd")).mark


def test_items_returns_a_new_list() -> None:
    made = history(user("a"), user("b"), user("c"))
    made.items().clear()
    assert [item.json()["content"] for item in made.items(1)] == ["b", "c"]
    assert [item.json()["content"] for item in made.items(1, 2)] == ["b"]
    assert made.items(0, 99) == made.items()
    assert made.json() == [user("a"), user("b"), user("c")]


def test_items_of_a_later_version_are_not_returned() -> None:
    short = history(user("a"))
    short.extended(items([user("b")]))
    assert short.items(0, 5) == short.items() == items([user("a")])


# Following a whole history


EDITS = st.sampled_from(["append", "insert", "delete", "replace", "in place", "swap", "cut", "nothing"])


@settings(max_examples=300, deadline=None)
@given(LISTS, st.lists(st.tuples(EDITS, st.integers(0, 9), VALUES), max_size=4))
def test_following_equals_encoding_the_whole_history_again(
    values: list[dict[str, Any]], edits: list[tuple[str, int, dict[str, Any]]]
) -> None:
    values = copy.deepcopy(values)
    made = History().following(values)
    for action, where, value in edits:
        index = where % len(values) if values else 0
        match action:
            case "append":
                values.append(copy.deepcopy(value))
            case "insert":
                values.insert(index, copy.deepcopy(value))
            case "delete":
                del values[index : index + 1]
            case "replace":
                values[index : index + 1] = [copy.deepcopy(value)]
            case "in place" if values:
                values[index]["added"] = {"deep": [where]}
            case "swap" if values:
                values[0], values[index] = values[index], values[0]
            case "cut":
                del values[index:]
        before, held = made, made.items()
        made = made.following(values)
        holds(made, items(values))
        holds(before, held)


def test_a_history_that_is_given_whole_and_only_grew_is_not_copied() -> None:
    values = [user(str(number)) for number in range(LONG)]
    first = History().following(values)
    values.append(user("one more"))
    assert kept_bytes(lambda: first.following(values)) < COPY_BYTES / 2
    assert kept_bytes(lambda: first.following(values[1:])) > COPY_BYTES


def test_unchanged_items_are_the_same_objects() -> None:
    values = [user("a"), assistant("b"), user("c"), assistant("d")]
    first = History().following(values)
    values.append(user("e"))
    second = first.following(values)
    assert all(new is old for new, old in zip(second, first, strict=False))
    values[1]["content"] = "edited"
    third = second.following(values)
    assert [new is old for new, old in zip(third, second, strict=True)] == [True, False, True, True, True]
    assert second.json()[1] == assistant("b")


def test_following_an_equal_history_returns_the_same_object() -> None:
    values = [user("a"), assistant("b")]
    first = History().following(values)
    assert first.following(copy.deepcopy(values)) is first


@pytest.mark.parametrize("edited", [1.0, True, "1", None, 2])
def test_an_edit_deep_inside_an_old_item_is_seen(edited: object) -> None:
    values: list[dict[str, Any]] = [{"type": "x", "deep": [{"number": 1}]}, user("a")]
    first = History().following(values)
    values[0]["deep"][0]["number"] = edited
    second = first.following(values)
    assert second.mark != first.mark
    assert repr(second.json()) == repr(values)


def test_a_wrong_item_is_named_by_its_position_in_the_whole() -> None:
    values: list[Any] = [user("a"), user("b")]
    made = History().following(values)
    with pytest.raises(ConfigurationError, match=r"^input\[2\]: an item must be a dict, not str"):
        made.following([*values, "text"])
    with pytest.raises(ConfigurationError, match=r"^input\[0\].content is a set"):
        made.following([{"type": "x", "content": {1}}, values[1]])
    holds(made, items(values))


# Calls


def test_calls_are_open_until_their_output_comes() -> None:
    made = history(call("1"), call("2"))
    assert made.open_calls == {"1", "2"}
    answered = made.extended(items([output("2")]))
    assert answered.open_calls == {"1"}
    assert made.open_calls == {"1", "2"}
    assert answered.extended(items([output("1")])).open_calls == frozenset()
    assert answered.prefix(1).open_calls == {"1"}


def test_outputs_without_a_call_are_orphans_until_it_comes() -> None:
    made = history(output("1"))
    assert made.orphan_outputs == {"1"}
    assert made.open_calls == frozenset()
    both = made.extended(items([call("1")]))
    assert (both.orphan_outputs, both.open_calls) == (frozenset(), frozenset())
    assert history(call("1"), output("1"), output("1")).orphan_outputs == {"1"}


@settings(max_examples=150, deadline=None)
@given(LISTS, LISTS)
def test_calls_are_counted_equally_in_one_step_and_in_several(
    left: list[dict[str, Any]], right: list[dict[str, Any]]
) -> None:
    holds(History.of(items(left)).extended(items(right)), items(left + right))
