"""Which requests may be the reason why a server ends its sockets."""

from __future__ import annotations

from typing import Any

import pytest

from trunkline._decisions.suspects import ISOLATED_S, MAX_SHAPES, Suspects, shape_of


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


def test_the_number_of_shapes_is_bounded() -> None:
    suspects = Suspects()
    for number in range(MAX_SHAPES + 1):
        for connection in (1, 2):
            suspects.lost(str(number), connection, 0.0)
    assert not suspects.is_suspect("0", 0.0)
    assert suspects.is_suspect("1", 0.0)
    assert repr(suspects) == f"<Suspects: {MAX_SHAPES} shapes>"
