"""The advice where an extra is missing."""

from __future__ import annotations

from trunkline.extras import how_to_install


def test_the_advice_names_the_line_for_a_release_and_for_a_clone() -> None:
    advice = "run pip install 'trunkline[cli]', or pip install '.[cli]' in a clone"
    assert how_to_install("cli") == advice
