"""The server at the other end of one open socket: PINGs, and whether it lives.

`Liveness` decides; `Peer` gives it the counters of the socket, and sends the PINGs. `Connection` alone
changes its own state, from the verdict.
"""

from __future__ import annotations

from collections.abc import Callable

from .._decisions.liveness import Liveness, Patience, Verdict
from .world import Socket


class Peer:
    """The server at the other end of one open socket.

    Args:
        socket: the socket.
        patience: the silence that is accepted.
        clock: the time.
    """

    def __init__(self, socket: Socket, patience: Patience, clock: Callable[[], float]) -> None:
        self._socket = socket
        self._patience = patience
        self._clock = clock
        self._liveness = Liveness(patience, clock())

    @property
    def answer_within_s(self) -> float:
        """The time limit of the answer to the last PING, in seconds."""
        return self._liveness.answer_within_s

    @property
    def departed_at(self) -> float:
        """When a part of the requests was last seen to leave this machine; 0 if the socket has ended."""
        return self._liveness.departed_at if self.observe() else 0.0

    def look(self, waiting_since: float | None, late_s: float) -> tuple[Verdict, float] | None:
        """Judge whether it lives, and send a PING that is due.

        Args:
            waiting_since: when the oldest request was sent that waits for events; ``None`` for none.
            late_s: the time in which this process did not run, in seconds.

        Returns:
            The verdict and the time until the next look, in seconds; ``None`` if the socket has ended.
        """
        if not self.observe():
            return None
        if late_s:
            self._liveness.pardon(late_s)
        seen = self._liveness.judge(self._clock(), waiting_since)
        if seen[0] is Verdict.PING:
            self._socket.ping()
        return seen

    def question(self) -> None:
        """Require a sign of life soon. A PING is sent unless the answer to one is awaited."""
        if self.observe() and self._liveness.question(self._clock()):
            self._socket.ping()

    def is_silent(self) -> bool:
        """Whether the last sign of life is so old that the answer to a PING would have come since."""
        return self.observe() and self._clock() - self._liveness.heard_at >= self._patience.dead_s

    def observe(self) -> bool:
        """Note what has moved on the socket. Returns whether the socket is open."""
        signs = self._socket.signs()
        if signs is not None:
            self._liveness.observe(signs, self._clock())
        return signs is not None


__all__ = ["Peer"]
