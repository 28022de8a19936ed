from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline._decisions import inputs as module
from trunkline._decisions.inputs import Inputs

JSON = dict[str, Any]


def user(text: str) -> JSON:
    return {"role": "user", "content": text}


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def body(items: Any, **fields: Any) -> bytes:
    """A body in the order of the openai SDK: the input before the model."""
    return encoded({"include": None, "input": items, "model": "m", **fields})


def kept(inputs: Inputs, content: bytes) -> list[JSON]:
    return [item.json() for item in inputs.read(content).items]


def test_fields_and_items_keep_their_bytes() -> None:
    read = Inputs().read(b'{"model": "m", "top_p" : 1e0, "input": [ {"role":"user", "content":"\\u0041"} ] }')
    assert read.members == {"model": b'"m"', "top_p": b"1e0"}
    assert [item.encoded for item in read.items] == [b'{"role":"user", "content":"\\u0041"}']


def test_a_string_is_a_message() -> None:
    read = Inputs().read(encoded({"model": "m", "input": 'say "hi"'}))
    assert [item.json() for item in read.items] == [
        {"type": "message", "role": "user", "content": 'say "hi"'}
    ]


def test_a_request_that_extends_another_shares_its_items() -> None:
    inputs = Inputs()
    first = inputs.read(body([user("a"), user("b")]))
    second = inputs.read(body([user("a"), user("b"), user("c")]))
    assert [item.json() for item in second.items] == [user("a"), user("b"), user("c")]
    assert all(one is other for one, other in zip(first.items, second.items, strict=False))
    assert second.envelope == first.envelope
    assert second.members is first.members
    assert inputs.size_bytes == len(body([user("a"), user("b"), user("c")])) - len(b'],"model":"m"}')


def test_the_same_request_again_shares_all_items() -> None:
    inputs = Inputs()
    first, second = (inputs.read(body([user("a")])) for _ in range(2))
    assert next(iter(first.items)) is next(iter(second.items))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([user("a")], [user("b")]),
        ([user("a")], [user("ab")]),
        ([user("a"), user("b")], [user("a")]),
        ([user("a")], []),
        ([], [user("a")]),
    ],
    ids=["another", "longer", "shorter", "none", "the first"],
)
def test_another_input_is_read_as_it_is(before: list[JSON], after: list[JSON]) -> None:
    inputs = Inputs()
    assert kept(inputs, body(before)) == before
    assert kept(inputs, body(after)) == after


def test_fields_after_the_input_may_change() -> None:
    inputs = Inputs()
    inputs.read(body([user("a")]))
    read = inputs.read(body([user("a"), user("b")], temperature=1))
    assert read.members["temperature"] == b"1"
    assert len(read.items) == 2


def test_an_input_in_another_field_is_not_mistaken_for_the_input() -> None:
    schema = {"input": [user("a")], "x": '"input":[{'}
    inputs = Inputs()
    one = inputs.read(encoded({"metadata": schema, "input": [user("b")], "model": "m"}))
    two = inputs.read(encoded({"metadata": schema, "input": [user("b"), user("c")], "model": "m"}))
    assert [item.json() for item in two.items] == [user("b"), user("c")]
    assert json.loads(one.members["metadata"]) == schema


def test_a_field_with_the_bytes_of_the_input_before_it_is_refused() -> None:
    with pytest.raises(ValueError, match="not found"):
        Inputs().read(encoded({"tools": [user("a")], "input": [user("a")], "model": "m"}))


