"""The table: for every fault and the moment in which it strikes, what a turn comes to.

A row is a fault, a column is a moment. `cells` makes the matrix of them: each with responses stored and not
stored, on one socket with many lanes, on sockets with one lane each, and over HTTP. What cannot be is left
out: its outcome is missing in the row, or `_makes_sense` says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from trunkline import (
    Cause,
    ConnectionLost,
    DeadlineExceeded,
    ProtocolViolation,
    ResponseFailed,
    ResponseRefused,
    TurnError,
    UpgradeRefused,
)
from trunkline.emulator import Action, Fail, Fault


class Phase(StrEnum):
    """The moment in which a fault strikes."""

    DIALLING = "dialling"
    SENT = "sent"
    CREATED = "created"
    REASONING = "reasoning"
    TEXT = "mid-text"
    CALL = "mid-tool-call"
    TERMINAL = "before the terminal"
    IDLE = "idle"
    ROTATING = "rotating"


class Way(StrEnum):
    """What a turn goes over."""

    MANY = "many lanes"
    ONE = "one lane"
    HTTP = "HTTP"


@dataclass(frozen=True)
class Answered:
    """The turn is answered; what was recovered from on the way, the caller did not see.

    Attributes:
        causes: why it was asked again.
        over_http: it went over HTTP in the end.
        in_full: the answer was to the whole context, also where the parent is stored.
    """

    causes: tuple[Cause, ...] = ()
    over_http: bool = False
    in_full: bool = False


@dataclass(frozen=True)
class Raises:
    """The turn ends with an error.

    Attributes:
        error: its type.
        facts: its fields; ``output_seen``, ``sent`` and ``started`` follow from the phase.
    """

    error: type[TurnError]
    facts: Mapping[str, Any] = field(default_factory=dict)


Outcome = Answered | Raises


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        name: what it is called.
        text: what the server does.
        faults: what is laid down in the emulator, except for where it strikes.
        outcomes: what becomes of a turn, by phase; a phase that is missing makes no sense.
        falls: with what error others on the same socket end, when a response is struck; ``None``: they go on.
        unstored: outcomes that are different when responses are not stored.
        options: what the client is given.
        over_http: whether it can strike over HTTP.
        is_silence: nothing comes any more; deadlines have to be short.
        model: what the model does by itself, where that is the fault.
    """

    name: str
    text: str
    faults: tuple[Fault, ...]
    outcomes: Mapping[Phase, Outcome]
    falls: type[TurnError] | None = None
    unstored: Mapping[Phase, Outcome] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    over_http: bool = True
    is_silence: bool = False
    model: Fail | None = None


@dataclass(frozen=True)
class Cell:
    """One case."""

    row: Row
    phase: Phase
    way: Way
    store: bool

    @property
    def outcome(self) -> Outcome:
        """What is to come of the turn."""
        given = self.row.outcomes[self.phase]
        different = self.row.unstored.get(self.phase, given) if not self.store else given
        if self.phase is Phase.IDLE and self.way is not Way.MANY:
            return Answered()  # the visitor who is struck is on another socket
        if self.way is Way.HTTP and isinstance(different, Raises) and different.error is ConnectionLost:
            return Raises(ConnectionLost)  # there are no close codes
        return different

    @property
    def neighbour_falls(self) -> type[TurnError] | None:
        """With what error another conversation's answer ends that streams at the same time."""
        return self.row.falls if self.way is Way.MANY and self.phase is not Phase.DIALLING else None

    def __str__(self) -> str:
        return f"{self.row.name}, {self.phase}, {self.way}, {'' if self.store else 'not '}stored"


BEFORE_OUTPUT = (Phase.SENT, Phase.CREATED)
AFTER_OUTPUT = (Phase.REASONING, Phase.TEXT, Phase.CALL, Phase.TERMINAL, Phase.ROTATING)

NOTHING = Answered()
"""The turn is answered at the first asking."""


def again(*causes: Cause, over_http: bool = False, in_full: bool = False) -> Answered:
    """Answered after another attempt."""
    return Answered(causes, over_http, in_full)


def raises(error: type[TurnError], **facts: Any) -> Raises:
    """It ends so."""
    return Raises(error, facts)


def _streaming(
    before: Outcome, after: Outcome, idle: Outcome | None = NOTHING, **different: Outcome
) -> dict[Phase, Outcome]:
    """Outcomes before any output, from the first output on, and of those who are idle meanwhile."""
    found: dict[Phase, Outcome] = dict.fromkeys(BEFORE_OUTPUT, before)
    found |= dict.fromkeys(AFTER_OUTPUT, after)
    if idle is not None:
        found[Phase.IDLE] = idle
    return found | {Phase[name]: outcome for name, outcome in different.items()}


def _dialling(outcome: Outcome, rotating: Outcome = NOTHING) -> dict[Phase, Outcome]:
    """Outcomes of a turn that needs a connection, and of one that runs while the old one is replaced."""
    return {Phase.DIALLING: outcome, Phase.ROTATING: rotating}


def _legal(name: str, text: str, fault: Fault) -> Row:
    return Row(name, text, (fault,), _streaming(NOTHING, NOTHING))


