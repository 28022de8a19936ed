"""The table of faults: the outcome of a turn for each fault and each phase of the turn.

A row is a fault, a column is a phase. `cells` multiplies them: responses stored and not stored, one
connection with many lanes, connections with one lane each, and HTTP. Combinations that cannot occur are left
out: they have no outcome in the row, or `_makes_sense` excludes them.
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
from trunkline.emulator.faults.one_place import TextPlace


class Phase(StrEnum):
    """The phase of a turn in which the fault occurs."""

    DIALLING = "dialling"
    SENT = "sent"
    CREATED = "created"
    REASONING = "reasoning"
    TEXT = "mid-text"
    CALL = "mid-tool-call"
    TERMINAL = "before the terminal"
    IDLE = "idle"
    ROTATING = "rotating"
    REFUSED = "parent refused"
    IGNORED = "parent ignored"
    ONE_PLACE = "text in one place"


class Way(StrEnum):
    """The transport of a turn."""

    MANY = "many lanes"
    ONE = "one lane"
    HTTP = "HTTP"


@dataclass(frozen=True)
class Answered:
    """The turn is answered, without notice of the faults to its caller.

    Attributes:
        causes: the cause of each further attempt.
        over_http: the last attempt used HTTP.
        in_full: the last attempt sent the whole context, also if the parent is stored.
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
        name: the name in the page and in the ids of tests.
        text: the behaviour of the server.
        faults: the faults for the emulator, without their position.
        outcomes: the outcome of the turn, by phase; a missing phase cannot occur.
        falls: the error of other turns on the same connection; ``None`` if they continue.
        unstored: different outcomes for responses that are not stored.
        without_parent: different outcomes where the request names no parent: not stored, over HTTP.
        options: arguments of the client.
        over_http: whether the fault can occur over HTTP.
        is_silence: the server falls silent, so that deadlines must be short.
        model: the failing step of the model, if the model is the fault.
    """

    name: str
    text: str
    faults: tuple[Fault, ...]
    outcomes: Mapping[Phase, Outcome]
    falls: type[TurnError] | None = None
    unstored: Mapping[Phase, Outcome] = field(default_factory=dict)
    without_parent: Mapping[Phase, Outcome] = field(default_factory=dict)
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
        """The expected outcome of the turn."""
        given = self.row.outcomes[self.phase]
        different = self.row.unstored.get(self.phase, given) if not self.store else given
        if not self.store and self.way is Way.HTTP:
            different = self.row.without_parent.get(self.phase, different)
        if self.phase is Phase.IDLE and self.way is not Way.MANY:
            return Answered()  # the turn with the fault is on another connection
        if self.way is Way.HTTP and isinstance(different, Raises) and different.error is ConnectionLost:
            return Raises(ConnectionLost)  # there are no close codes
        return different

    @property
    def neighbour_falls(self) -> type[TurnError] | None:
        """The error of another conversation that streams on the same connection; ``None`` for none."""
        return self.row.falls if self.way is Way.MANY and self.phase is not Phase.DIALLING else None

    def __str__(self) -> str:
        return f"{self.row.name}, {self.phase}, {self.way}, {'' if self.store else 'not '}stored"


BEFORE_OUTPUT = (Phase.SENT, Phase.CREATED)
WITHOUT_PARENT = (Phase.REFUSED, Phase.IGNORED)
AFTER_OUTPUT = (Phase.REASONING, Phase.TEXT, Phase.CALL, Phase.TERMINAL, Phase.ROTATING)

NOTHING = Answered()
"""The turn is answered in its first attempt."""


def again(*causes: Cause, over_http: bool = False, in_full: bool = False) -> Answered:
    """Answered after another attempt."""
    return Answered(causes, over_http, in_full)


def raises(error: type[TurnError], **facts: Any) -> Raises:
    """The turn ends with this error."""
    return Raises(error, facts)


def _streaming(
    before: Outcome, after: Outcome, idle: Outcome | None = NOTHING, **different: Outcome
) -> dict[Phase, Outcome]:
    """Outcomes before output, after output, and of an idle conversation on the same connection."""
    found: dict[Phase, Outcome] = dict.fromkeys(BEFORE_OUTPUT, before)
    found |= dict.fromkeys(AFTER_OUTPUT, after)
    if idle is not None:
        found[Phase.IDLE] = idle
    found |= {Phase[name]: outcome for name, outcome in different.items()}
    # The fault occurs before output. The text in the final response is read with the end of the stream.
    created = found[Phase.CREATED]
    found.setdefault(Phase.REFUSED, _in_full_after(Cause.PARENT_REFUSED, created))
    found.setdefault(Phase.IGNORED, _in_full_after(Cause.PARENT_IGNORED, created))
    found.setdefault(Phase.ONE_PLACE, created)
    return found


def _in_full_after(cause: Cause, outcome: Outcome) -> Outcome:
    """The outcome of a fault in the attempt that follows a parent that was of no use."""
    if isinstance(outcome, Raises):
        return outcome
    return Answered((cause, *outcome.causes), outcome.over_http, in_full=True)


def _dialling(outcome: Outcome, rotating: Outcome = NOTHING) -> dict[Phase, Outcome]:
    """Outcomes of a turn that needs a connection, and of one that runs while the old one is replaced."""
    return {Phase.DIALLING: outcome, Phase.ROTATING: rotating}


def _parent_refused(name: str, text: str, *faults: Fault, over_http: bool = True) -> Row:
    """A request is refused because of its parent, in words of the server's own."""
    status = faults[0].status
    return Row(
        f"reject, {name}",
        f"refuses the parent {text}",
        faults,
        {Phase.SENT: _WITHOUT_PARENT, Phase.IDLE: NOTHING},
        without_parent={Phase.SENT: raises(ResponseRefused, status=status, code=faults[0].code)},
        over_http=over_http,
    )


