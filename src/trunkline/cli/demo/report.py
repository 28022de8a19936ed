"""The table at the end of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from ..._observe.metrics import TurnMetrics


@dataclass(frozen=True, slots=True)
class Row:
    """One response: its scene, from 1, and its figures."""

    scene: int
    metrics: TurnMetrics


def print_report(rows: Sequence[Row], sockets: int, out: Console) -> None:
    """Print a line for each response, then the totals and the savings."""
    out.out("")
    out.print(_table(rows, is_terminal=out.is_terminal))
    sent = sum(row.metrics.bytes_sent for row in rows)
    in_full = sum(row.metrics.full_bytes for row in rows)
    lanes = len({row.metrics.lane for row in rows})
    out.out(
        f"{len(rows)} responses over {_count(sockets, 'socket')} and {_count(lanes, 'lane')}:"
        f" {sent:,} bytes sent instead of {in_full:,}, {1 - sent / in_full:.0%} less.",
        highlight=False,
    )


def _table(rows: Sequence[Row], *, is_terminal: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD if is_terminal else None, show_footer=True, pad_edge=False)
    table.add_column("turn", "total")
    table.add_column("mode")
    for name in ("items sent", "bytes sent", "bytes in full"):
        table.add_column(name, justify="right")
    table.add_column("lane", justify="right")
    table.add_column("first token", justify="right")
    table.add_column("ended")
    totals = [sum(column) for column in zip(*(_sizes(row.metrics) for row in rows), strict=True)]
    for column, total in zip(table.columns[2:5], totals, strict=True):
        column.footer = f"{total:,}"
    for number, row in enumerate(rows):
        is_first = number == 0 or rows[number - 1].scene != row.scene
        table.add_row(str(row.scene) if is_first else "", *_cells(row.metrics))
    return table


def _cells(metrics: TurnMetrics) -> list[str]:
    return [
        metrics.mode,
        *(f"{size:,}" for size in _sizes(metrics)),
        metrics.lane or "-",
        _milliseconds(metrics),
        "interrupted" if metrics.outcome == "left" else metrics.outcome or "",
    ]


def _sizes(metrics: TurnMetrics) -> tuple[int, int, int]:
    return metrics.items_sent, metrics.bytes_sent, metrics.full_bytes


def _milliseconds(metrics: TurnMetrics) -> str:
    """Time to the first text, or to the first call of a response without text."""
    first_s = metrics.ttft_s if metrics.ttft_s is not None else metrics.first_output_s
    return "-" if first_s is None else f"{first_s * 1000:.0f} ms"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
