"""Structs that show none of their fields."""

from __future__ import annotations

from trunkline._protocol.quiet import QuietStruct


class Secret(QuietStruct, frozen=True):
    key: str


def test_neither_its_repr_nor_that_of_rich_shows_a_field() -> None:
    secret = Secret("sk-secret")
    assert repr(secret) == "<Secret>"
    assert secret.__rich_repr__() == []
