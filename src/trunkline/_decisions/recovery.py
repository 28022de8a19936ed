"""What to do after a failure: one pure function from facts to a decision.

====================================================  ================================================
what happened                                         what is done
====================================================  ================================================
output has reached the caller                         the error is raised: nothing is said twice
the request may not be replayed                       the error is raised, once anything was sent
``previous_response_not_found``                       that parent is forgotten; in full, at once
connection or stream limit reached                    another connection
socket lost, no event in time, protocol violated      another connection
upgrade refused or impossible                         HTTP for this turn, where it is allowed; else again
                                                      elsewhere after a while, if that may help
429, 5xx, overloaded                                  again after a while; an unstored parent is forgotten
other 4xx                                             the error is raised; an unstored parent is forgotten
deadline ``total``, slow consumer                     the error is raised
attempts used up, or no time left                     the error is raised
====================================================  ================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, assert_never

from .._protocol.failure import Failure, FailureKind
from ..options import Phase, Policy

CONNECTION_LIMIT: Final = "websocket_connection_limit_reached"
PARENT_LOST: Final = "previous_response_not_found"
LIMITS: Final = frozenset({CONNECTION_LIMIT, "websocket_stream_limit_reached"})
_TOO_MANY_REQUESTS: Final = 429
_NO_WEBSOCKET: Final = 501


class Action(Enum):
    """What a turn does next."""

    RAISE = "raise"
    """Give the error to the caller."""

    AGAIN = "again"
    """Ask again, on the connection that placement finds."""

    ELSEWHERE = "elsewhere"
    """Ask again, on another connection."""

    HTTP = "http"
    """Ask again over HTTP."""


class Cause(Enum):
    """Why a turn was recovered, as metrics count it."""

    PARENT_LOST = "parent_lost"
    LIMIT = "limit"
    CONNECTION = "connection"
    STALLED = "stalled"
    UPGRADE = "upgrade"
    TRANSIENT = "transient"


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of a failed attempt.

    Attributes:
        failure: the failure; ``failure.sent`` and ``failure.started`` tell how far the attempt had come.
        output_seen: an item or delta reached the caller.
        attempt: the number of the attempt, from 1.
        remaining_s: the rest of the turn's total deadline, in seconds; ``None`` without one.
        may_replay: sending the request twice is harmless.
        names_parent: the request named a ``previous_response_id`` of our choice.
        parent_is_stored: the service keeps that response by its id.
        http_allowed: the turn may go over HTTP instead of WebSocket.
        jitter: a random number from 0 to 1.
    """

    failure: Failure
    output_seen: bool
    attempt: int
    remaining_s: float | None
    may_replay: bool
    names_parent: bool
    parent_is_stored: bool = False
    http_allowed: bool = False
    jitter: float = 0.5


@dataclass(frozen=True, slots=True)
class Decision:
    """The next step of a turn.

    Attributes:
        action: the step.
        cause: the reason for a further attempt; ``None`` when the failure is raised.
        delay_s: the wait before it, in seconds.
        forget_parent: the parent that was named must not be named again.
    """

    action: Action
    cause: Cause | None = None
    delay_s: float = 0.0
    forget_parent: bool = False


_RAISE: Final = Decision(Action.RAISE)


def decide(facts: Facts, policy: Policy) -> Decision:
    """The next step after a failed attempt: the remedy of its failure, if the turn still permits one."""
    remedy = _remedy(facts, policy)
    if remedy.action is Action.RAISE or _permits(facts, policy, remedy):
        return remedy
    return Decision(Action.RAISE, forget_parent=remedy.forget_parent)


def _permits(facts: Facts, policy: Policy, remedy: Decision) -> bool:
    failure = facts.failure
    # 1. Text that reached the caller cannot be taken back: a replay would deliver it twice.
    if facts.output_seen:
        return False
    # 2. A request that may have acted is not repeated. One that the service refused before the response
    #    began has done nothing.
    if failure.sent and not facts.may_replay:
        refused = failure.is_of_service and not failure.started
        if not (refused and remedy.cause in (Cause.PARENT_LOST, Cause.LIMIT)):
            return False
    # 3. The total deadline ends the turn during the wait.
    if facts.remaining_s is not None and remedy.delay_s >= facts.remaining_s:
        return False
    # 4. A caller with retries of his own wants only those that take no time.
    if not policy.waits and not _is_immediate(remedy):
        return False
    # 5. Attempts are bounded. A lost parent is not the caller's fault, and cannot be lost again: the next
    #    attempt is sent in full.
    return facts.attempt < policy.max_attempts or remedy.cause is Cause.PARENT_LOST


