"""Plots of the figures, as SVG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

from overview import CLIENTS, DROP, shown

_OURS = "#0b6e4f"
_FLOOR = "#8d99ae"
_OTHERS = "#d08c60"
_ERROR = "#b23a48"
_BARS = {
    "delta-one": ("cpu_us", "CPU per text delta, one stream (µs)"),
    "delta-64": ("cpu_us", "CPU per text delta, 64 lanes (µs)"),
    "paced": ("cpu_us", "CPU per text delta, 50 a second on each stream (µs)"),
    "bytes": ("bytes_per_turn", "Bytes sent per turn: a question, a tool call and an answer"),
    "barge-in": ("request_ms", "From the next question to its request at the server (ms)"),
    "memory-resident": ("idle_kb", "Resident memory per idle conversation (KB)"),
    "imports": ("cpu_ms", "Import (ms of CPU)"),
}
_OVERVIEW = (
    ("barge-in", "request_ms", "Request after a barge-in (ms)"),
    ("lost-socket", "first_piece_ms", "First text after a lost socket (ms)"),
    ("handshakes", "per_1000", "Connections per 1,000 turns"),
    ("bytes", "bytes_per_turn", "Bytes sent per turn"),
    ("paced", "cpu_us", "CPU per text delta, paced (µs)"),
)
_LINES = {
    "turn-grows": ("cpu_ms_", "CPU per turn, history grows in place (ms)", "messages in the history"),
    "turn-fresh": ("cpu_ms_", "CPU per turn, all objects of the history new (ms)", "messages in the history"),
    "tool-loop": ("wall_ms_", "20 tool calls and an answer (ms)", "round trip (ms)"),
}


def draw(place: Path, summary: Any, faults: Any) -> None:
    """Write one file per case, and one for the first page."""
    mpl.rcParams["svg.hashsalt"] = "trunkline"  # equal figures give an identical file
    for case, (figure, title) in _BARS.items():
        if case in summary:
            _bars(place / f"{case}.svg", summary[case], figure, title)
    for case, (prefix, title, axis) in _LINES.items():
        if case in summary:
            _lines(place / f"{case}.svg", summary[case], prefix, title, axis)
    if all(case in summary for case, *_ in _OVERVIEW):
        _overview(place / "overview.svg", summary, faults)


def _overview(path: Path, summary: Any, faults: Any) -> None:
    """Six small plots, of the clients of the first page."""
    plot, places = plt.subplots(3, 2, figsize=(11, 9))
    for axes, (case, figure, title) in zip(places.flat, _OVERVIEW, strict=False):
        found = {name: summary[case][name] for name in CLIENTS if figure in summary[case].get(name, {})}
        _bar_axes(axes, {CLIENTS[name]: figures for name, figures in found.items()}, figure)
        axes.set_title(title, fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    if DROP in faults["figures"]:
        _drop(places.flat[-1], faults["figures"][DROP])
    else:
        places.flat[-1].set_axis_off()
    plot.tight_layout()
    plot.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(plot)


def _drop(axes: Any, figures: Any) -> None:
    """The seconds from a NAT drop to what ends the wait, which is named."""
    names = sorted((name for name in CLIENTS if name in figures), key=lambda name: -figures[name]["seconds"])
    values = [figures[name]["seconds"] for name in names]
    colours = [_colour(name) if figures[name]["outcome"] == "answer" else _ERROR for name in names]
    bars = axes.barh([CLIENTS[name] for name in names], values, color=colours)
    labels = [f"{figures[name]['seconds']:.1f} {figures[name]['outcome']}" for name in names]
    axes.bar_label(bars, labels, padding=4, fontsize=8)
    axes.margins(x=0.45)
    axes.set_title("Seconds after a NAT drop (red: an error)", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _bars(path: Path, clients: Any, figure: str, title: str) -> None:
    found = [name for name, figures in clients.items() if figure in figures]
    plot, axes = plt.subplots(figsize=(7, 0.4 * len(found) + 1))
    _bar_axes(axes, clients, figure)
    _finish(plot, axes, path, title)


def _bar_axes(axes: Any, clients: Any, figure: str) -> None:
    """Bars of the medians with their spread; a mark for the median without Python's collector."""
    found = {name: figures[figure] for name, figures in clients.items() if figure in figures}
    names = sorted(found, key=lambda name: found[name]["median"], reverse=True)
    middles = [found[name]["median"] for name in names]
    below = [found[name]["median"] - found[name]["least"] for name in names]
    above = [found[name]["most"] - found[name]["median"] for name in names]
    bars = axes.barh(names, middles, xerr=[below, above], color=[_colour(name) for name in names])
    axes.bar_label(bars, [shown(value) for value in middles], padding=4, fontsize=8)
    if max(middles) > 20 * max(min(middles), 1e-9):
        axes.set_xscale("log")
        axes.set_xlabel("logarithmic", fontsize=7, loc="right")
    axes.margins(x=0.15)
    bare = {
        name: clients[name][f"{figure}_no_gc"]["median"]
        for name in names
        if f"{figure}_no_gc" in clients[name]
    }
    if bare:
        label = "without Python's collector"
        axes.plot(
            list(bare.values()), list(bare), "D", color="black", markersize=4, linestyle="", label=label
        )
        axes.legend(fontsize=7, frameon=False)


def _lines(path: Path, clients: Any, prefix: str, title: str, axis: str) -> None:
    plot, axes = plt.subplots(figsize=(7, 4))
    for name, figures in clients.items():
        points = sorted(
            (int(figure.removeprefix(prefix)), value["median"])
            for figure, value in figures.items()
            if figure.startswith(prefix)
        )
        width = 2.5 if name.startswith("trunkline") else 1.2
        style = "--" if name == "floor" else "-"
        axes.plot(*zip(*points, strict=True), style, marker="o", markersize=3, linewidth=width, label=name)
    axes.set_xlabel(axis)
    if prefix == "cpu_ms_":
        axes.set_xscale("log")
        axes.set_yscale("log")
    axes.legend(fontsize=7, ncols=2, frameon=False)
    _finish(plot, axes, path, title)


def _colour(name: str) -> str:
    if name.startswith("trunkline") or "drop" in name:
        return _OURS
    return _FLOOR if name.startswith("floor") else _OTHERS


def _finish(plot: Any, axes: Any, path: Path, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    plot.tight_layout()
    plot.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(plot)
