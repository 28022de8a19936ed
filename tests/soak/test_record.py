"""Ranges of rounds are recorded once, and add up only within one commit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from .figures import Defect, Figures
from .record import Line, Record, RecordRefused, longest_process, slope_mib, summary, total

FIGURES = Figures(
    turns=1000,
    answered=900,
    errors=Counter(ConnectionLost=99),
    faults=Counter(drop=30, cut=2),
    recoveries=Counter(connection=40),
    servers=Counter(openai=20),
)
LINE = Line("client", "a" * 40, 1, 0, 19, "1 since noon", 5.0, 100.0, FIGURES)


def test_a_line_is_read_as_it_was_written() -> None:
    broken = replace(LINE, figures=FIGURES + Figures(defects=Counter({Defect.MIXED: 2})))
    assert Line.loads(broken.dumps()) == broken
    assert Line.loads(LINE.dumps()) == LINE


def test_an_empty_record_begins_with_round_0(tmp_path: Path) -> None:
    assert Record(tmp_path / "none.jsonl").continued("client", LINE.commit, 1) == (0, 0)


def test_a_record_goes_on_with_the_next_round_of_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "client.jsonl"
    record = Record(path)
    record.append(LINE)
    record.append(replace(LINE, first=20, last=39))
    record.append(replace(LINE, seed=2, first=0, last=9))
    again = Record(path)
    assert again.lines == record.lines
    assert again.continued("client", LINE.commit, 1) == (40, 2000)
    assert again.continued("client", LINE.commit, 2) == (10, 1000)
    assert again.continued("client", LINE.commit, 3) == (0, 0)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (replace(LINE, commit="b" * 40), "rounds of different commits do not add up"),
        (replace(LINE, part="gateway"), "the record of the part 'gateway', not of 'client'"),
    ],
)
def test_a_record_of_another_commit_or_part_is_refused(tmp_path: Path, line: Line, says: str) -> None:
    record = Record(tmp_path / "client.jsonl")
    record.append(line)
    with pytest.raises(RecordRefused, match=says):
        record.continued("client", LINE.commit, 1)


def test_a_record_of_uncommitted_changes_is_not_continued(tmp_path: Path) -> None:
    record = Record(tmp_path / "client.jsonl")
    record.append(replace(LINE, commit="a+dirty"))
    with pytest.raises(RecordRefused, match="uncommitted changes"):
        record.continued("client", "a+dirty", 1)


def test_the_total_adds_every_count() -> None:
    figures = total(
        [LINE, replace(LINE, first=20, last=20, figures=Figures(turns=1, errors=Counter(Timeout=1)))]
    )
    assert figures.turns == 1001
    assert figures.errors == Counter(ConnectionLost=99, Timeout=1)
    assert figures.is_clean
    assert not (figures + Figures(defects=Counter({Defect.LOST: 1}))).is_clean


def test_no_total_of_different_commits_or_of_a_round_twice() -> None:
    with pytest.raises(RecordRefused, match="do not add up"):
        total([LINE, replace(LINE, first=20, last=39, commit="b" * 40)])
    with pytest.raises(RecordRefused, match="round 19 of seed 1 is in the record twice"):
        total([LINE, replace(LINE, first=19, last=39)])
    assert total([LINE, replace(LINE, seed=2)]).turns == 2000


def test_the_slope_is_the_growth_in_100_000_turns() -> None:
    growing = [replace(LINE, first=n, last=n, rss_mib=100.0 + n) for n in range(5)]
    assert slope_mib(growing) == pytest.approx(100.0)
    assert slope_mib([LINE] * 5) == 0.0
    assert slope_mib([LINE]) == 0.0


def test_memory_is_that_of_the_process_with_the_most_turns() -> None:
    other = replace(LINE, process="2 since one", rss_mib=50.0)
    assert longest_process([LINE, other, other]) == [other, other]


def test_the_summary_has_a_row_for_each_part_and_commit() -> None:
    lines = [LINE, replace(LINE, first=20, last=39, rss_mib=101.0), replace(LINE, seed=7, first=3, last=3)]
    rows = summary([*lines, replace(LINE, commit="b" * 40 + "+dirty")]).splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert rows[2].startswith(
        "| client | aaaaaaaaaa | 1: 0-39, 7: 3-3 | 3,000 | 2,700 | 297 | 96 | 120 | 0 | 0 | 0 | 0 |"
    )
    assert rows[3].startswith("| client | bbbbbbbbbb+dirty | 1: 0-19 | 1,000 |")
