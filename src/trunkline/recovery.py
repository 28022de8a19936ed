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
from typing import Final

from .arguments import check_count, check_flag, check_number
from .errors import (
    ConnectFailed,
    DeadlineExceeded,
    NetworkError,
    ServiceError,
    TurnError,
    UpgradeRefused,
)

PARENT_LOST: Final = "previous_response_not_found"
LIMITS: Final = frozenset({"websocket_connection_limit_reached", "websocket_stream_limit_reached"})
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
class Policy:
    """Bounds of recovery.

    Attributes:
        max_attempts: how often one turn is asked at most.
        backoff_s: the wait before the second attempt, in seconds; doubled with each further one.
        max_backoff_s: the longest wait that is not asked for by the service.
        max_retry_after_s: the longest wait that the service may ask for; beyond it the error is raised.
        waits: also ask again where that takes time. Without, only what can be asked again at once is (a
            parent or a socket that was lost, a limit, HTTP instead of WebSocket); failures of the service,
            time-outs and connections that cannot be made are raised, for a caller who asks again himself.
    """

    max_attempts: int = 4
    backoff_s: float = 0.25
    max_backoff_s: float = 8.0
    max_retry_after_s: float = 60.0
    waits: bool = True

    def __post_init__(self) -> None:
        check_count(self.max_attempts, "Policy.max_attempts")
        for name in ("backoff_s", "max_backoff_s", "max_retry_after_s"):
            check_number(getattr(self, name), f"Policy.{name}")
        check_flag(self.waits, "Policy.waits")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known when an attempt has failed.

    Attributes:
        error: what failed; ``error.sent`` and ``error.started`` tell how far it had come.
        output_seen: an item or delta has reached the caller.
        attempt: which attempt it was, from 1.
        remaining_s: what is left of the turn's total deadline; ``None`` without one.
        may_replay: asking twice is harmless.
        names_parent: the request named a ``previous_response_id`` of ours.
        jitter: a random number from 0 to 1.
        parent_is_stored: and the service keeps that response by its id.
        http_allowed: the turn may go over HTTP if WebSocket is unavailable.
    """

    error: TurnError
    output_seen: bool
    attempt: int
    remaining_s: float | None
    may_replay: bool
    names_parent: bool
    jitter: float = 0.5
    parent_is_stored: bool = False
    http_allowed: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do.

    Attributes:
        action: what to do next.
        cause: why; ``None`` when the error is raised.
        delay_s: how long to wait first, in seconds.
        forget_parent: the parent that was named is not to be named again.
    """

    action: Action
    cause: Cause | None = None
    delay_s: float = 0.0
    forget_parent: bool = False


_RAISE: Final = Decision(Action.RAISE)


def decide(facts: Facts, policy: Policy) -> Decision:
    """The next step after a failed attempt."""
    decision = _by_error(facts, policy)
    if decision.action is Action.RAISE or _is_allowed(decision, facts, policy):
        return decision
    return Decision(Action.RAISE, forget_parent=decision.forget_parent)


def _is_allowed(decision: Decision, facts: Facts, policy: Policy) -> bool:
    if facts.output_seen or (facts.error.sent and not _may_repeat(facts, decision)):
        return False
    if facts.remaining_s is not None and decision.delay_s >= facts.remaining_s:
        return False
    if not policy.waits and not _is_at_once(decision):
        return False
    # Naming a parent is our own doing, and no reason to fail a turn; in full it cannot fail so again.
    return facts.attempt < policy.max_attempts or decision.cause is Cause.PARENT_LOST


def _is_at_once(decision: Decision) -> bool:
    if decision.action is Action.HTTP or decision.cause in (Cause.PARENT_LOST, Cause.LIMIT):
        return True
    return decision.cause is Cause.CONNECTION and not decision.delay_s


def _may_repeat(facts: Facts, decision: Decision) -> bool:
    """A request that the service refused before it began has done nothing, so asking again is harmless."""
    if facts.may_replay:
        return True
    refused = isinstance(facts.error, ServiceError) and not facts.error.started
    return refused and decision.cause in (Cause.PARENT_LOST, Cause.LIMIT)


def _by_error(facts: Facts, policy: Policy) -> Decision:
    error = facts.error
    if isinstance(error, ServiceError):
        return _by_service(error, facts, policy)
    if isinstance(error, DeadlineExceeded):
        return _by_deadline(error, facts)
    if isinstance(error, UpgradeRefused):
        return _by_upgrade(error, facts, policy)
    if isinstance(error, ConnectFailed):
        if facts.http_allowed:
            return Decision(Action.HTTP, Cause.UPGRADE)
        return Decision(Action.ELSEWHERE, Cause.CONNECTION, _backoff(facts, policy))
    if isinstance(error, NetworkError):
        delay_s = _backoff(facts, policy) if facts.attempt > 1 else 0.0
        return Decision(Action.ELSEWHERE, Cause.CONNECTION, delay_s)
    return _RAISE


def _by_service(error: ServiceError, facts: Facts, policy: Policy) -> Decision:
    if error.code == PARENT_LOST and facts.names_parent:
        return Decision(Action.AGAIN, Cause.PARENT_LOST, forget_parent=True)
    if error.code in LIMITS:
        return Decision(Action.ELSEWHERE, Cause.LIMIT)
    # Whatever else the service refused, it has evicted the parent that only a lane remembered.
    forget = facts.names_parent and not facts.parent_is_stored
    if error.is_transient:
        return _later(Action.AGAIN, Cause.TRANSIENT, error.retry_after_s, facts, policy, forget)
    return Decision(Action.RAISE, forget_parent=forget)


def _later(
    action: Action,
    cause: Cause,
    retry_after_s: float | None,
    facts: Facts,
    policy: Policy,
    forget_parent: bool = False,
) -> Decision:
    """Again after the time that the service asks for, else after the backoff."""
    if retry_after_s is None:
        return Decision(action, cause, _backoff(facts, policy), forget_parent)
    if retry_after_s > policy.max_retry_after_s:
        return Decision(Action.RAISE, forget_parent=forget_parent)
    return Decision(action, cause, max(0.0, retry_after_s), forget_parent)


def _by_deadline(error: DeadlineExceeded, facts: Facts) -> Decision:
    if error.phase == "total":
        return _RAISE
    if error.phase == "connect" and facts.http_allowed:
        return Decision(Action.HTTP, Cause.UPGRADE)
    return Decision(Action.ELSEWHERE, Cause.STALLED)


def _by_upgrade(error: UpgradeRefused, facts: Facts, policy: Policy) -> Decision:
    if facts.http_allowed and error.status != 429:
        return Decision(Action.HTTP, Cause.UPGRADE)
    if error.status == 429 or (error.status >= 500 and error.status != _NO_WEBSOCKET):
        return _later(Action.ELSEWHERE, Cause.UPGRADE, error.retry_after_s, facts, policy)
    return _RAISE


def _backoff(facts: Facts, policy: Policy) -> float:
    """Doubling, with jitter over the upper half, so that many turns do not come back together."""
    longest = min(policy.max_backoff_s, policy.backoff_s * 2.0 ** min(facts.attempt - 1, 64))
    return longest * (0.5 + facts.jitter / 2)