def test_white_space_between_items_is_no_difference() -> None:
    inputs = Inputs()
    first = b'{"model":"m","input": [\n {"role":"user","content":"a"}\n ]}'
    second = b'{"model":"m","input": [\n {"role":"user","content":"a"}\n , {"role":"user","content":"b"} ] }'
    assert kept(inputs, first) == [user("a")]
    assert kept(inputs, second) == [user("a"), user("b")]
    assert kept(inputs, second) == [user("a"), user("b")]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b'{"model":"m"}',
        b'{"model":"m","input":null}',
        b'{"model":"m","input":{"role":"user","content":"a"}}',
        b'{"model":"m","input":[1]}',
        b'{"model":"m","input":[{}]}',
        b'{"model":"m","input":[{"role":"user","content":"a"},]}',
        b'{"model":"m","input":[{"role":"user","content":"a"}]',
        b'{"model":"m","input":[{"role":"user","content":"a"}]}]',
        b'{"model":"m","input":[{"role":"user","content":"\xff"}]}',
        b'{"model":"m","model":"n","input":[]}',
        b'{"model":"m","input":[],"input":[]}',
        b'{"model":"m","input":"a","input":"a"}',
        b'{"model":"m","input":[],"metadata":{"a":"1","a":"2"}}',
        b'{"model":"m","input":[{"role":"user","role":"user","content":"a"}]}',
    ],
)
@pytest.mark.parametrize("is_known", [True, False])
def test_other_bodies_are_refused(content: bytes, is_known: bool) -> None:
    inputs = Inputs()
    if is_known:
        inputs.read(b'{"model":"m","input":[{"role":"user","content":"a"}]}')
    for _ in range(2):
        with pytest.raises(ValueError):  # noqa: PT011 - any of its kinds
            inputs.read(content)


def test_an_item_that_goes_on_is_not_the_known_one() -> None:
    inputs = Inputs()
    inputs.read(b'{"input":[{"role":"user","content":"a"}],"model":"m"}')
    with pytest.raises(ValueError):  # noqa: PT011
        inputs.read(b'{"input":[{"role":"user","content":"a"}{"role":"user"}],"model":"m"}')


def test_the_bytes_are_bounded() -> None:
    inputs = Inputs(max_bytes=1000)
    for number in range(20):
        inputs.read(body([user(f"{number}" * 50)]))
        assert inputs.size_bytes <= 1000
    inputs.read(body([user("x" * 2000)]))
    assert inputs.size_bytes == 0


def test_the_newest_of_equal_sizes_is_replaced_by_what_extends_it() -> None:
    inputs = Inputs()
    for name in "abc":
        inputs.read(body([user(name)]))
    before = inputs.size_bytes
    assert kept(inputs, body([user("b"), user("!")])) == [user("b"), user("!")]
    assert inputs.size_bytes == before + len(encoded(user("!"))) + 1


def test_more_envelopes_than_remembered_are_read_again() -> None:
    inputs = Inputs()
    first = inputs.read(body([user("a")], user="0"))
    for number in range(1, 80):
        inputs.read(body([user("a")], user=f"{number}"))
    assert inputs.read(body([user("a")], user="0")).members == first.members


def test_the_number_of_comparisons_is_bounded() -> None:
    inputs = Inputs()
    first = inputs.read(body([user("a")]))
    for number in range(module.MAX_COMPARED + 1):
        inputs.read(body([user(f"another {number}")]))
    again = inputs.read(body([user("a"), user("b" * 100)]))
    assert next(iter(first.items)) is not next(iter(again.items))
    assert [item.json() for item in again.items] == [user("a"), user("b" * 100)]


TEXTS = st.sampled_from(["a", "b", "]", '"input":[', "{", ",", "\\", "\u00e9", ""])
ITEMS = st.lists(st.builds(user, TEXTS), max_size=6)


@given(
    st.lists(
        st.tuples(
            ITEMS, st.sampled_from(["m", "n"]), st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans()
        ),
        max_size=12,
    )
)
def test_any_sequence_of_requests_is_read_as_by_a_plain_decoder(
    requests: list[tuple[list[JSON], str, tuple[str, str], bool]],
) -> None:
    inputs = Inputs()
    for items, model, separators, is_first in requests:
        fields: JSON = {"model": model, "metadata": {"input": "["}}
        value = {"input": items, **fields} if is_first else {**fields, "input": items}
        read = inputs.read(json.dumps(value, separators=separators).encode())
        assert [item.json() for item in read.items] == items
        assert {name: json.loads(member) for name, member in read.members.items()} == fields
