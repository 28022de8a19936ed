"""The tables at the end of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

from ..._observe.metrics import TurnMetrics
from ..wrapping import MAX_WIDTH, WordWrap
from .distance import HANDSHAKE_ROUND_TRIPS

_COLUMNS = (
    ("mode", "full: the whole context is sent; delta: only the new items, and the id of their parent"),
    ("items, bytes", "sent by trunkline for the turn"),
    ("in full", "bytes of the same turn with its whole context"),
    ("lane", "the lane of the socket; an interrupted answer drains on its own"),
    ("first token", "from sending the turn to its first token or call; over HTTP: in the other call"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One response: its scene, from 1, and its figures."""

    scene: int
    metrics: TurnMetrics


@dataclass(frozen=True, slots=True)
class CallFigures:
    """The figures of one call.

    Attributes:
        rows: its responses, in order.
        handshakes: the connections that it opened.
        bytes_sent: the bytes on the wire, with headers and frames.
        after_interruption_s: from the interruption until the server had the next request, in seconds.
    """

    rows: Sequence[Row]
    handshakes: int
    bytes_sent: int
    after_interruption_s: float | None

    def first_tokens_s(self) -> list[float]:
        """The times to the first token of all responses, in seconds."""
        return [first_s for row in self.rows if (first_s := _first_s(row.metrics)) is not None]


def print_report(ours: CallFigures, http: CallFigures, round_trip_s: float, out: Console) -> None:
    """Print a line for each response, the meaning of the columns, and both calls side by side."""
    out.out("")
    out.print(_turns(ours, http), width=MAX_WIDTH)
    out.out("")
    for name, meaning in _COLUMNS:
        _say(out, f"{name}:".ljust(14), meaning)
    out.out("")
    out.print(_comparison(ours, http, round_trip_s), width=MAX_WIDTH)
    out.out("")
    _say(
        out,
        "",
        "Over HTTP is the same client with transport='http' and store=False: the whole history in each"
        " request, on connections that are kept open. trunkline dialled before the call; an HTTP client dials"
        " with its first request, and again after an interruption, which closes its connection. A handshake"
        f" is {HANDSHAKE_ROUND_TRIPS} round trips, TCP and TLS.",
    )
    out.out("")
    _say(out, "", _summary(ours.rows))


def _turns(ours: CallFigures, http: CallFigures) -> Table:
    table = _table()
    table.add_column("turn", "total")
    table.add_column("mode")
    for name in ("items", "bytes", "in full"):
        table.add_column(name, justify="right")
    for name in ("lane", "first token", "over HTTP"):
        table.add_column(name, justify="right")
    table.add_column("ended")
    totals = [sum(column) for column in zip(*(_sizes(row.metrics) for row in ours.rows), strict=True)]
    for column, total in zip(table.columns[2:5], totals, strict=True):
        column.footer = f"{total:,}"
    for number, (row, other) in enumerate(zip(ours.rows, http.rows, strict=True)):
        is_first = number == 0 or ours.rows[number - 1].scene != row.scene
        metrics = row.metrics
        table.add_row(
            str(row.scene) if is_first else "",
            metrics.mode,
            *(f"{size:,}" for size in _sizes(metrics)),
            (metrics.lane or "-").removeprefix("lane-"),
            _milliseconds(_first_s(metrics)),
            _milliseconds(_first_s(other.metrics)),
            "interrupted" if metrics.outcome == "left" else metrics.outcome or "",
        )
    return table


def _comparison(ours: CallFigures, http: CallFigures, round_trip_s: float) -> Table:
    table = _table(shows_footer=False)
    table.add_column(f"the same call, {_milliseconds(round_trip_s)} of round trip", min_width=46)
    table.add_column("trunkline", justify="right")
    table.add_column("over HTTP", justify="right")
    calls = (ours, http)
    table.add_row("first token, first turn", *(_milliseconds(call.first_tokens_s()[0]) for call in calls))
    table.add_row("first token, median", *(_milliseconds(median(call.first_tokens_s())) for call in calls))
    table.add_row(
        "interruption until the server has the request",
        *(_milliseconds(call.after_interruption_s) for call in calls),
    )
    table.add_row("waiting for first tokens, sum", *(f"{sum(call.first_tokens_s()):.2f} s" for call in calls))
    table.add_row("handshakes", *(str(call.handshakes) for call in calls))
    table.add_row("bytes sent, with headers", *(f"{call.bytes_sent:,}" for call in calls))
    return table


def _table(*, shows_footer: bool = True) -> Table:
    return Table(
        box=None, show_footer=shows_footer, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold"
    )


def _say(out: Console, title: str, text: str) -> None:
    line = WordWrap(out, len(title))
    out.out(title, style="bold", end="", highlight=False)
    line.write(text)
    line.end()


def _summary(rows: Sequence[Row]) -> str:
    sent = sum(row.metrics.bytes_sent for row in rows)
    in_full = sum(row.metrics.full_bytes for row in rows)
    sockets = len({row.metrics.connection for row in rows})
    lanes = len({row.metrics.lane for row in rows})
    return (
        f"{len(rows)} responses over {_count(sockets, 'socket')} and {_count(lanes, 'lane')}:"
        f" {sent:,} bytes sent instead of {in_full:,}, {1 - sent / in_full:.0%} less."
    )


def _sizes(metrics: TurnMetrics) -> tuple[int, int, int]:
    return metrics.items_sent, metrics.bytes_sent, metrics.full_bytes


def _first_s(metrics: TurnMetrics) -> float | None:
    """Time to the first text, or to the first call of a response without text."""
    return metrics.ttft_s if metrics.ttft_s is not None else metrics.first_output_s


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
