"""The part of the emulator that its server uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .._service.records import ConnectionRecord, RequestRecord
from .._service.service import Service
from ..faults.faults import Faults
from ..pace import Pace
from ..quirks.quirks import Quirks
from .frame_log import FrameLog
from .origins import Origins


class Backend(Protocol):
    """Service, settings and records behind one server; `Emulator` implements it.

    The server, its HTTP routes and its socket sessions see this interface and not the emulator, which
    imports them. The attributes may be replaced while the server runs.
    """

    service: Service
    faults: Faults
    pace: Pace
    log: FrameLog
    origins: Origins
    clock: Callable[[], float]
    api_key: str | None
    """The accepted bearer token; None accepts any."""
    handshakes: int
    """Number of upgrade requests so far."""

    @property
    def quirks(self) -> Quirks:
        """The deviations from the protocol."""
        ...

    def opened(self, record: ConnectionRecord) -> None:
        """Store the record of a new connection."""
        ...

    def count_request(self) -> int:
        """Return the number of the next request for a response, from 1."""
        ...

    def notify(self, request: RequestRecord) -> None:
        """Report an accepted or refused request to the observers."""
        ...
