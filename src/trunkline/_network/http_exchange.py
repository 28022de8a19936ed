"""One request over HTTP: its body, the events of its answer, and what its end means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, Protocol

from .._decisions.baselines import Plan
from .._decisions.placement import Owner
from .._decisions.request import Request
from .._observe.wirelog import LoggedSink, WireLog
from .._protocol.decoding import decode
from .._protocol.document import with_head
from .._protocol.events import EventKind
from .._protocol.failure import Failure, FailureKind
from .._protocol.frames import http_body
from .._protocol.items import TurnInput
from .._protocol.response import Response
from .._protocol.sink import Sink
from ..errors import NetworkError, UsageError
from .background import cancel
from .exchange import Sent
from .http_translation import lost
from .sse import read_events

if TYPE_CHECKING:
    import httpx2


class HttpState(Enum):
    """The states of a request over HTTP::

        UNSENT ──send──▶ POSTED ──event──▶ STARTED ──final event──▶ ANSWERED
                            └───abandon───────┴──▶ ABANDONED

    UNSENT     nothing was sent.
    POSTED     no event has arrived.
    STARTED    an event has arrived.
    ANSWERED   the final event has arrived. The stream is read to its end, so that its connection can be used
               again.
    ABANDONED  the caller left; the task is being cancelled.
    """

    UNSENT = auto()
    POSTED = auto()
    STARTED = auto()
    ANSWERED = auto()
    ABANDONED = auto()


# Bound once: looking a member of an enumeration up costs more than the rest of a comparison.
_POSTED: Final = HttpState.POSTED
_ERRORS: Final = frozenset({EventKind.ERROR, EventKind.FAILED})
_STARTED: Final = HttpState.STARTED


class Poster(Protocol):
    """What an exchange needs of the HTTP transport."""

    @property
    def authority(self) -> str:
        """Host and port of the server, and those of its proxy."""

    def run(self, exchange: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run an exchange in a task of its own."""

    async def post(
        self,
        body: bytes,
        on_departure: Callable[[float], None],
        *,
        owner: Owner | None = None,
        patient: bool = True,
    ) -> httpx2.Response:
        """Post a body. Returns the answer when its headers have arrived; the body is unread."""


class HttpExchange:
    """One request over HTTP.

    Args:
        transport: the HTTP transport.
        request: the request.
        plan: the items to send, and the stored parent.
        sink: the receiver of the events.
        log: the log of its frames; ``None`` for none.
        patient: repeat the request while the server cannot be reached.

    Attributes:
        lane: always ``None``: HTTP has no lanes.
        connection: always ``None``: the HTTP client chooses the connection.
        departed_at: when a part of the request was last seen to leave; 0 for a small request.
        may_go_on: always ``False``: a response over HTTP cannot be steered.
        is_barren: always ``False``: there is no socket.
    """

    lane: None = None
    connection: None = None
    may_go_on: bool = False
    is_barren: bool = False

    def __init__(
        self,
        transport: Poster,
        request: Request,
        plan: Plan,
        sink: Sink,
        log: WireLog | None,
        *,
        patient: bool,
    ) -> None:
        self._patient = patient
        self._transport = transport
        self._request = request
        self._plan = plan
        self.departed_at: float = 0.0
        self._sink = LoggedSink(sink, log) if log is not None else sink
        self._log = log
        self._task: asyncio.Task[None] | None = None
        self._head: Mapping[str, str] = {}
        self._state = HttpState.UNSENT

    def send(self, *, looks_up: bool) -> Sent | Failure:
        """Post the request in a new task. Never a failure: the sink gets it."""
        plan, fields = self._request.checked(self._plan), self._request.fields
        parent, delta = plan.parent, plan.delta
        body = http_body(
            fields if self._request.generate else fields.prewarming(),
            delta,
            previous_response_id=parent.response_id if parent is not None else None,
            looks_up=looks_up,
        )
        if self._log is not None:
            self._log.sent("response.create", body)
        self._state = HttpState.POSTED
        self._task = self._transport.run(self._exchange(body))
        return Sent(transport="http", parent=parent, items=len(delta), size_bytes=len(body))

    def steer(self, given: TurnInput) -> Failure | None:
        """Not available over HTTP.

        Raises:
            UsageError: always.
        """
        raise UsageError("steer() needs a WebSocket, and this turn uses HTTP")

    def distrust(self) -> None:
        """Does nothing: no other turn uses the connection."""

    def abandon(self) -> None:
        """Close the connection, so that the service stops. After the final event the request just ends."""
        if self._task is not None and self._state is not HttpState.ANSWERED:
            self._state = HttpState.ABANDONED
            cancel([self._task])

    def when_drained(self, report: Callable[[Response], None]) -> None:
        """Does nothing: the service stops an abandoned answer."""

    async def _exchange(self, body: bytes) -> None:
        """Post the body, deliver the events, report a failure. The sink ignores it after the final event."""
        try:
            response = await self._transport.post(
                body, self._on_departure, owner=self._request.owner, patient=self._patient
            )
            self._head = response.headers
            try:
                await read_events(response, self._deliver, self._sink.on_keep_alive)
            finally:
                await response.aclose()
            failure = Failure.lost("the HTTP stream ended before the response was complete", sent=True)
        except asyncio.CancelledError:
            is_left = self._state is HttpState.ABANDONED
            why = "the stream was closed" if is_left else "the client was closed"
            self._sink.fail(Failure.lost(why, sent=True, started=self._has_started))
            raise
        except NetworkError as error:
            failure = Failure.of(error)
        except Exception as error:
            failure = lost(error, self._transport.authority)
        sent = failure.kind is not FailureKind.CONNECT
        self._sink.fail(failure.on_request(sent=sent, started=self._has_started))

    def _on_departure(self, at: float) -> None:
        self.departed_at = at

    def _deliver(self, frame: bytes) -> bool:
        sink, event = self._sink, decode(frame)
        if event.is_delta and self._state is _STARTED:
            sink.deliver_delta(event)
        else:
            if event.kind in _ERRORS:
                event = decode(with_head(frame, self._head))
            sink.deliver(event)
        is_over = sink.is_over
        state = self._state
        # The event itself may be the reason to abandon: that state is final.
        if (is_over or state is _POSTED) and state is not HttpState.ABANDONED:
            self._state = HttpState.ANSWERED if is_over else HttpState.STARTED
        return is_over

    @property
    def _has_started(self) -> bool:
        return self._state is HttpState.STARTED or self._state is HttpState.ANSWERED

    def __repr__(self) -> str:
        return f"<HttpExchange with {self._transport.authority}>"


__all__ = ["HttpExchange"]
