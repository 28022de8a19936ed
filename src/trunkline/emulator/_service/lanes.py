"""Lanes of one connection: first in, first out on each, with a limit on running responses in total."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .._protocol.errors import stream_limit_reached

Job = TypeVar("Job")

MAX_IN_FLIGHT = 16
MAX_NAMES = 32


@dataclass(slots=True)
class _Lane(Generic[Job]):
    waiting: deque[tuple[int, Job]] = field(default_factory=deque)
    busy: bool = False


class Lanes(Generic[Job]):
    """Queues jobs by lane and decides which may start. A lane is a name, or None for the default lane."""

    def __init__(self, *, max_in_flight: int = MAX_IN_FLIGHT, max_names: int = MAX_NAMES) -> None:
        self._max_in_flight = max_in_flight
        self._max_names = max_names
        self._lanes: dict[str | None, _Lane[Job]] = {None: _Lane()}
        self._ready: list[tuple[int, str]] = []
        self._ticket = 0
        self.in_flight: int = 0
        self.queued: int = 0

    @property
    def names(self) -> list[str]:
        """Distinct named lanes, in order of first use."""
        return [name for name in self._lanes if name is not None]

    @property
    def load(self) -> list[tuple[str | None, bool, int]]:
        """Of each lane, in order of first use: its name, whether a job runs, and how many jobs wait."""
        return [(name, lane.busy, len(lane.waiting)) for name, lane in self._lanes.items()]

    def admit(self, lane: str | None) -> None:
        """Register a lane's name.

        Raises:
            ApiError: the limit of distinct names is reached.
        """
        if lane in self._lanes:
            return
        if len(self._lanes) - 1 >= self._max_names:
            raise stream_limit_reached(self._max_names)
        self._lanes[lane] = _Lane()

    def push(self, lane: str | None, job: Job) -> None:
        """Queue a job on an admitted lane."""
        self._ticket += 1
        state = self._lanes[lane]
        state.waiting.append((self._ticket, job))
        self.queued += 1
        if not state.busy and len(state.waiting) == 1:
            heapq.heappush(self._ready, (self._ticket, lane or ""))

    def take(self) -> tuple[str | None, Job] | None:
        """Start the oldest job that may start and return it, or None."""
        if self.in_flight >= self._max_in_flight or not self._ready:
            return None
        _, name = heapq.heappop(self._ready)
        lane = name or None
        state = self._lanes[lane]
        _, job = state.waiting.popleft()
        state.busy = True
        self.queued -= 1
        self.in_flight += 1
        return lane, job

    def finish(self, lane: str | None) -> None:
        """Mark the running job of a lane as ended."""
        state = self._lanes[lane]
        state.busy = False
        self.in_flight -= 1
        if state.waiting:
            heapq.heappush(self._ready, (state.waiting[0][0], lane or ""))
