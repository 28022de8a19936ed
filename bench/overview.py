"""The table on the first page: one row for each question, one column for each client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import json

FAULTS = "faults.json"
BEGIN, END = "<!-- overview -->\n", "<!-- end -->\n"
CLIENTS = {
    "trunkline": "trunkline",
    "openai-dropin": "openai SDK with the drop-in",
    "openai-lane": "openai SDK, lanes",
    "openai-http": "openai SDK, HTTP",
    "livekit": "LiveKit's openai plugin",
    "openai-agents": "openai-agents",
    "pydantic-ai": "pydantic-ai",
    "pipecat": "pipecat",
}
PROXIES = {"trunkline-gateway": "trunkline's gateway", "litellm-proxy": "LiteLLM's proxy"}
DROP = "silent-before"
"""The fault of the overview: a NAT forgets the flow of an idle connection."""

Figures = Mapping[str, Mapping[str, float]]
Summary = Mapping[str, Mapping[str, Figures]]
Faults = Mapping[str, Any]


def _per_100_conversations(figures: Figures) -> float | None:
    if "sockets" not in figures or "conversations" not in figures:
        return None
    return figures["sockets"]["median"] / figures["conversations"]["median"] * 100


@dataclass(frozen=True)
class Row:
    """One question.

    Attributes:
        title: the question, with the unit.
        case: the case that answers it.
        figure: the name of the figure, or a function of all figures of a client.
    """

    title: str
    case: str
    figure: str | Callable[[Figures], float | None]

    def value(self, figures: Figures) -> float | None:
        """The median of one client."""
        if callable(self.figure):
            return self.figure(figures)
        return figures[self.figure]["median"] if self.figure in figures else None


ROWS = (
    Row("the next request after a barge-in: ms until the server has it", "barge-in", "request_ms"),
    Row(
        "the first text after a lost socket, 50 ms of round trip: ms",
        "lost-socket",
        "first_piece_ms",
    ),
    Row("connections opened per 1,000 turns, every tenth left early", "handshakes", "per_1000"),
    Row("connections per 100 conversations that are being answered", "paced", _per_100_conversations),
    Row("bytes sent per turn with a tool call, over 50 turns", "bytes", "bytes_per_turn"),
    Row("CPU per text delta at 50 a second: µs", "paced", "cpu_us"),
    Row("the same without Python's collector", "paced", "cpu_us_no_gc"),
    Row("delay of a text delta, 99th percentile: ms", "paced", "p99_ms"),
    Row("the same without Python's collector", "paced", "p99_ms_no_gc"),
    Row("CPU per text delta, one saturated stream: µs", "delta-one", "cpu_us"),
    Row("CPU per turn after 2,000 messages: ms", "turn-grows", "cpu_ms_2000"),
    Row("20 tool calls and an answer at 50 ms of round trip: ms", "tool-loop", "wall_ms_50"),
    Row(
        "the first text of the first answer, no connection, 50 ms of round trip: ms", "first-turn", "cold_ms"
    ),
    Row("memory per idle conversation: KB", "memory-resident", "idle_kb"),
    Row("import: ms of CPU", "imports", "cpu_ms"),
)
PROXY_ROWS = (
    Row("CPU per text delta, 100 streams at 50 a second: µs", "gateway", "cpu_us_100"),
    Row("CPU per text delta, 16 saturated streams: µs", "gateway", "cpu_us_saturated"),
    Row("delay of a text delta on 100 streams, 99th percentile: ms", "gateway", "p99_ms_100"),
    Row("share of the deltas of 100 streams that arrived in time", "gateway", "arrived_share_100"),
    Row("CPU per turn after 6 items: ms", "gateway", "cpu_ms_turn_6"),
    Row("CPU per turn after 1,000 items: ms", "gateway", "cpu_ms_turn_1000"),
)


def stored_faults(place: Path) -> Faults:
    """The figures of `faults.py`; nothing if there are none."""
    path = place / FAULTS
    found: Faults = json.decode(path.read_bytes()) if path.exists() else {"figures": {}}
    return found


def write(page: Path, made: Mapping[str, Any], summary: Summary, faults: Faults) -> None:
    """Replace the table of a page that has the two marks."""
    text = page.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, foot = rest.partition(END)
    if begin and end:
        table = "\n".join([*_table(ROWS, CLIENTS, summary), *_fault_row(faults), "", *_proxies(summary)])
        page.write_text(f"{head}{BEGIN}{_origin(made)}\n\n{table}\n{END}{foot}")


def _origin(made: Mapping[str, Any]) -> str:
    return (
        f"Medians of `make bench` on {made['date']}, commit {made['commit']}, Python {made['python']}, "
        f"{made['processor']}, {made['cores']} cores. [Results](results.md) names the rows of other commits. "
        "The last cell of a row has its command. The lowest figure of a row is bold; a dash is a case that "
        "the client was not measured in."
    )


def _table(rows: tuple[Row, ...], clients: Mapping[str, str], summary: Summary) -> list[str]:
    lines = [
        "| | " + " | ".join(clients.values()) + " | `make bench BENCH=…` |",
        "| --- |" + " ---: |" * len(clients) + " --- |",
    ]
    for row in rows:
        of_case = summary.get(row.case, {})
        values = [row.value(of_case[client]) if client in of_case else None for client in clients]
        lowest = min((value for value in values if value is not None), default=None)
        cells = [_cell(value, is_best=value == lowest and "share" not in row.title) for value in values]
        lines.append(f"| {row.title} | " + " | ".join(cells) + f" | `--case {row.case}` |")
    return lines


def _fault_row(faults: Faults) -> list[str]:
    figures = faults["figures"].get(DROP, {})
    if not figures:
        return []
    cells = [
        f"{figures[client]['seconds']:.1f} {figures[client]['outcome']}" if client in figures else "-"
        for client in CLIENTS
    ]
    return [
        "| a NAT drop, then a turn: seconds, and what ends the wait | "
        + " | ".join(cells)
        + " | `make bench-faults` |"
    ]


def _proxies(summary: Summary) -> list[str]:
    return _table(PROXY_ROWS, PROXIES, summary) if "gateway" in summary else []


def _cell(value: float | None, *, is_best: bool) -> str:
    if value is None:
        return "-"
    return f"**{shown(value)}**" if is_best else shown(value)


def shown(value: float) -> str:
    """A figure with three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
