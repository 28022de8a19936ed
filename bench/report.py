"""Figures of the benchmark: JSON file, and tables made from it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from msgspec import json

import plots
from cases import CASES

FIGURES = "figures.json"
TABLE = "results.md"

Summary = dict[str, dict[str, dict[str, dict[str, float]]]]


def keep(place: Path, runs: list[dict[str, Any]], made: dict[str, Any], *, is_whole: bool) -> None:
    """Store these runs, replacing earlier ones of the same case and client."""
    place.mkdir(parents=True, exist_ok=True)
    path = place / FIGURES
    known = json.decode(path.read_bytes()) if path.exists() else {"runs": []}
    new = {(run["case"], run["client"]) for run in runs}
    for run in runs:
        run["commit"], run["command"] = made["commit"], made["command"]
    made = made if is_whole else known.get("made", made)
    kept = [run for run in known["runs"] if (run["case"], run["client"]) not in new]
    path.write_bytes(json.format(json.encode({"made": made, "runs": kept + runs}), indent=1) + b"\n")


def write(place: Path) -> None:
    """Write the tables and plots of the stored figures."""
    known = json.decode((place / FIGURES).read_bytes())
    summary = summed_up(known["runs"])
    failures = {
        (run["case"], run["client"]): run["figures"]["failed"]
        for run in known["runs"]
        if isinstance(run["figures"].get("failed"), str)
    }
    (place / TABLE).write_text(_page(known["made"], summary, failures))
    plots.draw(place, summary)
    print(f"written: {place / TABLE}")


def summed_up(runs: list[dict[str, Any]]) -> Summary:
    """Median, minimum and maximum of every figure, by case and client."""
    values: dict[str, dict[str, dict[str, list[float]]]]
    values = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for run in runs:
        for name, value in run["figures"].items():
            if not isinstance(value, str):
                values[run["case"]][run["client"]][name].append(value)
    return {
        case: {
            client: {
                name: {"median": statistics.median(found), "least": min(found), "most": max(found)}
                for name, found in figures.items()
            }
            for client, figures in clients.items()
        }
        for case, clients in values.items()
    }


def _page(made: dict[str, Any], summary: Summary, failures: dict[tuple[str, str], str]) -> str:
    parts = ["# Results", "", f"Made by `{made['command']}` on {made['date']}, commit {made['commit']}, "]
    parts += [
        f"Python {made['python']}, {made['system']}, {made['processor']}, {made['cores']} cores "
        f"(load before the end: {made['load_1min']}).",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in made["versions"].items()) + ".",
        "",
        "Medians over the rounds; the spread (least-most) stands behind the figure that is compared. "
        "What each case means is in [README.md](README.md).",
        "",
    ]
    for name, case in CASES.items():
        if name in summary:
            parts += _section(name, case.title, case.main, summary[name])
            parts += [
                f"{client} gave no figures: {why}\n" for (of, client), why in failures.items() if of == name
            ]
    return "\n".join(parts)


def _section(name: str, title: str, main: str, clients: dict[str, Any]) -> list[str]:
    columns = [main] + [
        figure
        for figure in dict.fromkeys(figure for figures in clients.values() for figure in figures)
        if figure != main
    ]
    lines = [f"## {name}", "", title, ""]
    lines += ["| client | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for client, figures in clients.items():
        cells = [_cell(figures.get(column), spread=column == main) for column in columns]
        lines.append(f"| {client} | " + " | ".join(cells) + " |")
    return [*lines, "", f"`python bench/run.py --case {name}`", ""]


def _cell(figure: dict[str, float] | None, *, spread: bool) -> str:
    if figure is None:
        return "-"
    middle = _number(figure["median"])
    if not spread or figure["least"] == figure["most"]:
        return middle
    return f"**{middle}** ({_number(figure['least'])}-{_number(figure['most'])})"


def _number(value: float) -> str:
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
