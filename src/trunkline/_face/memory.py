"""The memory of the callers with one URL and one set of headers. It outlives their sockets."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from .._decisions.given_ids import GivenIds
from .._decisions.inputs import Body, Inputs
from .._decisions.lineage import Lineage, LineageLimits
from .wanted import Wanted

_MAX_ENVELOPES: Final = 64


class Memory:
    """Earlier requests and responses.

    Args:
        limits: the bounds of the lineage.
        has_random_call_ids: as for `Lineage`.

    Attributes:
        lineage: which response a request continues.
        given: the ids of responses that callers got.
        limits: the bounds of the lineage.
        has_received: a socket has brought an event.
        used_at: the time of the last use, in seconds.
    """

    def __init__(self, limits: LineageLimits | None = None, *, has_random_call_ids: bool = False) -> None:
        self.limits: Final = limits or LineageLimits()
        self.used_at: float = 0.0
        self.lineage: Lineage = Lineage(self.limits, has_random_call_ids=has_random_call_ids)
        self.given: GivenIds = GivenIds(self.limits.max_responses)
        self.has_received: bool = False
        self._inputs = Inputs()
        self._latest: tuple[bytes, Wanted, Body] | None = None
        self._wanted: OrderedDict[bytes, Wanted] = OrderedDict()

    @property
    def size_bytes(self) -> int:
        """The bytes of the items of all recorded responses."""
        return self.lineage.size_bytes

    def outline(self, content: bytes) -> bytes:
        """The body of a request without the items that it has from an earlier one. May be no JSON."""
        return self._inputs.outline(content)

    def peek(self, content: bytes) -> tuple[Wanted, Body]:
        """The same as `read`, which costs nothing when it follows for the same bytes.

        Raises:
            ValueError: as for `read`.
            RecursionError: as for `read`.
        """
        wanted, body = self.read(content)
        self._latest = content, wanted, body
        return wanted, body

    def read(self, content: bytes) -> tuple[Wanted, Body]:
        """Read the body of a request. Fields that are equal to earlier ones are not decoded again.

        Raises:
            ValueError: the request cannot be sent in a frame, or the service would refuse it.
            RecursionError: it is nested too deeply.
        """
        latest, self._latest = self._latest, None
        if latest is not None and latest[0] is content:
            return latest[1:]
        body = self._inputs.read(content)
        wanted = self._wanted.get(body.envelope)
        if wanted is None:
            wanted = self._wanted[body.envelope] = Wanted.of(body)
            if len(self._wanted) > _MAX_ENVELOPES:
                self._wanted.popitem(last=False)
        else:
            self._wanted.move_to_end(body.envelope)
        return wanted, body


__all__ = ["Memory"]
