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
_SDK = ("openai-http", "openai-dropin")
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
        without_gc: the figures that are measured again, in a run of its own, without Python's collector.
        takes_any: clients that are not listed can be measured too.
    """

    measure: Callable[[Bench], Awaitable[Figures]]
    clients: tuple[str, ...]
    main: str
    limit_s: float = 60.0
    without_gc: tuple[str, ...] = ()
    takes_any: bool = True

    @property
    def title(self) -> str:
        """The first line of its description."""
        return (self.measure.__doc__ or "").strip().splitlines()[0]


_COST = ("cpu_us", "wall_us")
CASES = {
    "barge-in": Case(waits.after_barge_in, (*_without("floor"), *_SDK), "request_ms"),
    "lost-socket": Case(waits.after_lost_socket, (*_without("floor"), *_SDK), "first_piece_ms"),
    "handshakes": Case(turns.handshakes, (*_without("floor"), *_SDK), "per_1000"),
    "bytes": Case(
        turns.bytes_on_wire, (*_ALL, "openai-lane-full", *_HTTP, "trunkline-http"), "bytes_per_turn"
    ),
    "paced": Case(
        deltas.paced,
        (*_READING, *_without("trunkline-keyed"), "openai-http", "openai-dropin"),
        "cpu_us",
        without_gc=("cpu_us", "cores", "arrived_share", "p50_ms", "p99_ms"),
    ),
    "gateway": Case(gateway.gateway, tuple(gateway.STREAMS), "cpu_us_100", limit_s=240.0, takes_any=False),
    "delta-one": Case(
        deltas.one_stream,
        (*_READING, *_ALL, "openai-http", "openai-dropin", "trunkline-http"),
        "cpu_us",
        without_gc=_COST,
    ),
    "first-turn": Case(waits.first_turn, (*_ALL, *_SDK), "cold_ms"),
    "tool-loop": Case(waits.tool_loop, (*_ALL, *_HTTP, "trunkline-http"), "wall_ms_50"),
    "turn-grows": Case(
        turns.grows, (*_ALL, "openai-lane-full", "openai-http", "openai-dropin"), "cpu_ms_2000"
    ),
    "memory-resident": Case(memory.resident, (*_without("pipecat"), "openai-dropin"), "idle_kb"),
    "imports": Case(imports.imports, tuple(imports.STATEMENTS), "cpu_ms", takes_any=False),
    "delta-64": Case(deltas.many_lanes, (*_READING, *_ALL, "openai-dropin"), "cpu_us", without_gc=_COST),
    "turn-fresh": Case(
        turns.fresh,
        ("trunkline-keyed", "livekit", "openai-lane-full", "openai-http", "openai-dropin", "pydantic-ai"),
        "cpu_ms_2000",
    ),
    "bytes-instructions": Case(
        turns.bytes_with_instructions,
        ("trunkline", "trunkline-message", "trunkline-keyed", "trunkline-http"),
        "bytes_per_turn",
    ),
    "memory-traced": Case(memory.traced, ("floor", "trunkline", "trunkline-keyed", "openai-lane"), "idle_kb"),
}
"""In the order of the runs: a time limit leaves out the last ones."""
