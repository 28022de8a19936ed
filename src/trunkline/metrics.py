"""Figures: of one turn, and of a client's pool."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .recovery import Cause


@dataclass(slots=True)
class TurnMetrics:
    """What one turn cost. Times are seconds from the start of the turn; ``None`` until it happened.

    Attributes:
        model: the model that was asked.
        outcome: ``answered``, ``left`` (before the end) or ``failed``; ``None`` while it runs.
        error: the name of the exception that it failed with.
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
        connected_s: when a connection was ready.
        first_event_s: when the first event came.
        first_output_s: when the first output item or delta came.
        ttft_s: time to first token: when the first text came.
        total_s: when the turn ended.
        usage: tokens as the service counts them, as plain JSON.
    """

    model: str = ""
    outcome: Literal["answered", "left", "failed"] | None = None
    error: str | None = None
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


TurnHook = Callable[[TurnMetrics], None]

_logger = logging.getLogger("trunkline")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions called for every turn of a client, also for those that `Conversation.run` makes.

    What they raise is logged and goes no further.

    Attributes:
        turn_started: called when a turn begins.
        turn_finished: called when it has ended, in whatever way.
    """

    turn_started: TurnHook | None = None
    turn_finished: TurnHook | None = None

    def started(self, metrics: TurnMetrics) -> None:
        """A turn begins."""
        _call(self.turn_started, metrics)

    def finished(self, metrics: TurnMetrics) -> None:
        """A turn has ended."""
        _call(self.turn_finished, metrics)


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
