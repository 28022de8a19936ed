"""The record of a soak: one line of JSON for each range of rounds that were played at one commit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add
from pathlib import Path
from typing import Any

from .figures import Defect, Figures


class RecordRefused(Exception):
    """The record cannot be continued or added up."""


@dataclass(frozen=True)
class Line:
    """The rounds ``first`` to ``last`` of one seed, played by one process.

    Attributes:
        part: the part of the soak.
        commit: the commit, with ``+dirty`` where files differed from it.
        seed: the seed of all rounds.
        first: the number of the first round.
        last: the number of the last round.
        process: a name of the process, which began with empty memory.
        seconds: the time since the previous line, or since the process started.
        rss_mib: the resident memory of the process, in MiB, when the last round ended.
        figures: the counts.
    """

    part: str
    commit: str
    seed: int
    first: int
    last: int
    process: str
    seconds: float
    rss_mib: float
    figures: Figures

    def dumps(self) -> str:
        """The line as text."""
        own = {name: value for name, value in vars(self).items() if name != "figures"}
        return json.dumps({**own, **self.figures.as_json()})

    @classmethod
    def loads(cls, text: str) -> Line:
        """The line that `dumps` wrote."""
        value: dict[str, Any] = json.loads(text)
        names = [name for name in cls.__dataclass_fields__ if name != "figures"]
        return cls(**{name: value[name] for name in names}, figures=Figures.of_json(value))


class Record:
    """The lines of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[Line] = []
        if path.exists():
            self.lines = [Line.loads(text) for text in path.read_text().splitlines() if text]

    def append(self, line: Line) -> None:
        """Add a line at the end of the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(line.dumps() + "\n")
        self.lines.append(line)

    def continued(self, part: str, commit: str, seed: int) -> tuple[int, int]:
        """The next round of a seed, and the turns that its lines have so far.

        Raises:
            RecordRefused: the record belongs to another part or commit, or to files of no commit.
        """
        for line in self.lines:
            if line.part != part:
                raise RecordRefused(
                    f"{self.path} is the record of the part {line.part!r}, not of {part!r}; "
                    "name another file with --record"
                )
            if line.commit != commit:
                raise RecordRefused(
                    f"{self.path} has rounds of commit {line.commit}, and this is {commit}: rounds of "
                    "different commits do not add up; move the file away, or name another with --record"
                )
            if line.commit.endswith("+dirty"):
                raise RecordRefused(
                    f"{self.path} was made with uncommitted changes, which nothing compares with those of "
                    "now; move the file away, or name another with --record"
                )
        mine = [line for line in self.lines if line.seed == seed]
        return max((line.last + 1 for line in mine), default=0), sum(line.figures.turns for line in mine)


def total(lines: Sequence[Line]) -> Figures:
    """The counts of all lines.

    Raises:
        RecordRefused: the lines are of different commits, or a round is in two of them.
    """
    if len(commits := {line.commit for line in lines}) > 1:
        raise RecordRefused(f"rounds of different commits do not add up: {', '.join(sorted(commits))}")
    for one, other in pairwise(sorted(lines, key=lambda line: (line.part, line.seed, line.first))):
        if (one.part, one.seed) == (other.part, other.seed) and other.first <= one.last:
            raise RecordRefused(f"round {other.first} of seed {one.seed} is in the record twice")
    return reduce(add, (line.figures for line in lines), Figures())


def slope_mib(lines: Sequence[Line]) -> float:
    """The growth of memory in MiB per 100,000 turns: least squares over the lines of one process."""
    turns, points = 0, []
    for line in lines:
        turns += line.figures.turns
        points.append((turns / 100_000, line.rss_mib))
    if len(points) < 2:
        return 0.0
    middle_x, middle_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    width: float = sum((x - middle_x) ** 2 for x, _ in points)
    rise: float = sum((x - middle_x) * (y - middle_y) for x, y in points)
    return rise / width


def longest_process(lines: Iterable[Line]) -> list[Line]:
    """The lines of the process that played the most turns."""
    by_process: dict[str, list[Line]] = {}
    for line in lines:
        by_process.setdefault(line.process, []).append(line)
    return max(by_process.values(), key=lambda each: sum(line.figures.turns for line in each))


HEAD = (
    "| part | commit | seed: rounds | turns | answered | typed errors | faults | recoveries | "
    + " | ".join(Defect)
    + " | seconds | memory in MiB: first, last, per 100,000 turns |"
)


def summary(lines: Sequence[Line]) -> str:
    """A table in Markdown with a row for each part and commit."""
    rows = [HEAD, "| --- " * (HEAD.count("|") - 1) + "|"]
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.part, line.commit), []).append(line)
    for (part, commit), group in groups.items():
        figures = total(group)
        memory = longest_process(group)
        cells = [
            part,
            commit[:10] + ("+dirty" if commit.endswith("+dirty") else ""),
            ", ".join(_ranges(group)),
            f"{figures.turns:,}",
            f"{figures.answered:,}",
            f"{figures.errors.total():,}",
            f"{figures.faults.total():,}",
            f"{figures.recoveries.total():,}",
            *(f"{figures.defects[kind]}" for kind in Defect),
            f"{sum(line.seconds for line in group):,.0f}",
            f"{memory[0].rss_mib:.0f}, {memory[-1].rss_mib:.0f}, {slope_mib(memory):+.1f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _ranges(lines: Iterable[Line]) -> list[str]:
    """The rounds of each seed; ranges that follow each other are joined."""
    ranges: list[list[int]] = []
    for line in sorted(lines, key=lambda line: (line.seed, line.first)):
        if ranges and ranges[-1][0] == line.seed and ranges[-1][2] + 1 == line.first:
            ranges[-1][2] = line.last
        else:
            ranges.append([line.seed, line.first, line.last])
    return [f"{seed}: {first}-{last}" for seed, first, last in ranges]
