"""Requests that may make a server end their socket.

Some servers end a socket without a word because of one malformed field, and each request on the socket is
lost with it. The shape of a request is the names of its fields and their JSON types: a decimal
``temperature`` gives another shape than a whole one. A shape is suspect if the peer ended two sockets with
requests of it and others, before these had an event of their own. A request of a suspect shape is sent alone:

- If it is answered, its shape is cleared: it was a neighbour of the request that ended the sockets.
- If it is lost again, its shape is isolated: requests of it are sent alone for `ISOLATED_S` seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from .._protocol.failure import Failure, FailureKind
from .._protocol.fields import Fields

SUSPECT_LOSSES: Final = 2
"""The number of sockets lost with a shape from which it is suspect."""
ISOLATED_S: Final = 600.0
"""The time for which a loss counts, and for which an isolated shape is sent alone, in seconds."""
MAX_SHAPES: Final = 64
_MAX_DEPTH: Final = 8


def shape_of(value: object, depth: int = _MAX_DEPTH) -> str:
    """The names and JSON types of a value, without its content."""
    if isinstance(value, Mapping):
        if not depth:
            return "{}"
        names = sorted((str(name), shape_of(each, depth - 1)) for name, each in value.items())
        return "{" + ",".join(f"{name}:{kind}" for name, kind in names) + "}"
    if isinstance(value, list | tuple):
        kinds = {shape_of(each, depth - 1) for each in value} if depth else set[str]()
        return "[" + "|".join(sorted(kinds)) + "]"
    return type(value).__name__


class Suspects:
    """The shapes that lost sockets, of one endpoint.

    Attributes:
        is_clear: no shape has lost a socket. An attribute, because each turn reads it.
    """

    __slots__ = ("_losses", "is_clear")

    def __init__(self) -> None:
        self.is_clear: bool = True
        # Shape to number of losses, the last connection, and the time of the last loss. Oldest first.
        self._losses: dict[str, tuple[float, int, float]] = {}

    def lost(self, shape: str, connection: int, now: float) -> None:
        """Record that the peer ended a socket before a request of this shape had an event.

        Args:
            shape: the shape of the request.
            connection: the number of the connection; several requests of one shape may be on it.
            now: the time.
        """
        count, last, at = self._losses.pop(shape, (0, 0, now))
        if now - at >= ISOLATED_S:
            count = 0
        self.is_clear = False
        self._losses[shape] = (count + (connection != last), connection, now)
        if len(self._losses) > MAX_SHAPES:
            del self._losses[next(iter(self._losses))]

    def lost_alone(self, shape: str, now: float) -> None:
        """Record that a request of this shape was lost although it was sent alone."""
        self.is_clear = False
        self._losses[shape] = (math.inf, 0, now)

    def answered(self, shape: str) -> None:
        """Record that a request of this shape had an event of its own. An isolated shape stays so."""
        if self._losses.get(shape, (0, 0, 0.0))[0] < math.inf:
            self._losses.pop(shape, None)
            self.is_clear = not self._losses

    def to_isolate(self, fields: Fields, now: float) -> str | None:
        """The shape of a request with these fields if it must be sent alone."""
        shape = shape_of(fields.values())
        return shape if self.is_suspect(shape, now) else None

    def failed(
        self, fields: Fields, failure: Failure, connection: int | None, now: float, *, was_alone: bool
    ) -> bool:
        """Record the failure of an attempt. Returns whether the next attempt must be sent alone.

        Args:
            fields: the fields of the request.
            failure: the failure.
            connection: the number of the connection that got the request; ``None`` for none.
            now: the time.
            was_alone: the attempt was sent alone.
        """
        if failure.kind is not FailureKind.LOST or not (failure.neighbours or was_alone):
            return False
        shape = shape_of(fields.values())
        if failure.started:
            self.answered(shape)
        elif failure.sent and was_alone:
            self.lost_alone(shape, now)
        elif failure.sent and connection is not None:
            self.lost(shape, connection, now)
        return self.is_suspect(shape, now)

    def is_suspect(self, shape: str, now: float) -> bool:
        """Whether a request of this shape must be sent alone."""
        count, _, at = self._losses.get(shape, (0, 0, now))
        return count >= SUSPECT_LOSSES and now - at < ISOLATED_S

    def is_isolated(self, shape: str, now: float) -> bool:
        """Whether a request of this shape was lost although it was sent alone."""
        return self.is_suspect(shape, now) and self._losses[shape][0] == math.inf

    def __repr__(self) -> str:
        return f"<Suspects: {len(self._losses)} shapes>"


__all__ = ["ISOLATED_S", "MAX_SHAPES", "SUSPECT_LOSSES", "Suspects", "shape_of"]
