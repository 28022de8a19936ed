"""A short round of each part, and the command."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from trunkline.emulator.faults.action import Action

from ..promise.world import Turn, World
from . import __main__ as command
from . import client, dropin, gateway
from .faults import FAULTS, NEED_NUMBERS
from .figures import Defect, Figures, defect_of
from .record import Record


async def test_a_round_of_the_client_is_clean() -> None:
    figures = await client.play(1, 0, steps=8)
    assert figures.turns > 10
    assert figures.answered + figures.errors.total() == figures.turns
    assert figures.is_clean


async def test_a_steered_history_is_checked() -> None:
    world = World(tokens_per_second=20.0)
    await world.open()
    try:
        talker = world.talker()
        story = f"{talker.token} {client.STORY}"
        await talker.speak(story, Turn("gpt-6-astra", steer_after=6))
        assert world.steers == {"accepted": 1}
        said = [item["content"] for item in talker.said if item["role"] == "user"]
        assert said == [story, talker.steered and talker.steered.text]
        await talker.speak(f"{talker.token} go on", Turn())
        talker.said = [item for item in talker.said if item["content"] != said[1]]
        with pytest.raises(AssertionError, match="the application holds"):
            await talker.speak(f"{talker.token} go on", Turn())
    finally:
        await world.close()


async def test_a_round_of_the_dropin_is_clean() -> None:
    figures = await dropin.play(1, 0, turns=60)
    assert figures.turns >= 60
    assert figures.answered + figures.errors.total() == figures.turns
    assert figures.is_clean


@pytest.mark.parametrize("number", [0, 1], ids=["client", "callers over HTTP"])
async def test_a_round_of_the_gateway_is_clean(number: int) -> None:
    # A seed without a link that fails: asyncio warns of several writes to a socket that was just cut.
    figures = await gateway.play(110, number, steps=6, turns=60)
    assert figures.turns > 10
    assert figures.answered + figures.errors.total() == figures.turns
    assert figures.is_clean


def test_each_fault_of_the_emulator_has_its_turn() -> None:
    assert {action for action, _ in FAULTS} == set(Action)


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_the_fault_of_a_round_is_among_its_faults(number: int) -> None:
    faults = client.faults_of(number, random.Random(number))
    assert FAULTS[number] in faults
    names = {action for action, _ in faults}
    assert "omit" not in names or not names & NEED_NUMBERS


@pytest.mark.parametrize(
    ("says", "defect"),
    [
        ("text of another speaker is in the context", Defect.MIXED),
        ("a second response began in the same stream", Defect.DOUBLED),
        ("the model saw [1]\nand the application holds []", Defect.WRONG),
    ],
)
def test_the_message_of_a_check_tells_the_defect(says: str, defect: Defect) -> None:
    assert defect_of(AssertionError(says)) is defect


async def three_turns(seed: int, number: int) -> Figures:
    return Figures(turns=3, answered=3)


def test_the_command_goes_on_at_one_commit_and_refuses_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(command.PARTS, "client", three_turns)
    monkeypatch.setattr(command, "commit_of", lambda root: "a" * 40)
    path = tmp_path / "client.jsonl"
    for turns in ("60", "90"):
        assert command.main(["--record", str(path), "--worlds", "1", "--turns", turns]) == 0
    assert [(line.first, line.last) for line in Record(path).lines] == [(0, 19), (20, 29)]
    assert "| 1: 0-29 | 90 | 90 |" in capsys.readouterr().out
    monkeypatch.setattr(command, "commit_of", lambda root: "b" * 40)
    assert command.main(["--record", str(path), "--turns", "120"]) == 2
    assert "do not add up" in capsys.readouterr().err
    assert command.main(["--record", str(path), "--summary"]) == 0
    assert "| 1: 0-29 | 90 | 90 |" in capsys.readouterr().out


def test_the_command_fails_for_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(seed: int, number: int) -> Figures:
        return Figures(turns=1, answered=1, defects=Counter({Defect.WRONG: 1}))

    monkeypatch.setitem(command.PARTS, "client", broken)
    assert command.main(["--record", str(tmp_path / "client.jsonl"), "--turns", "1"]) == 1
    assert command.main(["--round", "7"]) == 1
