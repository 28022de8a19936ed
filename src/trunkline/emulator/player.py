"""Plays the events of one response to a sink, at the model's pace and the client's."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator

from .events import ITEM_ADDED, Event
from .outbox import Sink
from .pace import Pace

_BATCH = 32
_GRID_S = 0.001


class Player:
    """Runs on timers instead of a task: thousands of slow responses cost a callback a token, nothing more."""

    def __init__(
        self,
        events: Iterator[Event],
        sink: Sink,
        pace: Pace,
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[], None],
    ) -> None:
        self._events = events
        self._sink = sink
        self._pace = pace
        self._loop = loop
        self._ended = ended
        self._started_at = loop.time()
        self._tokens = 0
        self._in_output = False
        self._held: Event | None = None
        self._handle: asyncio.Handle | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin to play, now."""
        self._step()

    def stop(self) -> None:
        """Play no more; `ended` is not called."""
        self._stopped = True
        if self._handle is not None:
            self._handle.cancel()

    def _step(self) -> None:
        if self._stopped:
            return
        for _ in range(_BATCH):
            event = self._held or next(self._events, None)
            if event is None:
                self._stopped = True
                self._ended()
                return
            due = self._due_at(event) if self._held is None else 0.0
            if due > self._loop.time():
                self._held = event
                self._handle = self._loop.call_at(due, self._step)
                return
            self._held = None
            self._sink.write(event.data)
        self._yield()

    def _yield(self) -> None:
        """Let other responses have their turn, and a slow client its time."""
        if self._sink.congested:
            self._sink.when_drained(self._step)
        else:
            self._handle = self._loop.call_soon(self._step)

    def _due_at(self, event: Event) -> float:
        if event.is_token:
            due_s = self._pace.due_s(self._tokens)
            self._tokens += 1
        elif event.type == ITEM_ADDED and not self._in_output:
            due_s = self._pace.first_token_s
        else:
            return 0.0
        self._in_output = True
        if due_s == 0.0:
            return 0.0
        # On a grid, so that tokens of many responses leave together.
        return math.ceil((self._started_at + due_s) / _GRID_S) * _GRID_S
