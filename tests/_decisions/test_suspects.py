"""Which requests may be the reason why a server ends its sockets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trunkline._decisions.suspects import ISOLATED_S, MAX_SHAPES, Suspects, shape_of
from trunkline._protocol.failure import Failure, FailureKind
from trunkline._protocol.fields import Fields

FIELDS = Fields.of({"model": "m", "temperature": 0.5})
CUT = Failure(kind=FailureKind.LOST, sent=True, neighbours=3)
"""The peer ended a socket with this request and three others."""


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ({"temperature": 1}, {"temperature": 2}, True),
        ({"temperature": 1}, {"temperature": 0.5}, False),
        ({"temperature": 1}, {"temperature": True}, False),
        ({"model": "a"}, {"model": None}, False),
        ({"a": 1, "b": "x"}, {"b": "y", "a": 2}, True),
        ({"reasoning": {"effort": "low"}}, {"reasoning": {"effort": 3}}, False),
        ({"tools": [{"name": "a"}]}, {"tools": [{"name": "b"}, {"name": "c"}]}, True),
        ({"tools": [{"name": "a"}]}, {"tools": [{"name": "a"}, {"title": "c"}]}, False),
    ],
)
def test_a_shape_is_names_and_types(one: Any, other: Any, is_same: bool) -> None:
    assert (shape_of(one) == shape_of(other)) is is_same


def test_a_shape_has_no_content_and_an_end() -> None:
    endless: dict[str, Any] = {"secret": "top"}
    endless["self"] = [endless]
    assert "top" not in shape_of(endless)


def test_two_sockets_make_a_suspect_until_it_is_answered() -> None:
    suspects = Suspects()
    suspects.lost("a", 1, 0.0)
    suspects.lost("a", 1, 0.0)  # another request on the same socket
    assert not suspects.is_suspect("a", 0.0)
    suspects.lost("a", 2, 1.0)
    assert suspects.is_suspect("a", 1.0)
    assert not suspects.is_suspect("b", 1.0)
    assert not suspects.is_isolated("a", 1.0)
    suspects.answered("a")
    assert not suspects.is_suspect("a", 1.0)
    assert suspects.is_clear


def test_losses_count_for_ten_minutes() -> None:
    suspects = Suspects()
    suspects.lost("a", 1, 0.0)
    suspects.lost("a", 2, ISOLATED_S)
    assert not suspects.is_suspect("a", ISOLATED_S)
    suspects.lost("a", 3, ISOLATED_S + 1)
    assert suspects.is_suspect("a", ISOLATED_S + 1)
    assert not suspects.is_suspect("a", 2 * ISOLATED_S + 1)


def test_a_request_that_is_lost_alone_isolates_its_shape() -> None:
    suspects = Suspects()
    suspects.lost_alone("a", 0.0)
    suspects.answered("a")
    assert suspects.is_isolated("a", ISOLATED_S - 1)
    assert not suspects.is_isolated("a", ISOLATED_S)
    assert not suspects.is_clear


def test_a_request_is_sent_alone_after_two_sockets_with_it_and_others() -> None:
    suspects = Suspects()
    assert not suspects.failed(FIELDS, CUT, 1, 0.0, was_alone=False)
    assert suspects.to_isolate(FIELDS, 0.0) is None
    assert suspects.failed(FIELDS, CUT, 2, 0.0, was_alone=False)
    shape = suspects.to_isolate(FIELDS, 0.0)
    assert shape is not None
    assert not suspects.is_isolated(shape, 0.0)
    assert suspects.failed(FIELDS, replace(CUT, neighbours=0), 3, 0.0, was_alone=True)
    assert suspects.is_isolated(shape, 0.0)


def test_a_request_that_has_begun_is_not_the_reason() -> None:
    suspects = Suspects()
    suspects.failed(FIELDS, CUT, 1, 0.0, was_alone=False)
    assert not suspects.failed(FIELDS, replace(CUT, started=True), 2, 0.0, was_alone=False)
    assert suspects.is_clear


@pytest.mark.parametrize(
    ("failure", "connection"),
    [
        (replace(CUT, neighbours=0), 1),  # each socket may be lost
        (replace(CUT, kind=FailureKind.DEADLINE), 1),
        (replace(CUT, sent=False), 1),
        (CUT, None),
    ],
)
def test_other_failures_are_no_evidence(failure: Failure, connection: int | None) -> None:
    suspects = Suspects()
    for _ in range(3):
        assert not suspects.failed(FIELDS, failure, connection, 0.0, was_alone=False)
    assert suspects.is_clear


def test_the_number_of_shapes_is_bounded() -> None:
    suspects = Suspects()
    for number in range(MAX_SHAPES + 1):
        for connection in (1, 2):
            suspects.lost(str(number), connection, 0.0)
    assert not suspects.is_suspect("0", 0.0)
    assert suspects.is_suspect("1", 0.0)
    assert repr(suspects) == f"<Suspects: {MAX_SHAPES} shapes>"
