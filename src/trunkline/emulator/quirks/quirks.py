"""The decisions of a server that deviates from the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from .._protocol.errors import ApiError, previous_response_not_found
from .._protocol.events import Event
from .._protocol.request import CreateRequest, lane_of
from .deviation import Deviation
from .shapes import bare, codex, in_milliseconds, reason_after, renamed, waits_in_milliseconds

PROXY_LIMIT_BYTES = 1024 * 1024
"""The largest message through a proxy with a limit."""

_SHAPES = frozenset(
    {
        Deviation.ERRORS_BARE,
        Deviation.ERRORS_CODEX,
        Deviation.REASON_AFTER_FAILURE,
        Deviation.WAITS_IN_MS,
    }
)
_CLOSE_CODES = (1000, 1008, 1011, 1013)


class Opening(Enum):
    """Treatment of a new socket that is not closed at once."""

    CARRIES = auto()
    SILENT = auto()


class Reading(Enum):
    """Treatment of a frame from the client."""

    TAKE = auto()
    IGNORE = auto()
    CLOSE = auto()
    """The connection is closed with 1008."""


@dataclass(frozen=True, slots=True)
class Quirks:
    """The deviations of one server; without any, it behaves as OpenAI's.

    Attributes:
        deviations: the deviations.
        names: the servers that have them.
    """

    deviations: frozenset[Deviation] = frozenset()
    names: tuple[str, ...] = ()

    # Sockets.

    def check_upgrade(self) -> None:
        """Refuse an upgrade.

        Raises:
            ApiError: the server has no WebSocket.
        """
        if Deviation.HTTP_ONLY in self.deviations:
            raise ApiError("Not found: this server has no WebSocket.", status=404)

    def opening(self, number: int) -> Opening | int:
        """Treatment of the n-th socket, from 1; a number is the code with which it is closed at once."""
        if Deviation.SOCKETS_CUT not in self.deviations:
            return Opening.CARRIES
        turn = (number - 1) % (len(_CLOSE_CODES) + 1)
        return _CLOSE_CODES[turn] if turn < len(_CLOSE_CODES) else Opening.SILENT

    def max_message_bytes(self, limit: int) -> int:
        """The size above which a message closes the socket with 1009; `limit` is the server's own."""
        limited = self.deviations & {Deviation.SOCKETS_CUT, Deviation.SOCKETS_LIMITED}
        return min(limit, PROXY_LIMIT_BYTES) if limited else limit

    # Frames from the client.

    def reading(self, kind: object, *, is_first: bool) -> Reading:
        """Treatment of a frame of this type; None if it has none."""
        if Deviation.CREATES_ONLY not in self.deviations or kind == "response.create":
            return Reading.TAKE
        return Reading.CLOSE if is_first else Reading.IGNORE

    def lane_of(self, body: dict[str, Any]) -> str | None:
        """The lane of a request, or None for the default lane.

        Raises:
            ApiError: the name is invalid.
        """
        return None if Deviation.LANES_IGNORED in self.deviations else lane_of(body)

    def check_load(self, unfinished: int, limit: int) -> None:
        """Check whether one more request may be taken while `unfinished` ones run or wait.

        Raises:
            ApiError: the connection has as many as it may.
        """
        if Deviation.OVERFLOW_REFUSED in self.deviations and unfinished >= limit:
            raise ApiError(
                f"Too many responses are in flight on this connection (at most {limit}).",
                status=429,
                code="too_many_requests",
                type="rate_limit_error",
            )

    def check_steer(self) -> None:
        """Refuse a steer.

        Raises:
            ApiError: the server does not know steering. Its event carries no lane.
        """
        if Deviation.STEERS_REFUSED in self.deviations:
            raise ApiError("Unsupported message type: 'response.steer'.")

    def bound_model(self, bound: str | None, asked: str | None) -> str | None:
        """The model of a request on a socket that is bound to a model, or not yet (None)."""
        return bound or asked if Deviation.MODEL_BOUND in self.deviations else asked

    def knows_model(self, is_emulated: bool) -> bool:
        """Whether a model can be called; `is_emulated` tells whether one has its very name."""
        return is_emulated or Deviation.MODEL_BOUND not in self.deviations

    # Requests.

    def check_create(self, request: CreateRequest) -> None:
        """Check a request that the protocol allows.

        Raises:
            ApiError: the server refuses it.
        """
        refused = Deviation.PARENT_WITHOUT_INSTRUCTIONS in self.deviations
        if refused and request.previous_response_id is not None and request.instructions:
            raise ApiError(
                "Request validation error: Argument not supported: instructions and previous_response_id"
                " together",
                type="api_error",
                is_typed=False,
            )

    def parent_id(self, request: CreateRequest) -> str | None:
        """The parent that a request continues."""
        return None if Deviation.PARENT_IGNORED in self.deviations else request.previous_response_id

    @property
    def caches_parents(self) -> bool:
        """Whether a lane's latest response can be continued without being stored."""
        return Deviation.PARENT_STORED_ONLY not in self.deviations

    @property
    def remembers_warm_ups(self) -> bool:
        """Whether a warm-up can be continued."""
        return Deviation.WARM_UPS_MADE_UP not in self.deviations

    @property
    def has_one_response_id(self) -> bool:
        """Whether all responses of a connection have the same id."""
        return Deviation.ONE_RESPONSE_ID in self.deviations

    def parent_not_found(self, response_id: str) -> ApiError:
        """The refusal of a parent that is not known."""
        if Deviation.PARENT_STORED_ONLY in self.deviations:
            return ApiError(f"Response with id={response_id} could not be found.", status=404)
        return previous_response_not_found(response_id)

    # Events and answers to the client.

    @property
    def reshapes(self) -> bool:
        """Whether `shaped` changes any event."""
        return bool(self.deviations & _SHAPES)

    def shaped(self, event: Event) -> tuple[Event, ...]:
        """The events that the server sends for an event of the protocol."""
        if event.type == "error":
            if Deviation.WAITS_IN_MS in self.deviations:
                event = waits_in_milliseconds(event)
            if Deviation.ERRORS_BARE in self.deviations:
                event = bare(event)
            elif Deviation.ERRORS_CODEX in self.deviations:
                event = codex(event)
        elif event.type == "response.failed" and Deviation.REASON_AFTER_FAILURE in self.deviations:
            failed, *reasons = reason_after(event)
            return failed, *(shaped for reason in reasons for shaped in self.shaped(reason))
        return (event,)

    def refusal(self, error: ApiError) -> ApiError:
        """The error of an HTTP answer."""
        if Deviation.ERRORS_CODEX in self.deviations:
            error.code = renamed(error.code)
        return error

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """The headers of an HTTP answer."""
        if Deviation.WAITS_IN_MS not in self.deviations:
            return dict(headers)
        return in_milliseconds(headers)
