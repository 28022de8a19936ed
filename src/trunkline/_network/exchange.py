"""Exchange: one request and the events that answer it, over a WebSocket or over HTTP.

`Transports.open` gives an exchange that has its place; `Exchange.send` writes the request. The events go to
the sink that was given when it was opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from .._decisions.baselines import Baseline, Plan
from .._decisions.placement import Candidate
from .._decisions.request import Request
from .._protocol.failure import Failure
from .._protocol.frames import frame, steer_frame
from .._protocol.items import TurnInput
from .._protocol.lane import Lane, Run, RunState
from .._protocol.quiet import QuietStruct
from .._protocol.response import Response
from .._protocol.steers import no_running_response
from .connection import Connection


class Sent(QuietStruct, frozen=True):
    """What was sent, and where.

    Attributes:
        transport: ``websocket`` or ``http``.
        parent: the baseline whose response was named; ``None`` for the full context.
        items: the number of input items.
        size_bytes: the size of the frame or body.
        lane: the ``stream_id``; ``None`` on the default lane and over HTTP.
        connection: the number of the connection, from 1; ``None`` over HTTP.
        is_fork: the parent is continued from another lane than its own.
    """

    transport: Literal["websocket", "http"]
    parent: Baseline | None
    items: int
    size_bytes: int
    lane: str | None = None
    connection: int | None = None
    is_fork: bool = False

    @property
    def mode(self) -> Literal["delta", "full"]:
        """Whether only new items were sent on top of a parent."""
        return "full" if self.parent is None else "delta"


@dataclass(frozen=True, slots=True)
class NotOpened:
    """There is no exchange.

    Attributes:
        failure: the reason.
        connection: the connection that did not become ready; ``None`` if there was none.
    """

    failure: Failure
    connection: Candidate | None = None


class Exchange(Protocol):
    """One request on its way."""

    @property
    def lane(self) -> Lane | None:
        """The lane that may remember the response; ``None`` over HTTP."""

    @property
    def connection(self) -> Candidate | None:
        """The connection, to be avoided after a failure; ``None`` over HTTP."""

    @property
    def departed_at(self) -> float:
        """When a part of the request was last seen to leave this machine."""

    @property
    def may_go_on(self) -> bool:
        """Whether a successor may follow the response that has ended."""

    @property
    def is_barren(self) -> bool:
        """Whether its socket has brought no event of any response."""

    def distrust(self) -> None:
        """The server was silent for too long: no new turn is placed on its socket."""

    def send(self, *, looks_up: bool) -> Sent | Failure:
        """Send the request. A failure means that nothing was sent.

        Args:
            looks_up: the service finds items by their ids.
        """

    def steer(self, given: TurnInput) -> Failure | None:
        """Send a steer into the running response. A failure means that nothing was sent.

        Raises:
            UsageError: no response runs, or it runs over HTTP.
        """

    def abandon(self) -> None:
        """Do without the answer. May be called again."""

    def when_drained(self, report: Callable[[Response], None]) -> None:
        """Call a function with the response that ends after `abandon`, or has ended since."""


class SocketExchange:
    """A request with a place on a lane.

    Args:
        request: the request.
        connection: the connection.
        run: its run on a lane of that connection.
        plan: the items to send there.
        is_fork: the parent is the latest response of another lane.
        close_abandoned: close the socket of an abandoned answer if no other answer on it has a reader.
        largest_frame: the number of bytes above which the server takes no message.
        largest_shared: the same, while other runs are on the connection: they would end with it.
    """

    __slots__ = (
        "_close_abandoned",
        "_is_fork",
        "_largest_frame",
        "_largest_shared",
        "_plan",
        "_request",
        "_run",
        "connection",
    )

    def __init__(
        self,
        request: Request,
        connection: Connection,
        run: Run,
        plan: Plan,
        *,
        is_fork: bool,
        close_abandoned: bool,
        largest_frame: int,
        largest_shared: int,
    ) -> None:
        self.connection: Connection = connection
        self._request = request
        self._run = run
        self._plan = plan
        self._is_fork = is_fork
        self._close_abandoned = close_abandoned
        self._largest_frame = largest_frame
        self._largest_shared = largest_shared

    @property
    def lane(self) -> Lane:
        """The lane."""
        return self._run.lane

    @property
    def departed_at(self) -> float:
        """When a part of the requests on the connection was last seen to leave this machine."""
        return self.connection.departed_at

    @property
    def may_go_on(self) -> bool:
        """Whether a successor may follow the response that has ended."""
        return self._run.state is RunState.AWAITING

    @property
    def is_barren(self) -> bool:
        """Whether the connection has brought no event of any response."""
        return not self.connection.has_received

    def distrust(self) -> None:
        """Place no new turn on the connection. Responses on it may end, if the server answers a PING soon."""
        self.connection.distrust()

    def send(self, *, looks_up: bool) -> Sent | Failure:
        """Send the request. A failure means that nothing was sent."""
        plan, lane = self._request.checked(self._plan), self._run.lane
        payload = frame(
            self._request.fields,
            plan.delta,
            previous_response_id=plan.parent.response_id if plan.parent is not None else None,
            stream_id=lane.name,
            generate=self._request.generate,
            looks_up=looks_up,
        )
        if len(payload) > self._largest_shared:  # the server may close the socket, with every turn on it
            is_alone = self.connection.lanes.in_flight == 1
            limit = self._largest_frame if is_alone else self._largest_shared
            if len(payload) > limit:
                return Failure.too_large(len(payload), limit)
        failure = self.connection.send(self._run, payload)
        if failure is not None:
            return failure
        return Sent(
            transport="websocket",
            parent=plan.parent,
            items=len(plan.delta),
            size_bytes=len(payload),
            lane=lane.name,
            connection=self.connection.number,
            is_fork=self._is_fork,
        )

    def steer(self, given: TurnInput) -> Failure | None:
        """Send a steer into the running response. A failure means that nothing was sent."""
        response_id = self._run.response_id
        if self._run.is_over or response_id is None:
            raise no_running_response()
        failure = self.connection.steer(self._run, steer_frame(response_id, given))
        return failure.on_request(sent=True, started=True) if failure is not None else None

    def abandon(self) -> None:
        """Let the answer drain, or close the socket where the limits say so and no other reader is on it."""
        self.connection.abandon(self._run)
        if self._close_abandoned and not self._run.is_over and self.connection.is_unread:
            self.connection.shut()

    def when_drained(self, report: Callable[[Response], None]) -> None:
        """Call a function with the response that ends after `abandon`, or has ended since."""
        self._run.when_drained(report)

    def __repr__(self) -> str:
        return f"<SocketExchange on {self.connection!r}: {self._run!r}>"
