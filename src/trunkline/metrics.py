"""Figures: of one turn, and of a client's pool."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .arguments import check_function
from .recovery import Cause
from .response import Response


@dataclass(slots=True, eq=False, weakref_slot=True)
class TurnMetrics:
    """What one turn cost. Times are seconds from the start of the turn; ``None`` until it happened.

    There is one for each turn, equal to itself alone: hooks may keep what they need under it in a
    ``WeakKeyDictionary``.

    Attributes:
        model: the model that was asked.
        outcome: ``answered``, ``left`` (before the end) or ``failed``; ``None`` while it runs.
        error: the name of the exception that it failed with.
        error_code: the code that the service gave with it, such as ``rate_limit_exceeded``.
        server_address: the host of the endpoint.
        server_port: its port.
        conversation_id: the service's own ``conversation``, where the request named one.
        warm_up: the turn only prepares the next one (``generate: false``).
        response_id: the response's id, once it has begun; of several, the last one's.
        response_model: the model that answered, as the service names it.
        mode: ``delta`` when only new items were sent on top of a parent, ``full`` otherwise.
        transport: how the response came.
        lane: the ``stream_id`` of the last attempt; ``None`` on the default lane and over HTTP.
        connection: the number of the connection within its client, from 1.
        fork: the parent was continued from another lane than its own.
        items_sent: the input items of the last attempt.
        bytes_sent: the size of all frames sent.
        bytes_received: the size of all frames received.
        full_bytes: the size of a frame with the whole context, for comparison.
        attempts: how often the turn was asked.
        recoveries: why it was asked again, once for each further attempt.
        connected_s: when a connection was ready; ``None`` over HTTP, which connects inside of its request.
        first_event_s: when the first event came.
        first_output_s: when the first output item or delta came.
        ttft_s: time to first token: when the first text came.
        total_s: when the turn ended.
        usage: tokens as the service counts them, as plain JSON.
    """

    model: str = ""
    outcome: Literal["answered", "left", "failed"] | None = None
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

    @property
    def input_tokens(self) -> int | None:
        """The tokens of the whole context, cached ones included; ``None`` when they were not counted."""
        return _count_in(self.usage, "input_tokens")

    @property
    def output_tokens(self) -> int | None:
        """The tokens of the answer, reasoning included."""
        return _count_in(self.usage, "output_tokens")

    @property
    def cached_tokens(self) -> int | None:
        """The input tokens that came from the service's cache."""
        return _count_in(self.usage, "input_tokens_details", "cached_tokens")

    @property
    def reasoning_tokens(self) -> int | None:
        """The output tokens that were reasoning."""
        return _count_in(self.usage, "output_tokens_details", "reasoning_tokens")

    def note_response(self, response: Response) -> None:
        """A response has begun, or is there."""
        self.response_id = response.id
        if response.model is not None:
            self.response_model = response.model


def _count_in(usage: Any, *path: str) -> int | None:
    for name in path:
        usage = usage.get(name) if isinstance(usage, dict) else None
    return usage if isinstance(usage, int) else None


TurnHook = Callable[[TurnMetrics], None]

_logger = logging.getLogger("trunkline")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions called for every turn of a client, also for those that `Conversation.run` makes.

    They are not async: nothing awaits them. What they raise is logged and goes no further.

    Attributes:
        turn_started: called when a turn begins.
        turn_finished: called when it has ended, in whatever way.
    """

    turn_started: TurnHook | None = None
    turn_finished: TurnHook | None = None

    def __post_init__(self) -> None:
        for name in ("turn_started", "turn_finished"):
            remedy = "give a function that takes TurnMetrics and returns at once"
            check_function(getattr(self, name), f"Hooks.{name}", remedy, may_be_async=False)

    def started(self, metrics: TurnMetrics) -> None:
        """A turn begins."""
        _call(self.turn_started, metrics)

    def finished(self, metrics: TurnMetrics) -> None:
        """A turn has ended."""
        _call(self.turn_finished, metrics)

    def and_also(self, other: Hooks) -> Hooks:
        """Both: these first, then the others. What one raises does not keep the other from its call."""
        return Hooks(
            turn_started=_both(self.turn_started, other.turn_started),
            turn_finished=_both(self.turn_finished, other.turn_finished),
        )


def _both(first: TurnHook | None, second: TurnHook | None) -> TurnHook | None:
    if first is None or second is None:
        return first or second

    def call(metrics: TurnMetrics) -> None:
        _call(first, metrics)
        _call(second, metrics)

    return call


def _call(hook: TurnHook | None, metrics: TurnMetrics) -> None:
    if hook is None:
        return
    try:
        hook(metrics)
    except Exception:
        _logger.exception("a hook of the client's raised")


@dataclass(slots=True)
class PoolMetrics:
    """What a client's connections have done so far.

    Attributes:
        dials: connections dialled, the failed ones included.
        failed_dials: connections that could not be made.
        rotations: connections replaced because of their age.
        fallbacks: turns that went over HTTP because WebSocket could not be had.
        turns: turns begun.
        deltas: requests sent as a delta.
        fulls: requests sent in full.
        forks: requests that continued another lane's response.
        recoveries: further attempts, by cause.
        abandoned: turns that were left before their end.
        abandoned_usage: the tokens of answers that nobody heard to the end, by the names of ``usage``.
        strays: events that belonged to nobody.
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

    def count_abandoned_usage(self, usage: dict[str, Any] | None) -> None:
        """Add the tokens of an answer that drained unseen."""
        for name in ("input_tokens", "output_tokens", "total_tokens"):
            value = (usage or {}).get(name)
            if isinstance(value, int):
                self.abandoned_usage[name] += value


@dataclass(frozen=True, slots=True)
class PoolState:
    """What a client's connections do at this moment.

    Attributes:
        sockets: connections that are open.
        dialling: connections that are being made.
        retired: open connections that take no new turns and end after their last one.
        lanes: lanes that were opened on open connections and can be used again.
        in_flight: requests that are being answered on them, abandoned ones included.
        draining: abandoned answers among these.
        http: requests that are being answered over HTTP.
    """

    sockets: int
    dialling: int
    retired: int
    lanes: int
    in_flight: int
    draining: int
    http: int
