"""Names of quirks: unknown ones and contradictions are refused before the server starts."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from trunkline.emulator import QUIRKS, Deviation, Emulator

CONTRADICTIONS = {
    frozenset(pair)
    for pair in (
        ("vllm", "litellm"),
        ("vllm", "xai"),
        ("vllm", "azure"),
        ("vllm", "ollama"),
        ("litellm", "ollama"),
        ("xai", "ollama"),
        ("ollama", "proxy"),
        ("ollama", "proxy-limit"),
        ("litellm", "codex"),
        ("proxy", "proxy-limit"),
    )
}
DOCUMENT = Path(__file__).parents[3] / "docs" / "emulator.md"


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"^unknown quirk 'grok'; use one of vllm, litellm, xai, azure, "):
        Emulator(quirks=["xai", "grok"])


def test_a_string_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r"^quirks must be a list of names, not a string; use \['xai'\]$"):
        Emulator(quirks="xai")


@pytest.mark.parametrize(("one", "other"), list(combinations(QUIRKS, 2)))
def test_two_servers_are_combined_unless_they_contradict_each_other(one: str, other: str) -> None:
    if {one, other} in CONTRADICTIONS:
        with pytest.raises(ValueError, match=rf"^the quirks '{one}' .* and '{other}' .* contradict each "):
            Emulator(quirks=[one, other])
    else:
        quirks = Emulator(quirks=[one, other]).quirks
        assert quirks.names == (one, other)
        assert quirks.deviations == QUIRKS[one] | QUIRKS[other]


def test_a_contradiction_names_both_deviations() -> None:
    problem = (
        "the quirks 'ollama' (has no WebSocket: an upgrade is answered with 404) and 'xai' (has WebSockets)"
        " contradict each other; use one of them"
    )
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the message is compared below
        Emulator(quirks=["ollama", "xai"])
    assert str(refusal.value) == problem


def test_a_name_may_be_given_twice() -> None:
    assert Emulator(quirks=["azure", "azure"]).quirks.names == ("azure",)


def test_without_quirks_nothing_deviates() -> None:
    assert Emulator().quirks.deviations == frozenset()


def test_every_deviation_belongs_to_a_server() -> None:
    assert set(Deviation) == set().union(*QUIRKS.values())


def test_every_name_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name in QUIRKS:
        assert f"\n| `{name}` |" in text
