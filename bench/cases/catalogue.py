"""All cases, with the clients each one is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cases import deltas, gateway, imports, memory, turns, waits
from cases.bench import Bench, Figures

_ALL = (
    "floor",
    "trunkline",
    "trunkline-keyed",
    "livekit",
    "openai-lane",
    "openai-agents",
    "pydantic-ai",
    "pipecat",
)
_READING = ("floor-task", "trunkline-push")  # with different ways of reading, for the cases about reading
_HTTP = ("openai-http", "openai-http-chained", "openai-dropin", "openai-dropin-chained")


def _without(*names: str) -> tuple[str, ...]:
    return tuple(name for name in _ALL if name not in names)


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        measure: the coroutine that returns the figures.
        clients: the names of the clients that it measures.
        main: the figure that is compared, and its unit.
        limit_s: the time limit of one run, in seconds.
    """

    measure: Callable[[Bench], Awaitable[Figures]]
    clients: tuple[str, ...]
    main: str
    limit_s: float = 60.0

    @property
    def title(self) -> str:
        """The first line of its description."""
        return (self.measure.__doc__ or "").strip().splitlines()[0]


CASES = {
    "delta-one": Case(
        deltas.one_stream, (*_READING, *_ALL, "openai-http", "openai-dropin", "trunkline-http"), "cpu_us"
    ),
    "delta-64": Case(deltas.many_lanes, (*_READING, *_ALL), "cpu_us"),
    "paced": Case(deltas.paced, (*_READING, *_without("trunkline-keyed")), "cpu_us"),
    "turn-grows": Case(
        turns.grows, (*_ALL, "openai-lane-full", "openai-http", "openai-dropin"), "cpu_ms_2000"
    ),
    "turn-fresh": Case(
        turns.fresh,
        ("trunkline-keyed", "livekit", "openai-lane-full", "openai-http", "openai-dropin", "pydantic-ai"),
        "cpu_ms_2000",
    ),
    "bytes": Case(
        turns.bytes_on_wire, (*_ALL, "openai-lane-full", *_HTTP, "trunkline-http"), "bytes_per_turn"
    ),
    "handshakes": Case(turns.handshakes, _without("floor"), "per_1000"),
    "memory-resident": Case(memory.resident, _without("pipecat"), "idle_kb"),
    "memory-traced": Case(memory.traced, ("floor", "trunkline", "trunkline-keyed", "openai-lane"), "idle_kb"),
    "tool-loop": Case(waits.tool_loop, (*_ALL, *_HTTP, "trunkline-http"), "wall_ms_50"),
    "first-turn": Case(waits.first_turn, (*_ALL, "openai-http"), "cold_ms"),
    "barge-in": Case(waits.after_barge_in, _without("floor"), "request_ms"),
    "lost-socket": Case(waits.after_lost_socket, _without("floor"), "first_piece_ms"),
    "gateway": Case(gateway.gateway, tuple(gateway.STREAMS), "cpu_us_100", limit_s=240.0),
    "imports": Case(imports.imports, tuple(imports.STATEMENTS), "cpu_ms"),
}
