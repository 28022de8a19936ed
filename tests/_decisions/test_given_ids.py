"""Ids of responses as callers get them: no id for two responses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trunkline._decisions.given_ids import GivenIds


def test_the_first_response_keeps_its_id() -> None:
    ids = GivenIds(8)
    assert [ids.give(name) for name in ("a", "b")] == ["a", "b"]


def test_an_id_that_two_responses_have_is_ambiguous() -> None:
    ids = GivenIds(8)
    assert not ids.is_ambiguous("a")
    for expected in (False, True, True):
        ids.give("a")
        assert ids.is_ambiguous("a") is expected
    assert not ids.is_ambiguous("a-2")


@given(st.lists(st.sampled_from(["a", "b", "c"])))
def test_no_two_responses_have_one_id(names: list[str]) -> None:
    ids = GivenIds(8)
    shown = [ids.give(name) for name in names]
    assert len(set(shown)) == len(names)


def test_ids_that_were_not_used_for_long_are_forgotten() -> None:
    ids = GivenIds(2)
    shown = [ids.give(name) for name in ("a", "b", "a", "c", "a", "b")]
    assert shown == ["a", "b", "a-2", "c", "a-3", "b"]
