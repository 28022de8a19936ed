"""Sends the moves of one response to a sink, paced by the model and by the client's reading."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator

from .._protocol.events import Event
from .._service.moves import HangUp, Move, Pause, Raw, Wait
from ..gate import Gate
from ..pace import Pace
from .outbox import Sink

_BATCH = 64
_GRID_S = 0.001


class Player:
    """Runs on timers instead of a task, so that a slow response costs one callback a token."""

    def __init__(
        self,
        moves: Iterator[Move],
        sink: Sink,
        pace: Pace,
        loop: asyncio.AbstractEventLoop,
        ended: Callable[[], None],
    ) -> None:
        self._moves = moves
        self._sink = sink
        self._pace = pace
        self._loop = loop
        self._ended = ended
        self._started_at = loop.time()
        self._tokens = 0
        self._handle: asyncio.Handle | None = None
        self._gate: Gate | None = None
        self._stopped = False

    def start(self) -> None:
        """Start playing, in this call."""
        self._step()

    def stop(self) -> None:
        """Stop playing; `ended` is not called."""
        self._stopped = True
        if self._handle is not None:
            self._handle.cancel()
        if self._gate is not None:
            self._gate.leave(self._step)

    def _step(self) -> None:
        if self._stopped:
            return
        for _ in range(_BATCH):
            move = next(self._moves, None)
            if type(move) is Event:
                self._sink.write(move)
            elif move is None:
                self._stopped = True
                self._ended()
                return
            elif self._pauses(move) or self._stopped:
                return
        self._yield()

    def _pauses(self, move: Move) -> bool:
        """Perform a move that is not an event. Return whether playing continues later, by callback."""
        if isinstance(move, Pause):
            return self._paces(move)
        if isinstance(move, Wait):
            if move.gate is not None:
                self._gate = move.gate
                return move.gate.wait(self._step, self._loop)
            if move.seconds is not None:
                self._handle = self._loop.call_later(move.seconds, self._step)
            return True
        if isinstance(move, HangUp):
            self._sink.hang_up(move)
        elif isinstance(move, Raw):
            self._sink.write_raw(move)
        return False

    def _yield(self) -> None:
        """Return to the event loop; resume in the next iteration, or when a slow client has read."""
        if self._sink.congested:
            self._sink.when_drained(self._step)
        else:
            self._handle = self._loop.call_soon(self._step)

    def _paces(self, pause: Pause) -> bool:
        due_s = self._pace.due_s(self._tokens)
        if pause is Pause.TOKEN:
            self._tokens += 1
        if due_s == 0.0:
            return False
        # Due times lie on a grid, so that tokens of many responses share a system call.
        due = math.ceil((self._started_at + due_s) / _GRID_S) * _GRID_S
        if due <= self._loop.time():
            return False
        self._handle = self._loop.call_at(due, self._step)
        return True
