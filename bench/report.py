"""Figures of the benchmark: JSON file, and tables made from it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import json

import overview
from cases import CASES

FIGURES = "figures.json"
TABLE = "results.md"
PAGE = "README.md"
NO_GC = "_no_gc"
"""The end of the names of figures without Python's collector."""

Summary = dict[str, dict[str, dict[str, dict[str, float]]]]


def keep(
    place: Path,
    runs: list[dict[str, Any]],
    skipped: Mapping[tuple[str, str, bool], str],
    made: dict[str, Any],
    *,
    is_whole: bool,
) -> None:
    """Store these runs, replacing earlier ones of the same case and client.

    Args:
        place: the folder.
        runs: the runs.
        skipped: the reasons why others were not run, by case, client and whether the collector is on. Their
            earlier figures are kept.
        made: the machine, the versions and the command.
        is_whole: all cases and clients were meant.
    """
    place.mkdir(parents=True, exist_ok=True)
    path = place / FIGURES
    known = json.decode(path.read_bytes()) if path.exists() else {"runs": []}
    new = {_key(run) for run in runs}
    for run in runs:
        run["commit"], run["command"] = made["commit"], made["command"]
    made = made if is_whole else known.get("made", made)
    kept = [run for run in known["runs"] if _key(run) not in new]
    left_out = [] if is_whole else [each for each in known.get("skipped", []) if _key(each) not in new]
    left_out = [each for each in left_out if _key(each) not in skipped]
    left_out += [
        {"case": case, "client": client, "gc": gc, "why": why} for (case, client, gc), why in skipped.items()
    ]
    stored = {"made": made, "skipped": left_out, "runs": kept + runs}
    path.write_bytes(json.format(json.encode(stored), indent=1) + b"\n")


def _key(run: Mapping[str, Any]) -> tuple[str, str, bool]:
    return run["case"], run["client"], run.get("gc", True)


def write(place: Path) -> None:
    """Write the tables and plots of the stored figures."""
    known = json.decode((place / FIGURES).read_bytes())
    summary = summed_up(known["runs"])
    method = (
        "[Method and cases](method.md)" if (place / "method.md").exists() else "docs/benchmarks/method.md"
    )
    (place / TABLE).write_text(_page(known, summary, method))
    print(f"written: {place / TABLE}")
    faults = overview.stored_faults(place)
    if (place / PAGE).exists():
        overview.write(place / PAGE, known["made"], summary, faults)
    try:
        import plots
    except ModuleNotFoundError as error:
        print(f"no plots: {error.name} is not installed")
    else:
        plots.draw(place, summary, faults)


def summed_up(runs: list[dict[str, Any]]) -> Summary:
    """Median, minimum and maximum of every figure, by case and client."""
    values: dict[str, dict[str, dict[str, list[float]]]]
    values = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for run in runs:
        case = CASES.get(run["case"])
        for name, value in run["figures"].items():
            if case is None or isinstance(value, str):
                continue
            if run.get("gc", True):
                values[run["case"]][run["client"]][name].append(value)
            elif name in case.without_gc:
                values[run["case"]][run["client"]][name + NO_GC].append(value)
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


def _page(known: dict[str, Any], summary: Summary, method: str) -> str:
    made = known["made"]
    parts = ["# Results", "", f"Made by `{made['command']}` on {made['date']}, commit {made['commit']}, "]
    parts += [
        f"Python {made['python']}, {made['system']}, {made['processor']}, {made['cores']} cores "
        f"(load before the end: {made['load_1min']}).",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in made["versions"].items()) + ".",
        "",
        "Medians over the rounds; the spread (least-most) stands behind the figure that is compared. "
        f"Figures whose name ends in `{NO_GC}` are those without Python's collector (`gc.disable()`). "
        f"{method} has the meaning of each case.",
        "",
    ]
    for name, case in CASES.items():
        notes = _notes(name, known, summary)
        if name in summary or notes:
            parts += _section(name, case.title, case.main, summary.get(name, {}))
            parts += [f"- {note}" for note in notes] + [""] * bool(notes)
    return "\n".join(parts)


def _notes(case: str, known: dict[str, Any], summary: Summary) -> list[str]:
    """The clients of a case without figures, and the reasons; and those whose figures are older."""
    notes = []
    for run in known["runs"]:
        if run["case"] == case and isinstance(run["figures"].get("failed"), str):
            notes.append(f"{_named(run)} gave no figures: {run['figures']['failed']}.")
    for left_out in known.get("skipped", []):
        if left_out["case"] == case:
            has_older = any(_key(run) == _key(left_out) for run in known["runs"])
            older = " Its figures are older." if has_older else ""
            notes.append(f"{_named(left_out)} was not run: {left_out['why']}.{older}")
    for client in summary.get(case, {}):
        of_client = [run for run in known["runs"] if (run["case"], run["client"]) == (case, client)]
        commits = {run["commit"] for run in of_client if "commit" in run} - {known["made"]["commit"]}
        if commits:
            command = of_client[-1].get("command", "")
            notes.append(f"{client}: commit {', '.join(sorted(commits))}, made by `{command}`.")
    return list(dict.fromkeys(notes))


def _named(run: Mapping[str, Any]) -> str:
    client: str = run["client"]
    return client if run.get("gc", True) else f"{client} without the collector"


def _section(name: str, title: str, main: str, clients: dict[str, Any]) -> list[str]:
    columns = [main] + [
        figure
        for figure in dict.fromkeys(figure for figures in clients.values() for figure in figures)
        if figure != main
    ]
    lines = [f"## {name}", "", title, ""]
    if not clients:
        return lines
    lines += ["| client | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for client, figures in clients.items():
        cells = [_cell(figures.get(column), spread=column in (main, main + NO_GC)) for column in columns]
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
