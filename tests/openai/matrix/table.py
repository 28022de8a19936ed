"""The table of faults as callers of the openai SDK see them: over plain HTTP, and through the drop-in.

Each row is a fault in the second request of a conversation. Each fault occurs once, and then lasts, for calls
that are streamed and calls that are not. The SDK may repeat a request once (``max_retries=1``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from trunkline.emulator import Action, Fail, Fault


class Phase(StrEnum):
    """When the fault occurs."""

    UPGRADE = "at the upgrade"
    REQUEST = "at the request"
    BEFORE = "before output"
    AMID = "amid output"


class Way(StrEnum):
    """How requests go to the service."""

    HTTP = "plain HTTP"
    DROPIN = "drop-in"


class Shape(StrEnum):
    """How the caller wants the answer."""

    WHOLE = "not streamed"
    STREAM = "streamed"


@dataclass(frozen=True)
class Outcome:
    """What the caller sees, and what it costs.

    Attributes:
        error: the class of the exception; ``None`` if there is a response.
        status: the HTTP status of the exception, or the status of the response if it is not complete.
        cause: the class of the exception of httpx2 behind it.
        tries: the attempts of the SDK.
        requests: the requests that the service got.
    """

    error: str | None = None
    status: int | str | None = None
    cause: str | None = None
    tries: int = 1
    requests: int = 1


Pair: TypeAlias = tuple[Outcome, Outcome]
"""The outcome if the fault occurs once, and if it lasts."""


@dataclass(frozen=True)
class Row:
    """One fault in one phase.

    Attributes:
        phase: when it occurs.
        name: the name in the page and in the ids of tests.
        text: the behaviour of the server.
        faults: the faults for the emulator, without their position.
        outcomes: the outcomes. Over plain HTTP there is no upgrade, and some faults cannot occur.
        is_silence: the server falls silent, so that the read timeout must be short.
        is_stored: the service stores the responses.
        acts: the request has a hosted tool that may act.
        model: the failing step of the model, if the model is the fault.
    """

    phase: Phase
    name: str
    text: str
    faults: tuple[Fault, ...]
    outcomes: Mapping[tuple[Way, Shape], Pair]
    is_silence: bool = False
    is_stored: bool = True
    acts: bool = False
    model: Fail | None = None

    def __str__(self) -> str:
        return f"{self.name}, {self.phase}"


@dataclass(frozen=True)
class Case:
    """One conversation.

    Attributes:
        row: the fault.
        way: how requests go to the service.
        shape: how the caller wants the answer.
        lasts: the fault lasts.
        is_sync: the client is synchronous.
    """

    row: Row
    way: Way
    shape: Shape
    lasts: bool
    is_sync: bool = False

    @property
    def outcome(self) -> Outcome:
        """The expected outcome."""
        return self.row.outcomes[self.way, self.shape][self.lasts]

    def __str__(self) -> str:
        how = f"{'sync' if self.is_sync else 'async'}, {'lasting' if self.lasts else 'once'}"
        return f"{self.row}, {self.way}, {self.shape}, {how}"


# Outcomes.

FINE: Pair = (Outcome(), Outcome())
"""Answered, as without the fault."""


def raised(error: str, status: int | None = None, *, cause: str | None = None) -> Pair:
    """The first attempt raises."""
    return (Outcome(error, status, cause),) * 2


def by_sdk(error: str, status: int | None = None, *, cause: str | None = None) -> Pair:
    """The SDK repeats the request."""
    return Outcome(tries=2, requests=2), Outcome(error, status, cause, 2, 2)


def by_us(error: str, status: int | None = None, *, cause: str | None = None, tries: int = 2) -> Pair:
    """The drop-in repeats each request immediately; it may be the last that the SDK makes."""
    return Outcome(requests=2), Outcome(error, status, cause, tries, 2 * tries)


def _upgrade(name: str, text: str, fault: Fault, dropin: Pair = FINE, *, is_silence: bool = False) -> Row:
    outcomes = {(Way.DROPIN, shape): dropin for shape in Shape}
    return Row(Phase.UPGRADE, name, text, (fault,), outcomes, is_silence)


def _request(
    name: str, text: str, fault: Fault, http: Pair | None, dropin: Pair, *, is_stored: bool = True
) -> Row:
    found = {(Way.HTTP, shape): http for shape in Shape if http is not None}
    found |= {(Way.DROPIN, shape): dropin for shape in Shape}
    return Row(Phase.REQUEST, name, text, (fault,), found, is_stored=is_stored)


@dataclass(frozen=True)
class _Event:
    """A fault at an event, before output and amid it.

    Attributes:
        whole: the outcomes of a call that is not streamed, over HTTP and through the drop-in.
        before: those of a stream, before output.
        amid: those of a stream, amid output.
    """

    name: str
    text: str
    faults: tuple[Fault, ...]
    whole: tuple[Pair | None, Pair]
    before: tuple[Pair | None, Pair]
    amid: tuple[Pair | None, Pair]
    is_silence: bool = False
    acts: bool = False
    model: Fail | None = None

    def rows(self) -> Iterator[Row]:
        for phase, pairs in (
            (Phase.BEFORE, {Shape.WHOLE: self.whole, Shape.STREAM: self.before}),
            (Phase.AMID, {Shape.STREAM: self.amid}),
        ):
            outcomes = {
                (way, shape): pair
                for shape, both in pairs.items()
                for way, pair in zip(Way, both, strict=True)
                if pair is not None
            }
            yield Row(
                phase,
                self.name,
                self.text,
                self.faults,
                outcomes,
                self.is_silence,
                acts=self.acts,
                model=self.model,
            )


def _legal(name: str, text: str, fault: Fault) -> _Event:
    return _Event(name, text, (fault,), (FINE, FINE), (FINE, FINE), (FINE, FINE))


_PROTOCOL = "RemoteProtocolError"
_LOST = raised("APIConnectionError", cause=_PROTOCOL)
_LOST_BY_SDK = by_sdk("APIConnectionError", cause=_PROTOCOL)
_LOST_BY_US = by_us("APIConnectionError", cause=_PROTOCOL)
_LATE = raised("APITimeoutError", cause="ReadTimeout")
_LATE_BY_SDK = by_sdk("APITimeoutError", cause="ReadTimeout")
_NOT_JSON = raised("JSONDecodeError")
_IN_STREAM = raised("APIError")
_FAILED: Pair = (Outcome(status="failed"), Outcome(status="failed"))
_ERROR_EVENT: Pair = (Outcome(status="error event"), Outcome(status="error event"))
"""The SDK has a type for errors of this form, and raises nothing."""
_BAD_GATEWAY = raised("InternalServerError", 502)
_GATEWAY_TIMEOUT = raised("InternalServerError", 504)
_UNAVAILABLE = by_sdk("InternalServerError", 503)
_LIMITED = by_sdk("RateLimitError", 429)
_WAIT = {"retry-after": "0.02"}


def _lost(name: str, text: str, fault: Fault, *, over_http: bool = True) -> _Event:
    def http(pair: Pair) -> Pair | None:
        return pair if over_http else None

    return _Event(
        name,
        text,
        (fault,),
        (http(_LOST_BY_SDK), _LOST_BY_US),
        (http(_LOST), _LOST_BY_US),
        (http(_LOST), _LOST),
    )


def _broken(name: str, text: str, fault: Fault) -> _Event:
    return _Event(name, text, (fault,), (FINE, _LOST_BY_US), (_NOT_JSON, _LOST_BY_US), (_NOT_JSON, _LOST))


def _permanent(status: int, error: str, code: str | None = None) -> Row:
    return _request(
        f"reject {status}",
        f"refuses the request with {status}",
        Fault(Action.REJECT, status=status, code=code),
        raised(error, status),
        by_us(error, status, tries=1),
    )


def _transient(status: int, error: str, code: str | None = None) -> Row:
    pair = by_sdk(error, status)
    headers = _WAIT if status == 429 else {}
    text = f"refuses the request with {status}{' and `retry-after`' if headers else ''}"
    fault = Fault(Action.REJECT, status=status, code=code, headers=headers)
    return _request(f"reject {status}", text, fault, pair, pair)


_EVENTS = (
    _lost("drop", "closes the TCP connection", Fault(Action.DROP)),
    _lost("reset", "resets the TCP connection", Fault(Action.RESET)),
    _lost("close 1011", "sends a close frame", Fault(Action.CLOSE, close_code=1011), over_http=False),
    _lost(
        "connection_limit",
        "reports the age limit of the connection, and closes it",
        Fault(Action.CONNECTION_LIMIT),
        over_http=False,
    ),
    _Event(
        "stall",
        "sends nothing more",
        (Fault(Action.STALL),),
        (_LATE_BY_SDK, _LATE_BY_SDK),
        (_LATE, _LATE_BY_SDK),
        (_LATE, _LATE),
        is_silence=True,
    ),
    _Event(
        "drop, with a tool that may act",
        "closes the TCP connection; the request has a tool that may act",
        (Fault(Action.DROP),),
        (_LOST_BY_SDK, _BAD_GATEWAY),
        (_LOST, _BAD_GATEWAY),
        (_LOST, _LOST),
        acts=True,
    ),
    _Event(
        "stall, with a tool that may act",
        "sends nothing more; the request has a tool that may act",
        (Fault(Action.STALL),),
        (_LATE_BY_SDK, _GATEWAY_TIMEOUT),
        (_LATE, _GATEWAY_TIMEOUT),
        (_LATE, _LATE),
        is_silence=True,
        acts=True,
    ),
    _broken("truncate", "sends half of an event", Fault(Action.TRUNCATE)),
    _broken("corrupt", "sends an event that is not JSON", Fault(Action.CORRUPT)),
    _Event(
        "fail 400",
        "ends the response with an error 400",
        (Fault(Action.FAIL, status=400, code="invalid_prompt"),),
        (raised("BadRequestError", 400), by_us("BadRequestError", 400, tries=1)),
        (_IN_STREAM, by_us("BadRequestError", 400, tries=1)),
        (_IN_STREAM, _IN_STREAM),
    ),
    _Event(
        "fail 429",
        "ends the response with an error 429 and `retry-after`",
        (Fault(Action.FAIL, status=429, code="rate_limit_exceeded", headers=_WAIT),),
        (_LIMITED, _LIMITED),
        (_IN_STREAM, _LIMITED),
        (_IN_STREAM, _IN_STREAM),
    ),
    _Event(
        "fail 503",
        "ends the response with an error 503",
        (Fault(Action.FAIL, status=503),),
        (_UNAVAILABLE, _UNAVAILABLE),
        (_IN_STREAM, _UNAVAILABLE),
        (_IN_STREAM, _IN_STREAM),
    ),
    _Event(
        "flat_error",
        "ends the response with an error in the flat form of older gateways",
        (Fault(Action.FAIL, code="server_error"), Fault(Action.FLAT_ERROR, event_type="error")),
        (None, _UNAVAILABLE),
        (None, _UNAVAILABLE),
        (None, _ERROR_EVENT),
    ),
    _Event(
        "codex_error",
        "ends the response with an error in the shape of proxies in the manner of Codex",
        (Fault(Action.FAIL, code="server_error"), Fault(Action.CODEX_ERROR, event_type="error")),
        (None, _UNAVAILABLE),
        (None, _UNAVAILABLE),
        (None, _IN_STREAM),
    ),
    _Event(
        "response.failed, server_error",
        "sends `response.failed` with a transient code",
        (),
        (_FAILED, _FAILED),
        (_FAILED, _FAILED),
        (_FAILED, _FAILED),
        model=Fail("server_error", "It broke."),
    ),
    _Event(
        "response.failed, invalid_prompt",
        "sends `response.failed` with a permanent code",
        (),
        (_FAILED, _FAILED),
        (_FAILED, _FAILED),
        (_FAILED, _FAILED),
        model=Fail("invalid_prompt", "It was no good."),
    ),
    _legal("duplicate", "sends an event twice", Fault(Action.DUPLICATE)),
    _legal("reorder", "swaps an event with the next one", Fault(Action.REORDER)),
    _legal("delay", "sends an event later", Fault(Action.DELAY, seconds=0.02)),
    _legal("fragment", "sends an event in several frames", Fault(Action.FRAGMENT)),
    _legal("unknown_event", "sends an event of an unknown type", Fault(Action.UNKNOWN_EVENT)),
    _legal("unknown_field", "adds an unknown field to an event", Fault(Action.UNKNOWN_FIELD)),
    _legal("omit sequence_number", "omits the sequence number of an event", Fault(Action.OMIT)),
    _legal("oversize", "pads an event to 1 MiB", Fault(Action.OVERSIZE)),
)

ROWS: tuple[Row, ...] = (
    _upgrade("refuse_upgrade 401", "answers the upgrade with 401", Fault(Action.REFUSE_UPGRADE, status=401)),
    _upgrade("refuse_upgrade 403", "answers the upgrade with 403", Fault(Action.REFUSE_UPGRADE, status=403)),
    _upgrade("refuse_upgrade 404", "answers the upgrade with 404", Fault(Action.REFUSE_UPGRADE, status=404)),
    _upgrade(
        "refuse_upgrade 429",
        "answers the upgrade with 429 and `retry-after`",
        Fault(Action.REFUSE_UPGRADE, status=429, headers=_WAIT),
        (Outcome(tries=2), Outcome("RateLimitError", 429, None, 2, 0)),
    ),
    _upgrade("refuse_upgrade 503", "answers the upgrade with 503", Fault(Action.REFUSE_UPGRADE, status=503)),
    _upgrade("ignore_upgrade", "never answers the upgrade", Fault(Action.IGNORE_UPGRADE), is_silence=True),
    _upgrade(
        "ignore_upgrade, then hang up",
        "closes the connection instead of answering the upgrade",
        Fault(Action.IGNORE_UPGRADE, seconds=0.02),
    ),
    _permanent(400, "BadRequestError", "invalid_prompt"),
    _permanent(401, "AuthenticationError", "invalid_api_key"),
    _permanent(403, "PermissionDeniedError"),
    _permanent(404, "NotFoundError", "model_not_found"),
    _request(
        "reject 409",
        "refuses the request with 409",
        Fault(Action.REJECT, status=409),
        by_sdk("ConflictError", 409),
        by_us("ConflictError", 409),
    ),
    _permanent(422, "UnprocessableEntityError"),
    _transient(429, "RateLimitError", "rate_limit_exceeded"),
    _transient(500, "InternalServerError", "server_error"),
    _transient(503, "InternalServerError"),
    _request(
        "forget",
        "forgets the latest response of each lane before the request",
        Fault(Action.FORGET),
        None,
        (Outcome(requests=2), Outcome(requests=2)),
        is_stored=False,
    ),
    _request(
        "ignore_parent",
        "ignores the parent",
        Fault(Action.IGNORE_PARENT),
        FINE,
        (Outcome(requests=2), Outcome(requests=2)),
    ),
    _request(
        "one_place, final",
        "sends the text in the final response only",
        Fault(Action.ONE_PLACE, place="final"),
        FINE,
        FINE,
    ),
    _request("slow_read", "does not read for 50 ms", Fault(Action.SLOW_READ, seconds=0.05), FINE, FINE),
    *(row for event in _EVENTS for row in event.rows()),
)


def cases(row: Row) -> Iterator[Case]:
    """The conversations of a row; the synchronous client has those with lasting faults and the drop-in."""
    for way, shape in row.outcomes:
        yield Case(row, way, shape, lasts=False)
        yield Case(row, way, shape, lasts=True)
        if way is Way.DROPIN:
            yield Case(row, way, shape, lasts=True, is_sync=True)