def _is_immediate(remedy: Decision) -> bool:
    if remedy.action is Action.HTTP or remedy.cause in (Cause.PARENT_LOST, Cause.LIMIT):
        return True
    return remedy.cause is Cause.CONNECTION and not remedy.delay_s


def _remedy(facts: Facts, policy: Policy) -> Decision:
    """What may help against this failure, whether or not the turn permits it."""
    failure, backoff_s = facts.failure, _backoff_s(facts, policy)
    match failure.kind:
        case FailureKind.REFUSED | FailureKind.FAILED:
            return _remedy_of_service(facts, policy)
        case FailureKind.DEADLINE if failure.phase == Phase.TOTAL:
            return _RAISE
        case FailureKind.DEADLINE if failure.phase == Phase.CONNECT and facts.http_allowed:
            return Decision(Action.HTTP, Cause.UPGRADE)
        case FailureKind.DEADLINE:
            return Decision(Action.ELSEWHERE, Cause.STALLED)
        case FailureKind.UPGRADE:
            return _remedy_of_upgrade(facts, policy)
        case FailureKind.CONNECT if facts.http_allowed:
            return Decision(Action.HTTP, Cause.UPGRADE)
        case FailureKind.CONNECT:
            return Decision(Action.ELSEWHERE, Cause.CONNECTION, backoff_s)
        case FailureKind.LOST | FailureKind.VIOLATION:
            # At once the first time: another connection is usually ready.
            return Decision(Action.ELSEWHERE, Cause.CONNECTION, backoff_s if facts.attempt > 1 else 0.0)
        case FailureKind.SLOW_CONSUMER:
            return _RAISE
        case _:
            assert_never(failure.kind)


def _remedy_of_service(facts: Facts, policy: Policy) -> Decision:
    failure = facts.failure
    if failure.code == PARENT_LOST and facts.names_parent:
        return Decision(Action.AGAIN, Cause.PARENT_LOST, forget_parent=True)
    if failure.code in LIMITS:
        return Decision(Action.ELSEWHERE, Cause.LIMIT)
    # A refusal evicts the parent that only its lane remembers.
    forget = facts.names_parent and not facts.parent_is_stored
    if failure.is_transient:
        return _later(Action.AGAIN, Cause.TRANSIENT, facts, policy, forget_parent=forget)
    return Decision(Action.RAISE, forget_parent=forget)


def _remedy_of_upgrade(facts: Facts, policy: Policy) -> Decision:
    # A rate limit holds for HTTP as well.
    status = facts.failure.status or 0
    if facts.http_allowed and status != _TOO_MANY_REQUESTS:
        return Decision(Action.HTTP, Cause.UPGRADE)
    if status == _TOO_MANY_REQUESTS or (status >= 500 and status != _NO_WEBSOCKET):
        return _later(Action.ELSEWHERE, Cause.UPGRADE, facts, policy)
    return _RAISE


def _later(
    action: Action, cause: Cause, facts: Facts, policy: Policy, *, forget_parent: bool = False
) -> Decision:
    """Again after the wait that the server names, else after the backoff."""
    retry_after_s = facts.failure.retry_after_s
    if retry_after_s is None:
        return Decision(action, cause, _backoff_s(facts, policy), forget_parent)
    if retry_after_s > policy.max_retry_after_s:
        return Decision(Action.RAISE, forget_parent=forget_parent)
    return Decision(action, cause, max(0.0, retry_after_s), forget_parent)


def _backoff_s(facts: Facts, policy: Policy) -> float:
    """Doubling, with jitter over the upper half, so that many turns do not come back together."""
    longest = min(policy.max_backoff_s, policy.backoff_s * 2.0 ** min(facts.attempt - 1, 64))
    return longest * (0.5 + facts.jitter / 2)