_FORGOTTEN = again(Cause.PARENT_LOST, in_full=True)
_TRANSIENT = again(Cause.TRANSIENT)
_ONLY_SOCKETS = {"transport": "websocket"}
_WAIT = {"retry-after": "0.02"}

ROWS: tuple[Row, ...] = (
    Row(
        "drop",
        "breaks off without a close frame",
        (Fault(Action.DROP),),
        _streaming(again(Cause.CONNECTION), raises(ConnectionLost, close_code=None)),
        falls=ConnectionLost,
    ),
    Row(
        "reset",
        "breaks off with a TCP reset",
        (Fault(Action.RESET),),
        _streaming(again(Cause.CONNECTION), raises(ConnectionLost, close_code=None)),
        falls=ConnectionLost,
    ),
    Row(
        "close 1012",
        "closes with a code",
        (Fault(Action.CLOSE, close_code=1012),),
        _streaming(again(Cause.CONNECTION), raises(ConnectionLost, close_code=1012)),
        falls=ConnectionLost,
    ),
    Row(
        "connection_limit",
        "says that the connection's hour is over, and closes it",
        (Fault(Action.CONNECTION_LIMIT),),
        _streaming(
            again(Cause.LIMIT),
            raises(ConnectionLost, close_code=1000),
            CREATED=again(Cause.CONNECTION),
        ),
        falls=ConnectionLost,
        over_http=False,
    ),
    Row(
        "stall",
        "sends nothing more of this response",
        (Fault(Action.STALL),),
        _streaming(again(Cause.STALLED), raises(DeadlineExceeded, phase="between_events")),
        is_silence=True,
    ),
    Row(
        "truncate",
        "sends half of an event",
        (Fault(Action.TRUNCATE),),
        _streaming(again(Cause.CONNECTION), raises(ProtocolViolation)),
        falls=ProtocolViolation,
    ),
    Row(
        "corrupt",
        "sends something that is no JSON",
        (Fault(Action.CORRUPT),),
        _streaming(again(Cause.CONNECTION), raises(ProtocolViolation)),
        falls=ProtocolViolation,
    ),
    Row(
        "omit what it says",
        "leaves out of an event what it is about",
        (Fault(Action.OMIT, fields=("response", "delta")),),
        _streaming(again(Cause.CONNECTION), raises(ProtocolViolation)),
    ),
    Row(
        "fail 503",
        "ends the response with an error 503",
        (Fault(Action.FAIL, status=503),),
        _streaming(_TRANSIENT, raises(ResponseRefused, status=503, code=None)),
    ),
    Row(
        "fail 429",
        "ends the response with an error 429 and `retry-after`",
        (Fault(Action.FAIL, status=429, code="rate_limit_exceeded", headers=_WAIT),),
        _streaming(_TRANSIENT, raises(ResponseRefused, status=429, retry_after_s=0.02)),
    ),
    Row(
        "fail 400",
        "ends the response with an error 400",
        (Fault(Action.FAIL, status=400, code="invalid_prompt"),),
        _streaming(
            raises(ResponseRefused, status=400, code="invalid_prompt"),
            raises(ResponseRefused, status=400, code="invalid_prompt"),
        ),
    ),
    Row(
        "flat_error",
        "ends the response with an error in the flat shape",
        (Fault(Action.FAIL, code="server_error"), Fault(Action.FLAT_ERROR, event_type="error")),
        _streaming(_TRANSIENT, raises(ResponseRefused, status=None, code="server_error")),
    ),
    Row(
        "response.failed, server_error",
        "the model fails with a code that may pass",
        (),
        {
            Phase.CREATED: _TRANSIENT,
            Phase.TEXT: raises(ResponseFailed, code="server_error"),
        },
        model=Fail("server_error", "It broke."),
    ),
    Row(
        "response.failed, invalid_prompt",
        "the model fails for good",
        (),
        {
            Phase.CREATED: raises(ResponseFailed, code="invalid_prompt"),
            Phase.TEXT: raises(ResponseFailed, code="invalid_prompt"),
        },
        model=Fail("invalid_prompt", "It was no good."),
    ),
    _legal("duplicate", "sends an event twice", Fault(Action.DUPLICATE)),
    _legal("reorder", "sends an event after the one that follows it", Fault(Action.REORDER)),
    _legal("delay", "sends an event later", Fault(Action.DELAY, seconds=0.02)),
    _legal("fragment", "sends an event in several frames", Fault(Action.FRAGMENT)),
    _legal("unknown_event", "sends an event of a type that nobody knows", Fault(Action.UNKNOWN_EVENT)),
    _legal("unknown_field", "adds a field that nobody knows", Fault(Action.UNKNOWN_FIELD)),
    _legal("omit sequence_number", "leaves out the number of an event", Fault(Action.OMIT)),
    _legal("oversize", "pads an event to a mebibyte", Fault(Action.OVERSIZE)),
    Row(
        "reject 503",
        "refuses the request with 503",
        (Fault(Action.REJECT, status=503),),
        {Phase.SENT: _TRANSIENT, Phase.IDLE: NOTHING},
    ),
    Row(
        "reject 429",
        "refuses the request with 429 and `retry-after`",
        (Fault(Action.REJECT, status=429, code="rate_limit_exceeded", headers=_WAIT),),
        {Phase.SENT: _TRANSIENT, Phase.IDLE: NOTHING},
    ),
    Row(
        "reject 400",
        "refuses the request with 400",
        (Fault(Action.REJECT, status=400, code="invalid_prompt"),),
        {Phase.SENT: raises(ResponseRefused, status=400, code="invalid_prompt"), Phase.IDLE: NOTHING},
    ),
    Row(
        "reject, stream limit",
        "takes no more lanes on this socket",
        (Fault(Action.REJECT, status=400, code="websocket_stream_limit_reached"),),
        {Phase.SENT: again(Cause.LIMIT), Phase.IDLE: NOTHING},
        over_http=False,
    ),
    Row(
        "forget",
        "drops every lane's memory before it looks at the request",
        (Fault(Action.FORGET),),
        {Phase.SENT: NOTHING, Phase.IDLE: NOTHING},
        unstored={Phase.SENT: _FORGOTTEN, Phase.IDLE: _FORGOTTEN},
        over_http=False,
    ),
    Row(
        "slow_read",
        "reads nothing for a while",
        (Fault(Action.SLOW_READ, seconds=0.05),),
        {Phase.SENT: NOTHING, Phase.IDLE: NOTHING},
        over_http=False,
    ),
    Row(
        "refuse_upgrade 401",
        "answers the upgrade with 401",
        (Fault(Action.REFUSE_UPGRADE, status=401),),
        _dialling(again(Cause.UPGRADE, over_http=True)),
    ),
    Row(
        "refuse_upgrade 404",
        "answers the upgrade with 404",
        (Fault(Action.REFUSE_UPGRADE, status=404),),
        _dialling(again(Cause.UPGRADE, over_http=True)),
    ),
    Row(
        "refuse_upgrade 429",
        "answers the upgrade with 429 and `retry-after`",
        (Fault(Action.REFUSE_UPGRADE, status=429, headers=_WAIT),),
        _dialling(again(Cause.UPGRADE)),
    ),
    Row(
        "refuse_upgrade 503",
        "answers the upgrade with 503",
        (Fault(Action.REFUSE_UPGRADE, status=503),),
        _dialling(again(Cause.UPGRADE, over_http=True)),
    ),
    Row(
        "ignore_upgrade",
        "never answers the upgrade",
        (Fault(Action.IGNORE_UPGRADE),),
        _dialling(again(Cause.UPGRADE, over_http=True)),
        is_silence=True,
    ),
    Row(
        "ignore_upgrade, then hang up",
        "hangs up instead of answering the upgrade",
        (Fault(Action.IGNORE_UPGRADE, seconds=0.02),),
        _dialling(again(Cause.UPGRADE, over_http=True)),
    ),
    Row(
        "refuse_upgrade 401, WebSocket only",
        'the same with `transport="websocket"`',
        (Fault(Action.REFUSE_UPGRADE, status=401),),
        {Phase.DIALLING: raises(UpgradeRefused, status=401)},
        options=_ONLY_SOCKETS,
    ),
    Row(
        "refuse_upgrade 404, WebSocket only",
        'the same with `transport="websocket"`',
        (Fault(Action.REFUSE_UPGRADE, status=404),),
        {Phase.DIALLING: raises(UpgradeRefused, status=404)},
        options=_ONLY_SOCKETS,
    ),
    Row(
        "refuse_upgrade 503, WebSocket only",
        'the same with `transport="websocket"`',
        (Fault(Action.REFUSE_UPGRADE, status=503),),
        {Phase.DIALLING: again(Cause.UPGRADE)},
        options=_ONLY_SOCKETS,
    ),
    Row(
        "ignore_upgrade, WebSocket only",
        'the same with `transport="websocket"`',
        (Fault(Action.IGNORE_UPGRADE),),
        {Phase.DIALLING: again(Cause.STALLED)},
        options=_ONLY_SOCKETS,
        is_silence=True,
    ),
    Row(
        "ignore_upgrade, then hang up, WebSocket only",
        'the same with `transport="websocket"`',
        (Fault(Action.IGNORE_UPGRADE, seconds=0.02),),
        {Phase.DIALLING: again(Cause.CONNECTION)},
        options=_ONLY_SOCKETS,
    ),
)

_NOT_OVER_HTTP = (Phase.DIALLING, Phase.IDLE, Phase.ROTATING)


def cells() -> Iterator[Cell]:
    """The matrix."""
    for row in ROWS:
        for phase in row.outcomes:
            for way in Way:
                for store in (True, False):
                    cell = Cell(row, phase, way, store)
                    if _makes_sense(cell):
                        yield cell


def _makes_sense(cell: Cell) -> bool:
    """Over HTTP there is no socket to dial, to be idle on or to be replaced."""
    return cell.way is not Way.HTTP or (cell.row.over_http and cell.phase not in _NOT_OVER_HTTP)
