from __future__ import annotations

import re
import subprocess

import pytest

from trunkline import Conversation
from trunkline.cli.demo import demo
from trunkline.cli.demo.script import SCENES
from trunkline.cli.terminal import output_console

from ..command import ESCAPE, environment, in_terminal, trunkline

ROW = re.compile(
    r"^(\d+|)\s+(full|delta)\s+(\d+)\s+([\d,]+)\s+([\d,]+)\s+(\S+)\s+(\d+) ms\s+(\d+) ms"
    r"\s+(answered|interrupted)\s*$",
    re.M,
)
SIDES = re.compile(r"^(\w.*?)  +(\S+)(?: ms| s)?  +(\S+)(?: ms| s)?\s*$", re.M)


@pytest.fixture(scope="module")
def piped() -> subprocess.CompletedProcess[str]:
    return trunkline("demo")


def number(text: str) -> int:
    return int(text.replace(",", ""))


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def test_it_ends_well_and_is_plain_in_a_pipe(piped: subprocess.CompletedProcess[str]) -> None:
    assert (piped.returncode, piped.stderr) == (0, "")
    assert ESCAPE not in piped.stdout
    assert re.search(r"equals chat\.items, all \d+ of them\.$", unwrapped(piped.stdout))


def test_it_fits_into_80_columns_and_breaks_no_word(piped: subprocess.CompletedProcess[str]) -> None:
    assert max(map(len, piped.stdout.splitlines())) <= 80
    assert all(unwrapped(scene.words) in unwrapped(piped.stdout) for scene in SCENES)
    answer = "To Bergen you can take the 08:25 from platform 4, 12:03 from platform 3 and a sleeper at 23:11"
    assert answer in unwrapped(piped.stdout)


def test_every_column_is_explained(piped: subprocess.CompletedProcess[str]) -> None:
    header = next(line for line in piped.stdout.splitlines() if line.startswith("turn "))
    explained = piped.stdout.partition("\nmode:")[2]
    assert re.split(r"  +", header.strip()) == [
        *("turn", "mode", "items", "bytes", "in full", "lane", "first token", "over HTTP", "ended")
    ]
    assert all(f"{name}:" in explained for name in ("items, bytes", "in full", "lane", "first token"))


def test_the_same_call_over_http_is_compared(piped: subprocess.CompletedProcess[str]) -> None:
    assert "100 ms of round trip" in piped.stdout
    part = piped.stdout.partition("the same call, ")[2]
    sides = {
        name: (float(number(ours)), float(number(http))) if "." not in ours else (float(ours), float(http))
        for name, ours, http in SIDES.findall(part.partition("\n")[2])
    }
    assert sides["handshakes"][0] == 1
    assert sides["handshakes"][1] >= 2, "an interrupted request closes its connection"
    ours, http = sides["bytes sent, with headers"]
    assert 2 * ours < http
    ours, http = sides["interruption until the server has the request"]
    assert ours >= 50, "half a round trip"
    assert http >= 250, "a handshake of two round trips, and half a round trip"
    ours, http = sides["first token, first turn"]
    assert ours >= 300, "a round trip and the time of the model"
    assert http >= 500, "a handshake besides"


def test_the_caller_is_answered_and_interrupts(piped: subprocess.CompletedProcess[str]) -> None:
    assert all(f"caller {scene.words}" in unwrapped(piped.stdout) for scene in SCENES)
    assert piped.stdout.count("agent  ") == len(SCENES)
    assert "(the caller interrupts, and has heard: You have two berths" in piped.stdout
    assert piped.stdout.count("(calls get_weather") == 3
    assert piped.stdout.count("(calls find_trains") == 2


def test_the_table_has_a_row_for_each_response_and_its_sums(piped: subprocess.CompletedProcess[str]) -> None:
    rows = ROW.findall(piped.stdout)
    assert [row[0] for row in rows] == ["1", "2", "", "3", "", "4", "5", "", "6"]
    assert [row[1] for row in rows] == ["full"] + ["delta"] * 8
    assert [row[8] for row in rows] == ["answered"] * 5 + ["interrupted"] + ["answered"] * 3
    assert len({row[5] for row in rows[:6]}) == 1
    assert rows[6][5] != rows[5][5], "the interrupted answer drains on its lane: the next turn takes another"
    totals = re.search(r"^total\s+([\d,]+)\s+([\d,]+)\s+([\d,]+)", piped.stdout, re.M)
    assert totals is not None
    for column, total in zip((2, 3, 4), totals.groups(), strict=True):
        assert sum(number(row[column]) for row in rows) == number(total)
    sent, in_full = number(totals[2]), number(totals[3])
    assert f"{totals[2]} bytes sent instead of {totals[3]}, {1 - sent / in_full:.0%} less." in unwrapped(
        piped.stdout
    )


def test_a_terminal_gets_colours() -> None:
    with in_terminal("demo", env=environment(TERM="xterm-256color")) as terminal:
        assert terminal.end() == 0
    assert f"{ESCAPE}[1;36mcaller" in terminal.seen


def test_a_history_that_the_model_did_not_see_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = vars(Conversation)["items"].fget
    monkeypatch.setattr(demo, "FIRST_TOKEN_S", 0.0)
    monkeypatch.setattr(demo, "TOKENS_PER_SECOND", None)
    monkeypatch.setattr(demo, "ROUND_TRIP_S", 0.0)
    monkeypatch.setattr(Conversation, "items", property(lambda chat: whole(chat)[:-1]))
    assert demo.run(output_console()) == 1
    assert "is missing here" in unwrapped(capsys.readouterr().out)
