"""Pulse: one timer for all connections of a pool, which looks whether their peers live.

A turn and a frame cost nothing: a look compares counters of the socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .._decisions.liveness import Patience, Verdict
from .connection import Connection
from .world import Timer, World


class Pulse:
    """Looks at connections until none is left.

    Args:
        connections: gives the connections that are open or being dialled.
        patience: the silence that is accepted.
        world: the timers.
    """

    def __init__(
        self, connections: Callable[[], Iterable[Connection]], patience: Patience, world: World
    ) -> None:
        self._connections = connections
        self._patience = patience
        self._call_later = world.call_later
        self._clock = world.clock
        self._timer: Timer | None = None
        self._due_at = 0.0

    def begin(self) -> None:
        """Look at the connections from now on. May be called again."""
        if self._timer is None:
            self._look_after(self._patience.idle_look_s)

    def end(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_after(self, seconds: float) -> None:
        self._due_at = self._clock() + seconds
        self._timer = self._call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        late_s = max(0.0, self._clock() - self._due_at)
        connections = list(self._connections())
        if not connections:
            return
        next_s = self._patience.idle_look_s
        dead = []
        for connection in connections:
            seen = connection.look(late_s)
            if seen is None:
                continue
            if seen[0] is Verdict.DEAD:
                dead.append(connection)
            next_s = min(next_s, seen[1])
        self._look_after(next_s)
        if dead:
            # What has cut one connection off may have cut the others off as well. They are doubted before
            # the turns of the dead one look for another connection.
            for connection in connections:
                if connection not in dead:
                    connection.suspect()
            for connection in dead:
                connection.give_up()


__all__ = ["Pulse"]
