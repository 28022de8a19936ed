"""Docstrings: descriptions of parameters in every common style, and the rest for the tool."""

from __future__ import annotations

import pytest

from trunkline.tools.docstring import split

NAMES = {"city", "days", "unit"}

GOOGLE = """Look up the weather.

    Only cities are known.

    Args:
        city: The name of the city,
            in English.
        days (int, optional): How many days: at most 7.
        unit (Literal["c", "f"]):
            Celsius or Fahrenheit.

    Returns:
        city: not a parameter.
    """

NUMPY = """Look up the weather.

    Only cities are known.

    Parameters
    ----------
    city : str
        The name of the city,
        in English.
    days : int, optional
        How many days: at most 7.

    unit
        Celsius or Fahrenheit.

    Returns
    -------
    city : str
        not a parameter.
    """

SPHINX = """Look up the weather.

    Only cities are known.

    :param city: The name of the city,
        in English.
    :type city: str
    :param int days: How many days: at most 7.
    :param unit: Celsius or Fahrenheit.
    :returns: city: not a parameter.
    """


@pytest.mark.parametrize("doc", [GOOGLE, NUMPY, SPHINX, SPHINX.replace(":param", "@param")])
def test_every_style_gives_the_descriptions_and_leaves_the_rest(doc: str) -> None:
    description, described = split(doc, NAMES)
    assert described == {
        "city": "The name of the city, in English.",
        "days": "How many days: at most 7.",
        "unit": "Celsius or Fahrenheit.",
    }
    assert description.startswith("Look up the weather.\n\nOnly cities are known.\n\n")
    assert description.endswith("not a parameter.")
    assert "English" not in description
    assert "type city" not in description


def test_several_numpy_parameters_may_share_a_description() -> None:
    doc = "Look.\n\nParameters\n----------\ncity, days : str\n    Both."
    assert split(doc, NAMES) == ("Look.", {"city": "Both.", "days": "Both."})


@pytest.mark.parametrize(
    "doc",
    [
        "",
        "Look up the weather.",
        "Look it up.\n\nArgs:\n    town: a name that no parameter has.",
        "Look it up.\n\nArgs:\n    As those of the service.\n    city: too.",
        "Look it up.\n\nParameters: see the service.",
        "Look it up.\n\nParameters\n\ncity: in a text without a rule.",
        "Look it up.\n\nArgs:",
        "Look it up.\n\nArgs:\n\nNotes follow.",
        "Look it up.\n\ncity: in a text.",
    ],
)
def test_sections_without_known_parameters_stay_in_the_description(doc: str) -> None:
    assert split(doc, NAMES) == (doc, {})