def _one_place(place: TextPlace, text: str) -> Row:
    fault = Fault(Action.ONE_PLACE, place=place)
    return Row(f"one_place, {place}", text, (fault,), {Phase.SENT: NOTHING, Phase.IDLE: NOTHING})


def _legal(name: str, text: str, fault: Fault) -> Row:
    return Row(name, text, (fault,), _streaming(NOTHING, NOTHING))


_FORGOTTEN = again(Cause.PARENT_LOST, in_full=True)
_WITHOUT_PARENT = again(Cause.PARENT_REFUSED, in_full=True)
_REFUSED = raises(ResponseRefused, status=400, code="invalid_prompt")
_IGNORED = again(Cause.PARENT_IGNORED, in_full=True)
_TRANSIENT = again(Cause.TRANSIENT)
_ONLY_SOCKETS = {"transport": "websocket"}
_WAIT = {"retry-after": "0.02"}

ROWS: tuple[Row, ...] = (
    Row(
        "drop",
        "closes the TCP connection without a close frame",
        (Fault(Action.DROP),),
        _streaming(again(Cause.CONNECTION), raises(ConnectionLost, close_code=None)),
        falls=ConnectionLost,
    ),
    Row(
        "reset",
        "resets the TCP connection",
        (Fault(Action.RESET),),
        _streaming(again(Cause.CONNECTION), raises(ConnectionLost, close_code=None)),
        falls=ConnectionLost,
    ),
    Row(
        "close 1012",
        "sends a close frame with a code",
        (Fault(Action.CLOSE, close_code=1012),),
        _streaming(again(Cause.CONNECTION), raises(ConnectionLost, close_code=1012)),
        falls=ConnectionLost,
    ),
    Row(
        "connection_limit",
        "reports the age limit of the connection, and closes it",
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
        "sends no further event of this response",
        (Fault(Action.STALL),),
        _streaming(
            again(Cause.STALLED),
            raises(DeadlineExceeded, phase="between_events"),
            REASONING=raises(DeadlineExceeded, phase="first_output"),
        ),
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
        "sends a frame that is not JSON",
        (Fault(Action.CORRUPT),),
        _streaming(again(Cause.CONNECTION), raises(ProtocolViolation)),
        falls=ProtocolViolation,
    ),
    Row(
        "omit content",
        "omits the field `response` of an event",
        (Fault(Action.OMIT, fields=("response",)),),
        _streaming(NOTHING, NOTHING, TERMINAL=raises(ProtocolViolation), ONE_PLACE=again(Cause.CONNECTION)),
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
        _streaming(_WITHOUT_PARENT, _REFUSED, REFUSED=_REFUSED, IGNORED=_REFUSED),
        without_parent=dict.fromkeys(Phase, _REFUSED),
    ),
    Row(
        "flat_error",
        "ends the response with an error in the flat form of older gateways",
        (Fault(Action.FAIL, code="server_error"), Fault(Action.FLAT_ERROR, event_type="error")),
        _streaming(_TRANSIENT, raises(ResponseRefused, status=None, code="server_error")),
    ),
    Row(
        "codex_error",
        "ends the response with an error in the shape of proxies in the manner of Codex",
        (Fault(Action.FAIL, code="server_error"), Fault(Action.CODEX_ERROR, event_type="error")),
        _streaming(_TRANSIENT, raises(ResponseRefused, status=503, code="stream_incomplete")),
    ),
    Row(
        "response.failed, server_error",
        "sends `response.failed` with a transient code",
        (),
        {
            Phase.CREATED: _TRANSIENT,
            Phase.TEXT: raises(ResponseFailed, code="server_error"),
        },
        model=Fail("server_error", "It broke."),
    ),
    Row(
        "response.failed, invalid_prompt",
        "sends `response.failed` with a permanent code",
        (),
        {
            Phase.CREATED: raises(ResponseFailed, code="invalid_prompt"),
            Phase.TEXT: raises(ResponseFailed, code="invalid_prompt"),
        },
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
        {Phase.SENT: _WITHOUT_PARENT, Phase.IDLE: NOTHING},
        without_parent={Phase.SENT: _REFUSED},
    ),
    Row(
        "reject, stream limit",
        "accepts no more lanes on this connection",
        (Fault(Action.REJECT, status=400, code="websocket_stream_limit_reached"),),
        {Phase.SENT: again(Cause.LIMIT), Phase.IDLE: NOTHING},
        over_http=False,
    ),
    Row(
        "forget",
        "forgets the latest response of each lane before the request",
        (Fault(Action.FORGET),),
        {Phase.SENT: NOTHING, Phase.IDLE: NOTHING},
        unstored={Phase.SENT: _FORGOTTEN, Phase.IDLE: _FORGOTTEN},
        over_http=False,
    ),
    Row(
        "slow_read",
        "does not read for 50 ms",
        (Fault(Action.SLOW_READ, seconds=0.05),),
        {Phase.SENT: NOTHING, Phase.IDLE: NOTHING},
        over_http=False,
    ),
    _parent_refused(
        "in other words",
        "with 404 and words of its own",
        Fault(Action.REJECT, status=404, message="Response with id=resp_x could not be found."),
    ),
    _parent_refused(
        "another code",
        "with 422 and a code of its own",
        Fault(Action.REJECT, status=422, code="unsupported", message="previous_response_id: not supported"),
    ),
    _parent_refused(
        "without a type",
        "in a frame without `type`",
        Fault(Action.REJECT, status=400, message="Argument not supported: instructions and parents"),
        Fault(Action.OMIT, event_type="error", fields=("type", "status", "sequence_number")),
        over_http=False,
    ),
    Row(
        "ignore_parent",
        "ignores the parent",
        (Fault(Action.IGNORE_PARENT),),
        {Phase.SENT: _IGNORED, Phase.IDLE: NOTHING},
        without_parent={Phase.SENT: NOTHING},
    ),
    _one_place("deltas", "sends the text in deltas only"),
    _one_place("done", "sends the text in `done` events only"),
    _one_place("final", "sends the text in the final response only"),
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
        "closes the connection instead of answering the upgrade",
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
        {Phase.DIALLING: NOTHING},  # the dial is repeated, not the turn
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
    """Over HTTP there is no socket to dial, to be idle on or to be replaced, and parents are stored."""
    if not cell.store and cell.phase in WITHOUT_PARENT and cell.way is not Way.MANY:
        return False
    return cell.way is not Way.HTTP or (cell.row.over_http and cell.phase not in _NOT_OVER_HTTP)
