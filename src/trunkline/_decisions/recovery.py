"""Recovery from failures: a pure function from facts to a decision.

====================================================  ==================================================
failure                                               decision
====================================================  ==================================================
any, after output has reached the caller              raise: a replay would repeat the output
any, after sending a request that may not be          raise, except for a refusal before the response with
replayed                                              a code of the next two rows
``previous_response_not_found``                       forget the parent; send in full immediately
item not found by its id                              send in full immediately, without reasoning that has
                                                      only an id
another refusal of a request that named a parent      send in full immediately, except after 429, 5xx,
                                                      overloaded and a used up quota
answer without the parent that was named              forget the parent; send in full immediately
connection limit or stream limit reached              retry on another connection
request larger than a message may be                  HTTP for this turn if allowed; else raise
connection lost before the response to a request      HTTP for this turn if allowed
above 1 MiB began
connection lost, violation, or no first event, twice  HTTP for this turn if allowed: something between
on sockets that have never brought an event           carries the upgrade and no messages
connection lost again by a request that was sent      raise
alone
connection ended by the peer with other requests on   retry alone, on a new connection
it, before an event, twice for requests like this
connection lost, protocol violation                   retry on another connection; delayed from the second
                                                      failure on
no event in time                                      retry on another connection
connection not ready in time, or failed in another    HTTP for this turn if allowed; else retry on another
way than the next rows                                connection
connection cut before it was ready                    HTTP for this turn if allowed; else raise: it was
                                                      dialled until the deadline ``connect``
server not reached until the deadline ``connect``,    raise: HTTP has the same server
unknown name, failure of TLS
upgrade refused with 429                              retry on another connection after a delay
upgrade refused                                       HTTP for this turn if allowed; else retry after a
                                                      delay for 5xx (not 501), and raise for other statuses
429, 5xx, overloaded                                  retry after a delay; forget an unstored parent
other 4xx                                             raise; forget an unstored parent
deadline ``total``, slow consumer                     raise
attempts or time used up; no event in time, and none  raise
in more than twice that time since the start
====================================================  ==================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, assert_never

from .._protocol.failure import Failure, FailureKind
from .._protocol.refusals import LIMITS, PARENT_LOST, concerns_item, may_concern_parent
from ..options import Phase, Policy

_TOO_MANY_REQUESTS: Final = 429
_NO_WEBSOCKET: Final = 501
_BARREN_SOCKETS: Final = 2
_SILENCES: Final = frozenset({FailureKind.CONNECT, FailureKind.DEADLINE})
_FIRST_EVENT_S: Final = 10.0
_SILENT: Final = 2.4
"""How many times the deadline ``first_event`` a server may be silent and be asked again."""
LARGE_BYTES: Final = 2**20
"""The size of a request from which its size may be the reason why a server ends the socket."""


class Action(Enum):
    """The next step of a turn."""

    RAISE = "raise"
    """Raise the error."""

    AGAIN = "again"
    """Retry on any connection."""

    ELSEWHERE = "elsewhere"
    """Retry on another connection."""

    HTTP = "http"
    """Retry over HTTP."""


class Cause(Enum):
    """The cause of a recovery, as counted by metrics."""

    PARENT_LOST = "parent_lost"
    PARENT_REFUSED = "parent_refused"
    PARENT_IGNORED = "parent_ignored"
    ITEM_LOST = "item_lost"
    LIMIT = "limit"
    CONNECTION = "connection"
    STALLED = "stalled"
    UPGRADE = "upgrade"
    TRANSIENT = "transient"
    TOO_LARGE = "too_large"
    SUSPECT = "suspect"


IN_FULL: Final = frozenset({Cause.PARENT_LOST, Cause.PARENT_REFUSED, Cause.PARENT_IGNORED, Cause.ITEM_LOST})
"""Causes after which the rest of the turn names no parent, and no item by its id alone."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of a failed attempt.

    Attributes:
        failure: the failure; ``failure.sent`` and ``failure.started`` give the progress of the attempt.
        output_seen: an item or delta has reached the caller.
        attempt: the number of the attempt, from 1.
        remaining_s: the time until the turn's total deadline, in seconds; ``None`` without one.
        silent_s: the time since the start of the turn without any event, in seconds; 0 after an event.
        first_event_s: the deadline ``first_event``, in seconds; ``None`` without one.
        may_replay: the request may be sent twice, because it has no side effects.
        names_parent: the request named a ``previous_response_id`` chosen by trunkline.
        parent_is_stored: the service stores that response.
        in_full: the request was the full context, without items that have only an id: see `IN_FULL`.
        http_allowed: the turn may use HTTP instead of WebSocket.
        jitter: a random number from 0 to 1.
        sent_bytes: the size of the failed attempt's frame or body.
        barren: the number of attempts that failed on a socket which had never brought an event.
        is_suspect: requests of this shape must be sent alone: see `suspects`.
        was_alone: the request was sent alone for that reason.
    """

    failure: Failure
    output_seen: bool
    attempt: int
    remaining_s: float | None
    may_replay: bool
    names_parent: bool
    parent_is_stored: bool = False
    in_full: bool = False
    http_allowed: bool = False
    jitter: float = 0.5
    silent_s: float = 0.0
    first_event_s: float | None = None
    sent_bytes: int = 0
    barren: int = 0
    is_suspect: bool = False
    was_alone: bool = False

    @property
    def lost_alone(self) -> bool:
        """Whether the request lost its connection again, before an event, although it was sent alone."""
        failure = self.failure
        return self.was_alone and failure.kind is FailureKind.LOST and failure.sent and not failure.started


@dataclass(frozen=True, slots=True)
class Decision:
    """The next step of a turn.

    Attributes:
        action: the step.
        cause: the cause of a further attempt; ``None`` if the failure is raised.
        delay_s: the delay before the attempt, in seconds.
        forget_parent: no later request may name the parent of the failed one.
    """

    action: Action
    cause: Cause | None = None
    delay_s: float = 0.0
    forget_parent: bool = False


_RAISE: Final = Decision(Action.RAISE)


def decide(facts: Facts, policy: Policy) -> Decision:
    """The next step after a failed attempt: the remedy of its failure, if the turn permits it."""
    remedy = _remedy(facts, policy)
    if remedy.action is Action.RAISE or _permits(facts, policy, remedy):
        return remedy
    return Decision(Action.RAISE, forget_parent=remedy.forget_parent)


def _remedy(facts: Facts, policy: Policy) -> Decision:
    """The step that may succeed after this failure, whether or not the turn permits it."""
    failure, backoff_s = facts.failure, _backoff_s(facts, policy)
    match failure.kind:
        case FailureKind.REFUSED | FailureKind.FAILED:
            if failure.code in PARENT_LOST and facts.names_parent:
                return Decision(Action.AGAIN, Cause.PARENT_LOST, forget_parent=True)
            if failure.code in LIMITS:
                return Decision(Action.ELSEWHERE, Cause.LIMIT)
            # A refusal evicts a parent that only its lane has.
            forget = facts.names_parent and not facts.parent_is_stored
            if not facts.in_full and concerns_item(failure):
                return Decision(Action.AGAIN, Cause.ITEM_LOST, forget_parent=forget)
            # In full, to find out: if that is answered, the parent was the reason.
            if facts.names_parent and may_concern_parent(failure):
                return Decision(Action.AGAIN, Cause.PARENT_REFUSED, forget_parent=forget)
            if failure.is_transient:
                return _later(Action.AGAIN, Cause.TRANSIENT, facts, policy, forget_parent=forget)
            return Decision(Action.RAISE, forget_parent=forget)
        case FailureKind.IGNORED:
            return Decision(Action.AGAIN, Cause.PARENT_IGNORED, forget_parent=facts.names_parent)
        case FailureKind.UPGRADE:
            # A rate limit applies to HTTP as well, so HTTP does not help against it.
            status = failure.status or 0
            if facts.http_allowed and status != _TOO_MANY_REQUESTS:
                return Decision(Action.HTTP, Cause.UPGRADE)
            if status == _TOO_MANY_REQUESTS or (status >= 500 and status != _NO_WEBSOCKET):
                return _later(Action.ELSEWHERE, Cause.UPGRADE, facts, policy)
            return _RAISE
        case FailureKind.CONNECT if failure.fault in ("unreachable", "final"):
            return _RAISE
        case FailureKind.CONNECT if facts.http_allowed:
            return Decision(Action.HTTP, Cause.UPGRADE)
        case FailureKind.CONNECT if failure.fault == "cut":
            return _RAISE
        case FailureKind.CONNECT:
            return Decision(Action.ELSEWHERE, Cause.CONNECTION, backoff_s)
        case FailureKind.TOO_LARGE:
            return Decision(Action.HTTP, Cause.TOO_LARGE) if facts.http_allowed else _RAISE
        case FailureKind.LOST if facts.http_allowed and _may_be_too_large(facts):
            return Decision(Action.HTTP, Cause.TOO_LARGE)
        case FailureKind.LOST | FailureKind.VIOLATION if _carries_nothing(facts):
            return Decision(Action.HTTP, Cause.UPGRADE)
        case FailureKind.LOST if facts.lost_alone:
            return _RAISE
        case FailureKind.LOST if facts.is_suspect and failure.neighbours:
            return Decision(Action.ELSEWHERE, Cause.SUSPECT)
        case FailureKind.LOST | FailureKind.VIOLATION:
            # The first retry is immediate: another connection is usually ready.
            return Decision(Action.ELSEWHERE, Cause.CONNECTION, backoff_s if facts.attempt > 1 else 0.0)
        case FailureKind.DEADLINE if failure.phase == Phase.TOTAL:
            return _RAISE
        case FailureKind.DEADLINE if failure.phase == Phase.CONNECT and facts.http_allowed:
            return Decision(Action.HTTP, Cause.UPGRADE)
        case FailureKind.DEADLINE if failure.phase == Phase.FIRST_EVENT and _carries_nothing(facts):
            return Decision(Action.HTTP, Cause.UPGRADE)
        case FailureKind.DEADLINE:
            return Decision(Action.ELSEWHERE, Cause.STALLED)
        case FailureKind.SLOW_CONSUMER:
            return _RAISE
        case _:
            assert_never(failure.kind)


def _may_be_too_large(facts: Facts) -> bool:
    """Whether the server may have ended the socket because of the size of the request.

    The close frame with that reason is often lost: the server resets a connection that is still written to.
    """
    failure = facts.failure
    return failure.sent and not failure.started and facts.sent_bytes > LARGE_BYTES


def _carries_nothing(facts: Facts) -> bool:
    """Whether upgrades succeed and bring nothing, as through a proxy that cuts or swallows messages."""
    return facts.http_allowed and facts.barren >= _BARREN_SOCKETS


def _permits(facts: Facts, policy: Policy, remedy: Decision) -> bool:
    """Whether the turn may be attempted again."""
    failure = facts.failure
    # 1. A replay would deliver the output again that the caller has received.
    if facts.output_seen:
        return False
    # 2. A replay would repeat the side effects of the request. A request that the service refused before the
    #    response began had none.
    if failure.sent and not facts.may_replay:
        refused = failure.is_of_service and not failure.started
        if not (refused and (remedy.cause in IN_FULL or remedy.cause is Cause.LIMIT)):
            return False
    # 3. The total deadline would end the turn during the delay.
    if facts.remaining_s is not None and remedy.delay_s >= facts.remaining_s:
        return False
    # 4. With the deadlines of a client, a server that never answers is given up after 30 s: an attempt that
    #    begins now would end later.
    if failure.kind in _SILENCES:
        longest_s = _SILENT * max(_FIRST_EVENT_S, facts.first_event_s or 0.0)
        if facts.silent_s >= longest_s:
            return False
    # 5. Callers with retries of their own want immediate ones only.
    if not policy.waits:
        immediate = (
            remedy.action is Action.HTTP
            or remedy.cause in IN_FULL
            or remedy.cause in (Cause.LIMIT, Cause.SUSPECT)
            or (remedy.cause is Cause.CONNECTION and not remedy.delay_s)
        )
        if not immediate:
            return False
    # 6. The number of attempts is limited. A failure because of a parent or an item does not count: the next
    #    attempt is sent in full, so that it cannot happen twice.
    return facts.attempt < policy.max_attempts or remedy.cause in IN_FULL


def _later(
    action: Action, cause: Cause, facts: Facts, policy: Policy, *, forget_parent: bool = False
) -> Decision:
    """A retry after the delay that the server requires, else after the backoff."""
    retry_after_s = facts.failure.retry_after_s
    if retry_after_s is None:
        return Decision(action, cause, _backoff_s(facts, policy), forget_parent)
    if retry_after_s > policy.max_retry_after_s:
        return Decision(Action.RAISE, forget_parent=forget_parent)
    return Decision(action, cause, max(0.0, retry_after_s), forget_parent)


def _backoff_s(facts: Facts, policy: Policy) -> float:
    """Exponential backoff with jitter over its upper half, so that turns that fail together retry apart."""
    # The exponent is limited, because 2.0 ** 1024 overflows.
    longest = min(policy.max_backoff_s, policy.backoff_s * 2.0 ** min(facts.attempt - 1, 64))
    return longest * (0.5 + facts.jitter / 2)
