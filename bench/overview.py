"""The tables on the first page: one row for each question, with its command."""

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
    "openai-lane": "openai SDK (lanes)",
    "openai-http": "openai SDK (HTTP)",
    "livekit": "LiveKit's openai plugin",
    "openai-agents": "openai-agents",
    "pydantic-ai": "pydantic-ai",
    "pipecat": "pipecat",
}
OURS = ("trunkline", "openai-dropin")
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
    Row("share of the deltas of 100 streams that arrived", "gateway", "arrived_share_100"),
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
        table = "\n".join([*_table(summary), *_fault_row(faults), "", *_proxies(summary)])
        page.write_text(f"{head}{BEGIN}{_origin(made)}\n\n{table}\n{END}{foot}")


def _origin(made: Mapping[str, Any]) -> str:
    others = ", ".join(name for client, name in CLIENTS.items() if client not in OURS)
    return (
        f"Medians of `make bench` on {made['date']}, commit {made['commit']}, Python {made['python']}, "
        f"{made['processor']}, {made['cores']} cores. [Results](results.md) names the rows of other commits. "
        "The last cell of a row has its command. The lowest figure of a row is bold; a dash is a figure that "
        f"was not measured. The others are {others}."
    )


def _table(summary: Summary) -> list[str]:
    lines = [
        "| | trunkline | the drop-in | the best other | the last | `make bench BENCH=…` |",
        "| --- | ---: | ---: | --- | --- | --- |",
    ]
    for row in ROWS:
        values = _values(row, CLIENTS, summary)
        others = sorted((value, CLIENTS[client]) for client, value in values.items() if client not in OURS)
        lowest = min(values.values(), default=None)
        cells = [_cell(values.get(client), is_best=values.get(client) == lowest) for client in OURS]
        for value, name in (others[:1] or [(None, "")]) + (others[1:][-1:] or [(None, "")]):
            cells.append(f"{_cell(value, is_best=value == lowest)} {name}".strip())
        lines.append(f"| {row.title} | " + " | ".join(cells) + f" | `--case {row.case}` |")
    return lines


def _values(row: Row, clients: Mapping[str, str], summary: Summary) -> dict[str, float]:
    """The figures of a row, of the clients that have one."""
    of_case = summary.get(row.case, {})
    found = {client: row.value(of_case[client]) for client in clients if client in of_case}
    return {client: value for client, value in found.items() if value is not None}


def _fault_row(faults: Faults) -> list[str]:
    figures = faults["figures"].get(DROP, {})
    if not figures:
        return []

    def cell(client: str) -> str:
        return f"{figures[client]['seconds']:.1f} {figures[client]['outcome']}"

    ours = [cell(client) if client in figures else "-" for client in OURS]
    others = [client for client in CLIENTS if client in figures and client not in OURS]
    others.sort(key=lambda client: (figures[client]["outcome"] != "answer", figures[client]["seconds"]))
    cells = ours + [f"{cell(client)}, {CLIENTS[client]}" for client in (others[0], others[-1])]
    title = "a NAT drop, then a turn: seconds, and what ends the wait"
    return [f"| {title} | " + " | ".join(cells) + " | `make bench-faults` |"]


def _proxies(summary: Summary) -> list[str]:
    if "gateway" not in summary:
        return []
    names = " | ".join(PROXIES.values())
    lines = [f"| | {names} | `make bench BENCH=…` |", "| --- | ---: | ---: | --- |"]
    for row in PROXY_ROWS:
        values = _values(row, PROXIES, summary)
        cells = [_cell(values.get(proxy), is_best=False) for proxy in PROXIES]
        lines.append(f"| {row.title} | " + " | ".join(cells) + f" | `--case {row.case}` |")
    return lines


def _cell(value: float | None, *, is_best: bool) -> str:
    if value is None:
        return "-"
    return f"**{shown(value)}**" if is_best else shown(value)


def shown(value: float) -> str:
    """A figure with three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
