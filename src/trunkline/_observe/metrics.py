"""Figures of one turn and of a client. They are records of what happened; the library never reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, TypeAlias

from .._decisions.recovery import Cause

TurnOutcome: TypeAlias = Literal["answered", "left", "failed"]


class TurnKey:
    """Identity of one turn, shared by all records of it.

    Attributes:
        number: the number of the turn within its client, from 1; 0 before the turn begins.
    """

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int) -> None:
        self.number: int = number

    def __repr__(self) -> str:
        return f"<TurnKey {self.number}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnMetrics:
    """Figures of one turn, at the moment at which they were read. Times are seconds from the start of the
    turn; ``None`` until it happened.

    Attributes:
        turn: the identity of the turn: the same object in all figures of it, to keep things under in a
            ``WeakKeyDictionary``.
        model: the requested model.
        outcome: ``answered``, ``left`` (before the end) or ``failed``; ``None`` while the turn runs.
        error: the class name of the exception that it failed with.
        error_code: the code that the service gave with it, such as ``rate_limit_exceeded``.
        server_address: the host of the endpoint.
        server_port: its port.
        conversation_id: the ``conversation`` of the service that the request named.
        warm_up: the turn only prepares the next one (``generate: false``).
        response_id: the id of the response, once it has begun; of several, the last one's.
        response_model: the model that answered, as the service names it.
        mode: ``delta`` if only new items were sent on top of a parent, else ``full``.
        transport: ``websocket`` or ``http``.
        lane: the ``stream_id`` of the last attempt; ``None`` on the default lane and over HTTP.
        connection: the number of the connection within its client, from 1.
        fork: the parent was continued from another lane than its own.
        items_sent: the number of input items in the last attempt.
        bytes_sent: the size of all frames sent.
        bytes_received: the size of all frames received.
        full_bytes: the size of a frame with the whole context, for comparison.
        attempts: the number of requests sent for the turn, or tried to.
        recoveries: the cause of each further attempt.
        connected_s: when a connection was ready; ``None`` over HTTP, which connects within its request.
        first_event_s: when the first event arrived.
        first_output_s: when the first output item or delta arrived.
        ttft_s: time to first token: when the first text arrived.
        total_s: when the turn ended.
        usage: the tokens, as the service counts them, as plain JSON.
        removed_reasoning: the number of reasoning items that the service removed from the context.
    """

    turn: TurnKey = field(default_factory=lambda: TurnKey(0), compare=False, repr=False)
    model: str = ""
    outcome: TurnOutcome | None = None
    error: str | None = None
    error_code: str | None = None
    server_address: str = ""
    server_port: int | None = None
    conversation_id: str | None = None
    warm_up: bool = False
    response_id: str | None = None
    response_model: str | None = None
    mode: Literal["delta", "full"] = "full"
    transport: Literal["websocket", "http"] = "websocket"
    lane: str | None = None
    connection: int | None = None
    fork: bool = False
    items_sent: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    full_bytes: int = 0
    attempts: int = 0
    recoveries: list[Cause] = field(default_factory=list)
    connected_s: float | None = None
    first_event_s: float | None = None
    first_output_s: float | None = None
    ttft_s: float | None = None
    total_s: float | None = None
    usage: dict[str, Any] | None = None
    removed_reasoning: int = 0

    @property
    def input_tokens(self) -> int | None:
        """The tokens of the whole context, cached ones included; ``None`` if they were not counted."""
        return _count_in(self.usage, "input_tokens")

    @property
    def output_tokens(self) -> int | None:
        """The tokens of the answer, reasoning included."""
        return _count_in(self.usage, "output_tokens")

    @property
    def cached_tokens(self) -> int | None:
        """The input tokens that came from the cache of the service."""
        return _count_in(self.usage, "input_tokens_details", "cached_tokens")

    @property
    def cache_write_tokens(self) -> int | None:
        """The input tokens that were written to the cache of the service, at a higher price."""
        return _count_in(self.usage, "input_tokens_details", "cache_write_tokens")

    @property
    def cached_share(self) -> float | None:
        """The part of the input tokens that came from the cache, from 0 to 1."""
        if not self.input_tokens or self.cached_tokens is None:
            return None
        return self.cached_tokens / self.input_tokens

    @property
    def reasoning_tokens(self) -> int | None:
        """The output tokens that were reasoning."""
        return _count_in(self.usage, "output_tokens_details", "reasoning_tokens")


_TOKENS: Final = (
    ("input_tokens",),
    ("output_tokens",),
    ("total_tokens",),
    ("input_tokens_details", "cached_tokens"),
    ("input_tokens_details", "cache_write_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
)
"""Where a usage has its numbers."""


def _count_in(usage: Any, *path: str) -> int | None:
    for name in path:
        usage = usage.get(name) if isinstance(usage, dict) else None
    return usage if isinstance(usage, int) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMetrics:
    """Counts of a client, at the moment at which they were read.

    Attributes:
        dials: connections dialled, the failed ones included.
        failed_dials: connections that could not be made.
        rotations: connections replaced because of their age.
        fallbacks: turns that went over HTTP because no WebSocket was available.
        turns: turns begun.
        deltas: requests sent as a delta.
        fulls: requests sent in full.
        forks: requests that continued the response of another lane.
        recoveries: further attempts, by cause.
        abandoned: turns that were left before their end.
        abandoned_usage: the tokens of abandoned answers, by the names of ``usage`` and of its details.
        strays: events that matched no request.
        removed_reasoning: reasoning items that the service removed from contexts, by its reason.
    """

    dials: int = 0
    failed_dials: int = 0
    rotations: int = 0
    fallbacks: int = 0
    turns: int = 0
    deltas: int = 0
    fulls: int = 0
    forks: int = 0
    recoveries: Counter[Cause] = field(default_factory=Counter)
    abandoned: int = 0
    abandoned_usage: Counter[str] = field(default_factory=Counter)
    strays: int = 0
    removed_reasoning: Counter[str] = field(default_factory=Counter)


PoolCount: TypeAlias = Literal[
    "dials",
    "failed_dials",
    "rotations",
    "fallbacks",
    "turns",
    "deltas",
    "fulls",
    "forks",
    "abandoned",
    "strays",
]


class PoolCounters:
    """Counters behind `PoolMetrics`. Written by the library, read only to make a copy for users."""

    __slots__ = ("_abandoned_usage", "_counts", "_recoveries", "_removals")

    def __init__(self) -> None:
        self._counts: Counter[PoolCount] = Counter()
        self._recoveries: Counter[Cause] = Counter()
        self._abandoned_usage: Counter[str] = Counter()
        self._removals: Counter[str] = Counter()

    def add(self, name: PoolCount) -> None:
        """Count one more."""
        self._counts[name] += 1

    def add_recovery(self, cause: Cause) -> None:
        """Count one further attempt."""
        self._recoveries[cause] += 1

    def add_abandoned_usage(self, usage: dict[str, Any] | None) -> None:
        """Add the tokens of an answer that drained."""
        for path in _TOKENS:
            value = _count_in(usage, *path)
            if value is not None:
                self._abandoned_usage[path[-1]] += value

    def add_removals(self, reasons: Counter[str]) -> None:
        """Count reasoning items that the service removed."""
        self._removals += reasons

    def snapshot(self) -> PoolMetrics:
        """The counts at this moment."""
        # Copied first: another thread may read while the event loop counts.
        counts: dict[str, int] = {str(name): count for name, count in dict(self._counts).items()}
        return PoolMetrics(
            **counts,
            recoveries=Counter(self._recoveries),
            abandoned_usage=Counter(self._abandoned_usage),
            removed_reasoning=Counter(self._removals),
        )


@dataclass(frozen=True, slots=True)
class PoolState:
    """The connections of a client at one moment.

    Attributes:
        sockets: open connections.
        dialling: connections that are being made.
        retired: open connections that take no new turns and close after their last one.
        lanes: lanes on open connections.
        in_flight: requests that are being answered on them, abandoned ones included.
        draining: abandoned answers among these.
        http: requests that are being answered over HTTP.
        replacing: old connections whose replacement is being dialled.
        probing: a WebSocket is being dialled to end the fallback to HTTP.
    """

    sockets: int
    dialling: int
    retired: int
    lanes: int
    in_flight: int
    draining: int
    http: int = 0
    replacing: int = 0
    probing: bool = False


def total_metrics(parts: Sequence[PoolMetrics]) -> PoolMetrics:
    """The sums of counts."""
    sums: dict[str, Any] = {
        each.name: sum((getattr(part, each.name) for part in parts), start=each.default_factory())
        if callable(each.default_factory)
        else sum(getattr(part, each.name) for part in parts)
        for each in fields(PoolMetrics)
    }
    return PoolMetrics(**sums)


def total_state(parts: Sequence[PoolState]) -> PoolState:
    """The sums of states."""
    sums: dict[str, Any] = {
        each.name: sum(getattr(part, each.name) for part in parts) for each in fields(PoolState)
    }
    return PoolState(**{**sums, "probing": bool(sums["probing"])})
