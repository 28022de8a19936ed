"""Reception of one request: from the events of the wire to the events that the caller sees.

Pure: events and times go in, visible events come out. It orders the events, holds back life-cycle events
    until the first output (so that a replay is invisible), follows steers from one response to its successor,
    and fills in what stands in another event: output that the final event lacks, and deltas for text that
    comes in ``done`` events only. The phases::

    WAITING ──any event──▶ BEGUN ──output──▶ OUTPUT ──┬─▶ ENDED    response.completed, response.incomplete
       │                     │                        └─▶ FAILED   error, response.failed, invalid event
       └─────────────────────┴── terminal event ─────────▶ ENDED or FAILED

    WAITING  no event has arrived.
    BEGUN    only events without output have arrived; they are held back.
    OUTPUT   a part of the answer is visible; a replay would repeat it.
    UNEXPLAINED  the response has failed without a reason, which may follow in an ``error`` event.
    ENDED    `final` is the terminal event.
    FAILED   `failure` tells why.

A terminal event of a response that was steered does not end the reception while a successor may follow.
Events after the end are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, auto
from typing import Final, get_args

from msgspec import Raw
from msgspec.structs import replace

from .calls import Calls, announcement, is_call_to_answer, is_encoded_call
from .cut_deltas import CutDelta, CutDeltas
from .events import (
    Delta,
    ErrorEvent,
    EventKind,
    InvalidEvent,
    MadeFrame,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
    ReceivedEvent,
    RefusalDelta,
    ResponseCompleted,
    ResponseCreated,
    ResponseEvent,
    ResponseFailedEvent,
    ResponseIncomplete,
    ServerEvent,
    SteerEvent,
    UnknownOutputEvent,
)
from .failure import Failure
from .items import Item, TurnInput
from .json import encode
from .open_items import CallPart, OpenItems, calls_in, without_item
from .ordering import Ordering
from .refusal_text import RefusalText, may_refuse, told_refusal
from .refusals import explained, failed_response, is_unexplained, refusal
from .response import Response
from .steers import NO_STEERS, Steer, Steers
from .whole_text import WholeTexts, told

MAX_HELD_BACK: Final = 1024
"""Events without output that a response may have before its first output."""


class ReceptionPhase(IntEnum):
    """How far a response has come, in this order."""

    WAITING = auto()
    BEGUN = auto()
    OUTPUT = auto()
    UNEXPLAINED = auto()
    ENDED = auto()
    FAILED = auto()

    @property
    def is_over(self) -> bool:
        """Whether no further event is visible."""
        return self >= _ENDED


# Bound once: looking an enumeration's member up costs more than the rest of a comparison.
_OUTPUT: Final = EventKind.OUTPUT
_FAILED: Final = EventKind.FAILED
_IN_PROGRESS: Final = EventKind.IN_PROGRESS
_REASONS: Final = frozenset({EventKind.FAILED, EventKind.ERROR})
_IN_OUTPUT: Final = ReceptionPhase.OUTPUT
_ENDED: Final = ReceptionPhase.ENDED
_CALL_PARTS: Final = frozenset(get_args(CallPart))
_MAY_HOLD_TEXT: Final = frozenset({OutputTextDone, OutputItemDone, UnknownOutputEvent})


class Reception:
    """What one request received.

    Attributes:
        phase: how far the response has come.
        is_speaking: text has become visible and the response goes on, so that the next text delta in order
            needs no `receive`.
        final: the terminal event, once ENDED.
        failure: the reason, once FAILED.
        response: the latest response that has begun or ended.
        expected_parent: the response that the request named, until an event has shown that it was used.
        tells_parent: the response showed at its beginning which response it continues, if any.
        has_started: the response had begun.
        first_event_at: the time of the first event; ``None`` before it.
        first_output_at: the time of the first output.
        first_text_at: the time of the first text delta.
        open_items: the output items that have begun and are not done.
        ordering: the order of the events.
        steers: the steers that were sent into the response.
    """

    __slots__ = (
        "_begun",
        "_call_parts",
        "_calls",
        "_cut_deltas",
        "_done_items",
        "_ended",
        "_held_back",
        "_refusal",
        "_unannounced",
        "_unexplained",
        "_whole_texts",
        "expected_parent",
        "failure",
        "final",
        "first_event_at",
        "first_output_at",
        "first_text_at",
        "has_started",
        "is_speaking",
        "open_items",
        "ordering",
        "phase",
        "response",
        "steers",
        "tells_parent",
    )

    def __init__(self) -> None:
        self.phase: ReceptionPhase = ReceptionPhase.WAITING
        self.is_speaking: bool = False
        self.final: ResponseCompleted | ResponseIncomplete | None = None
        self.failure: Failure | None = None
        self.response: Response | None = None
        self.expected_parent: str | None = None
        self.tells_parent: bool = False
        self.has_started: bool = False
        self.first_event_at: float | None = None
        self.first_output_at: float | None = None
        self.first_text_at: float | None = None
        self.open_items: OpenItems = ()
        self.ordering: Ordering = Ordering()
        # Most responses are never steered, and hold nothing back once output is visible. What would be empty
        # all the time is not made: objects that the collector tracks delay all turns when it runs.
        self.steers: Steers = NO_STEERS
        self._begun = 0  # a bit for each kind of life-cycle event that the response had at its beginning
        self._held_back: list[ServerEvent] | None = None
        self._done_items: list[OutputItemDone] | None = None
        self._whole_texts: WholeTexts | None = None
        self._refusal: RefusalText | None = None
        self._calls: Calls | None = None
        self._cut_deltas: CutDeltas | None = None
        self._call_parts: list[CallPart] | None = None
        self._unannounced: Sequence[OutputItemDone] = ()
        self._unexplained: Failure | None = None
        # The response has ended, and a steer may bring a successor.
        self._ended: ResponseCompleted | ResponseIncomplete | None = None

    def receive(
        self, event: ReceivedEvent, now: float, *, epoch_s: float = 0.0, may_go_on: bool = False
    ) -> list[ServerEvent]:
        """The events that become visible with this one.

        Args:
            event: the event, in the order of its arrival.
            now: the time of its arrival, in seconds.
            epoch_s: the same, since the epoch; dates in errors are compared to it.
            may_go_on: a successor may follow when the response has ended.
        """
        if self._ended is not None and isinstance(event, ResponseEvent):
            begun = self._succeed(self._ended, now)
            return [*begun, *self.receive(event, now, epoch_s=epoch_s, may_go_on=may_go_on)]
        if self.first_event_at is None:
            self.first_event_at = now
        if type(event) is CutDelta and self._cut_deltas is None:
            self._cut_deltas = CutDeltas()
        if self.ordering.follows(event):  # most events: in order, and nothing waits
            if self.phase is _IN_OUTPUT and event.kind is _OUTPUT and self._cut_deltas is None:
                return self._note_output(event, now)  # type: ignore[arg-type] # an invalid event is no output
            return self._show([event], now, epoch_s, may_go_on)
        in_order = self.ordering.admit(event)
        if self.ordering.held and (event.kind.is_terminal or event.kind is EventKind.ERROR):
            in_order = [*self.ordering.flush(), *in_order]
        return self._show(in_order, now, epoch_s, may_go_on)

    def steer(self, given: TurnInput, items: list[Item]) -> Steer:
        """Record a steer that was sent."""
        return self._own_steers().add(given, items)

    def release(self, now: float) -> list[ServerEvent]:
        """The delta that waits for the second half of a character, because no event follows."""
        cut_deltas = self._cut_deltas
        if cut_deltas is None:
            return []
        return self._show(cut_deltas.release(), now, 0.0, may_go_on=False)

    def fail(self, failure: Failure) -> None:
        """End without a response. Does nothing after the end."""
        if not self.phase.is_over:
            self.phase = ReceptionPhase.FAILED
            unexplained = self._unexplained
            self.failure = failure if unexplained is None or failure.is_of_service else unexplained
            self.is_speaking = False
            self._held_back = None

    def _own_steers(self) -> Steers:
        if self.steers is NO_STEERS:
            self.steers = Steers()
        return self.steers

    def _show(
        self, in_order: list[ReceivedEvent], now: float, epoch_s: float, may_go_on: bool
    ) -> list[ServerEvent]:
        visible: list[ServerEvent] = []
        if self._cut_deltas is not None:
            in_order = self._cut_deltas.joined(in_order)
        for each in in_order:
            if self.final is not None or self.failure is not None:
                break
            if self._unexplained is not None and each.kind not in _REASONS:
                continue
            visible += self._take(each, now, epoch_s)
            if self._ended is not None and not may_go_on and self.failure is None:
                visible += self._conclude(self._ended, now)
        if self._cut_deltas is not None and self._cut_deltas.waiting is not None:
            self.ordering.close_shortcut()  # the next delta must not pass the half that waits
        return visible

    def _take(self, event: ReceivedEvent, now: float, epoch_s: float) -> list[ServerEvent]:
        if self.expected_parent is not None and not self._continues_parent(event):
            self.fail(Failure.ignored())
            return []
        kind = event.kind
        if kind <= _IN_PROGRESS:  # some servers repeat the beginning, without usable numbers
            begun, bit = self._begun, 1 << kind
            if begun & bit:
                return []
            self._begun = begun | bit
        if isinstance(event, ResponseCreated):
            return self._begin_response(event, now)
        if isinstance(event, ResponseCompleted | ResponseIncomplete):
            self.has_started = True
            if self.response is None:  # some servers send no response.created
                self.tells_parent = event.response.tells_parent
            self._ended = self._filled_in(event)
            return []
        if isinstance(event, SteerEvent):
            self.steers.resolve(event)
        elif isinstance(event, ErrorEvent):
            if self._ended is not None and not self.steers.are_accepted:
                return []  # it is about a steer: the response has ended
            failure = refusal(event, started=self.has_started, now=epoch_s)
            if self._unexplained is not None:
                self.fail(explained(self._unexplained, failure))
            elif self.has_started and is_unexplained(event):
                self._await_reason(failure)
            else:
                self.fail(failure)
            return []
        elif isinstance(event, ResponseFailedEvent):
            self.response = event.response
            failure = failed_response(event, now=epoch_s)
            if self._unexplained is None and is_unexplained(event):
                self._await_reason(failure)
            else:
                self.fail(failure)
            return []
        elif isinstance(event, InvalidEvent):
            problem = f"received an invalid {event.wire_type} event: {event.problem}"
            self.fail(Failure.violation(problem, sent=True, started=True))
            return []
        else:
            self.has_started = True
        return self._pass_on(event, now)

    def _await_reason(self, failure: Failure) -> None:
        """The response has failed, and an event with the reason may follow."""
        self._unexplained = failure
        self.phase = ReceptionPhase.UNEXPLAINED
        self.is_speaking = False

    def _continues_parent(self, event: ReceivedEvent) -> bool:
        """Whether a response that begins with this event continues the parent that the request named.

        A server that names another parent, or none before the output, has answered without the context.
        """
        kind = event.kind
        parent = self.expected_parent
        assert parent is not None
        if isinstance(event, ResponseEvent) and kind is not _FAILED:
            if not event.response.continues(parent):
                return False
            self.expected_parent = None
        return kind is not _OUTPUT

    def _begin_response(self, event: ResponseCreated, now: float) -> list[ServerEvent]:
        """The first response of the request, or the successor of a steered one."""
        self.has_started = True
        self.response = event.response
        self.tells_parent = event.response.tells_parent
        return self._pass_on(event, now)

    def _succeed(self, ended: ResponseCompleted | ResponseIncomplete, now: float) -> list[ServerEvent]:
        """The successor of a steered response begins. Its first event need not be ``response.created``."""
        visible = [*self._announcements(), *self._pass_on(ended, now)]
        self._own_steers().succeed(ended)
        self._ended = None
        self.ordering.restart()
        self._begun = 0
        self._done_items = None
        self._whole_texts = None
        self._refusal = None
        self._calls = None
        self._call_parts = None
        self.open_items = ()
        self.is_speaking = False
        return visible

    def _pass_on(self, event: ServerEvent, now: float) -> list[ServerEvent]:
        # A delta without text counts for nothing: gateways open an answer with one.
        is_output = event.kind is _OUTPUT and not (isinstance(event, Delta) and not event.delta)
        shown = self._note_output(event, now) if is_output else [event]
        if self.phase is _IN_OUTPUT:
            return shown
        # A compaction that begins shows nothing before it is done.
        if not is_output or (type(event) is OutputItemAdded and b'"compaction"' in event.raw):
            self._hold_back(event)
            return []
        self.first_output_at = now
        self.phase = _IN_OUTPUT
        return [*self._taken_back(), *shown]

    def _note_output(self, event: ServerEvent, now: float) -> list[ServerEvent]:
        """Note a part of the output. Returns what becomes visible with it."""
        kind = type(event)
        if kind is OutputTextDelta:
            if event.delta:  # type: ignore[union-attr]
                self.is_speaking = True
                if self.first_text_at is None:
                    self.first_text_at = now
            return [event]
        told = [] if self.is_speaking or kind not in _MAY_HOLD_TEXT else self._told(event, now)
        if kind is OutputItemAdded:
            self.open_items += (event,)  # type: ignore[operator]
        elif kind is OutputItemDone:
            self.open_items = without_item(self.open_items, event)  # type: ignore[arg-type]
            if not self.open_items:
                self._call_parts = None
            done = self._done(event)  # type: ignore[arg-type]
            return [*told, done] if done is not None else told
        elif kind in _CALL_PARTS:
            self._call_parts = self._call_parts or []
            self._call_parts.append(event)  # type: ignore[arg-type]
        elif kind is RefusalDelta:
            self._own_refusal().note(event)  # type: ignore[arg-type]
        return [*told, event]

    def _told(self, event: ServerEvent, now: float) -> list[ServerEvent]:
        """Deltas for text, and for a refusal, that come without one."""
        found: list[ServerEvent] = []
        if self._whole_texts is None:
            self._whole_texts = WholeTexts()
        if text := self._whole_texts.new_text(event):
            if self.first_text_at is None:
                self.first_text_at = now
            found.append(told(text, event.stream_id))
        if may_refuse(event.raw) and (refused := self._own_refusal().new_text(event)):
            found.append(told_refusal(refused, event.stream_id))
        return found

    def _own_refusal(self) -> RefusalText:
        if self._refusal is None:
            self._refusal = RefusalText()
        return self._refusal

    def _done(self, event: OutputItemDone) -> OutputItemDone | None:
        """The event with a complete call; ``None`` for a call that was announced before."""
        if self._done_items is None:
            self._done_items = []
        if is_encoded_call(event.encoded_item):
            item = event.item
            calls = self._own_calls()
            known = len(calls)
            call = calls.take(item, self._response_id, is_finished=True)
            if call is None:
                return None
            if call is not item:
                event = replace(event, encoded_item=Raw(encode(call)))
            if len(calls) == known:  # it was announced before without arguments
                others = (each for each in self._done_items if each.item.get("call_id") != call["call_id"])
                self._done_items = list(others)
        if not self._done_items or not _is_repeated(event, self._done_items):
            self._done_items.append(event)
        return event

    def _own_calls(self) -> Calls:
        if self._calls is None:
            self._calls = Calls()
        return self._calls

    @property
    def is_unexplained(self) -> bool:
        """Whether the response failed without a reason, and none followed."""
        return self.failure is not None and self.failure is self._unexplained

    @property
    def has_own_call_ids(self) -> bool:
        """Whether a call has an id that the service does not know: the response cannot be continued."""
        return self._calls is not None and self._calls.has_own_ids

    @property
    def _response_id(self) -> str:
        return self.response.id if self.response is not None else ""

    @property
    def held_back_bytes(self) -> int:
        """The size of the events that are held back until the first output."""
        return sum(len(event.raw) for event in self._held_back or ())

    def _hold_back(self, event: ServerEvent) -> None:
        self.phase = ReceptionPhase.BEGUN
        if self._held_back is None:
            self._held_back = []
        self._held_back.append(event)
        if len(self._held_back) > MAX_HELD_BACK:
            problem = f"the server sent {MAX_HELD_BACK} events of a response and no output"
            self.fail(Failure.violation(problem, sent=True, started=True))

    def _filled_in(
        self, event: ResponseCompleted | ResponseIncomplete
    ) -> ResponseCompleted | ResponseIncomplete:
        """The terminal event with what it lacks, and with each call once."""
        response, begun = event.response, self.response
        # 0. Some servers tell only at the beginning whether they store the response.
        if begun is not None and response.store is None and begun.store is not None:
            response = response.with_store(begun.store)
            event = replace(event, response=response)
        # 1. Some gateways leave the output out of the final event, and some the ends of calls as well.
        begun_only = self._begun_calls(event)
        if begun_only:
            items = response.encoded_output or self._items_done()
            response = response.with_output([*items, *begun_only])
        if not response.encoded_output:
            items = self._items_done()
            return replace(event, response=response.with_output(items)) if items else event
        # 2. Usually there are no calls.
        if self._calls is None and not any(map(is_call_to_answer, response.output)):
            return event
        # 3. Each call as it was announced, and calls that were announced only.
        calls, is_finished = self._own_calls(), isinstance(event, ResponseCompleted)
        announced = len(calls)
        output: list[Raw] = []
        for encoded, item in zip(response.encoded_output, response.output, strict=True):
            if not is_call_to_answer(item):
                output.append(encoded)
                continue
            call = calls.take(item, response.id, is_finished=is_finished, in_final=True)
            if call is not None:
                output.append(encoded if call is item else Raw(encode(call)))
        output += [Raw(encode(call)) for call in calls.not_in_final()]
        response = response.with_output(output)
        # 4. Calls that no event announced.
        if is_finished:
            answered = {call["call_id"] for call in response.tool_calls}
            self._unannounced = [
                OutputItemDone(
                    encoded_item=Raw(encode(call)),
                    stream_id=event.stream_id,
                    raw=MadeFrame(announcement(call)),
                )
                for call in calls.after(announced)
                if call["call_id"] in answered
            ]
        return replace(event, response=response)

    def _items_done(self) -> list[Raw]:
        return [done.encoded_item for done in self._done_items or ()]

    def _begun_calls(self, event: ResponseCompleted | ResponseIncomplete) -> list[Raw]:
        """The calls that have begun and whose end no event reports."""
        if not self.open_items or not isinstance(event, ResponseCompleted):
            return []
        if any(map(is_call_to_answer, event.response.output)):
            return []
        return [Raw(encode(call)) for call in calls_in(self.open_items, self._call_parts or ())]

    def _conclude(self, final: ResponseCompleted | ResponseIncomplete, now: float) -> list[ServerEvent]:
        refused: list[ServerEvent] = []
        if self._refusal is not None or may_refuse(final.raw):
            refusal = self._own_refusal()
            if left := refusal.left(final.response):
                refused = [told_refusal(left, final.stream_id)]
            final = replace(final, response=refusal.filled_in(final.response))
        self.final = final
        self.response = final.response
        self.phase = ReceptionPhase.ENDED
        self.is_speaking = False
        if self.first_output_at is None and final.response.encoded_output:  # the final event alone has output
            self.first_output_at = now
            self.first_text_at = now if final.response.output_text else None
        self._ended = None
        return self._taken_back() + refused + self._announcements()

    def _announcements(self) -> list[ServerEvent]:
        unannounced, self._unannounced = self._unannounced, ()
        return list(unannounced)

    def _taken_back(self) -> list[ServerEvent]:
        held_back, self._held_back = self._held_back, None
        return held_back or []

    def __repr__(self) -> str:
        return f"<Reception {self.phase.name}>"


def _is_repeated(done: OutputItemDone, before: list[OutputItemDone]) -> bool:
    """Whether an item was done before; servers without sequence numbers repeat events.

    Two items may say the same, unless they have an id.
    """
    same = [each.output_index for each in before if each.encoded_item == done.encoded_item]
    return done.output_index in same or (bool(same) and done.item.get("id") is not None)
