from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline.surrogates import begins_with_a_half, ends_with_a_half, mended


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", ""),
        ("plain", "plain"),
        ("é \U0001f600", "é \U0001f600"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\ud83d", "\ufffd"),
        ("a \ude00 b", "a \ufffd b"),
        ("\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
    ],
)
def test_halves_are_joined_or_replaced(text: str, whole: str) -> None:
    assert mended(text) == whole


@given(st.text(st.characters() | st.sampled_from("\ud83d\ude00")))
def test_a_mended_text_can_be_encoded_and_needs_no_mending(text: str) -> None:
    whole = mended(text)
    whole.encode()
    assert mended(whole) == whole


def test_the_ends_of_a_text_tell_where_it_was_cut() -> None:
    assert begins_with_a_half("\ude00 x")
    assert ends_with_a_half("x \ud83d")
    for whole in ("", "x", "\U0001f600", "é"):
        assert not begins_with_a_half(whole)
        assert not ends_with_a_half(whole)
    assert not begins_with_a_half("\ud83d")
    assert not ends_with_a_half("\ude00")
