"""Record of one failure of an attempt, as it travels between the layers.

A connection or an exchange reports a `Failure` to each request it carried. Recovery decides from its fields.
An exception is made from it once, by `exception`, where the turn raises it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, assert_never

from ..errors import (
    ConnectFailed,
    ConnectFault,
    ConnectionLost,
    DeadlineExceeded,
    NetworkError,
    ProtocolViolation,
    ResponseFailed,
    ResponseRefused,
    ServiceError,
    SlowConsumer,
    TurnError,
    UpgradeRefused,
)
from ..tracebacks import without_frames


class FailureKind(Enum):
    """The type of exception that a failure becomes."""

    CONNECT = "connect"
    UPGRADE = "upgrade"
    LOST = "lost"
    TOO_LARGE = "too large"
    VIOLATION = "violation"
    IGNORED = "parent ignored"
    DEADLINE = "deadline"
    REFUSED = "refused"
    FAILED = "failed"
    SLOW_CONSUMER = "slow consumer"


_EXCEPTIONS: Final[Mapping[FailureKind, type[TurnError]]] = {
    FailureKind.CONNECT: ConnectFailed,
    FailureKind.UPGRADE: UpgradeRefused,
    FailureKind.LOST: ConnectionLost,
    FailureKind.TOO_LARGE: ConnectionLost,
    FailureKind.VIOLATION: ProtocolViolation,
    FailureKind.IGNORED: ProtocolViolation,
    FailureKind.DEADLINE: DeadlineExceeded,
    FailureKind.REFUSED: ResponseRefused,
    FailureKind.FAILED: ResponseFailed,
    FailureKind.SLOW_CONSUMER: SlowConsumer,
}
TOO_LARGE: Final = 1009
"""The close code of a server that received a message above its limit."""
_SERVICE: Final = frozenset({FailureKind.REFUSED, FailureKind.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Failure:
    """Facts of one failure. Fields that a kind does not use keep their defaults.

    Attributes:
        kind: which exception it becomes.
        message: the exception's message. Unused by DEADLINE, UPGRADE and SLOW_CONSUMER, whose exceptions
            render their own.
        sent: the request may have reached the server.
        started: the response had begun.
        cause: the exception below it, for ``__cause__``, which shows no local variables.
        fault: CONNECT: what prevented the connection.
        phase: DEADLINE: the phase that took too long.
        waited_s: DEADLINE: the limit of that phase, in seconds.
        close_code: LOST, TOO_LARGE: the WebSocket close code.
        reason: LOST: the reason sent with the close code.
        neighbours: LOST: the number of other requests that were lost because the peer ended the connection.
        suspect: LOST: the request may be the reason: it was sent alone, and lost its connection again.
        status: UPGRADE, REFUSED: the HTTP status.
        headers: UPGRADE: the headers of the HTTP response, names in lower case.
        body: UPGRADE: the beginning of the body of the HTTP response.
        retry_after_s: UPGRADE, REFUSED, FAILED: the wait that the server asks for, in seconds.
        should_retry: REFUSED, FAILED: the server's own word on whether the request may be repeated.
        code: REFUSED, FAILED: the error code.
        error_type: REFUSED, FAILED: the error type.
        param: REFUSED: the request field that the error names.
        request_id: REFUSED: the ``x-request-id`` header.
        response_id: FAILED: the id of the response.
        response: FAILED: the response resource, as plain JSON.
        raw: REFUSED, FAILED: the event, as received.
        buffered: SLOW_CONSUMER: the number of unread events.
        buffered_bytes: SLOW_CONSUMER: their size.
    """

    kind: FailureKind
    message: str = ""
    sent: bool = False
    started: bool = False
    cause: BaseException | None = None
    fault: ConnectFault = "other"
    phase: str = ""
    waited_s: float = 0.0
    close_code: int | None = None
    reason: str = ""
    neighbours: int = 0
    suspect: bool = False
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    retry_after_s: float | None = None
    should_retry: bool | None = None
    code: str | None = None
    error_type: str | None = None
    param: str | None = None
    request_id: str | None = None
    response_id: str | None = None
    response: dict[str, Any] | None = None
    raw: bytes = b""
    buffered: int = 0
    buffered_bytes: int = 0

    @classmethod
    def lost(
        cls,
        message: str,
        *,
        close_code: int | None = None,
        reason: str = "",
        sent: bool = False,
        started: bool = False,
        cause: BaseException | None = None,
    ) -> Failure:
        """The connection ended."""
        return cls(
            kind=FailureKind.LOST,
            message=message,
            close_code=close_code,
            reason=reason,
            sent=sent,
            started=started,
            cause=cause,
        )

    @classmethod
    def too_large(cls, size_bytes: int, limit_bytes: int) -> Failure:
        """The request is larger than the messages that the server takes. Nothing was sent."""
        problem = (
            f"the request has {size_bytes:,} bytes, and the server takes no WebSocket message above "
            f"{limit_bytes:,} bytes; use transport='auto' or 'http', or shorten the input"
        )
        return cls(kind=FailureKind.TOO_LARGE, message=problem, close_code=TOO_LARGE)

    @classmethod
    def violation(cls, message: str, *, sent: bool = False, started: bool = False) -> Failure:
        """The server broke the protocol."""
        return cls(kind=FailureKind.VIOLATION, message=message, sent=sent, started=started)

    @classmethod
    def ignored(cls) -> Failure:
        """The response does not continue the response that the request named."""
        return cls(
            kind=FailureKind.IGNORED,
            message="the server ignored previous_response_id, so the answer lacks the earlier context",
            sent=True,
            started=True,
        )

    @classmethod
    def connect(
        cls, message: str, *, fault: ConnectFault = "other", cause: BaseException | None = None
    ) -> Failure:
        """No connection could be made."""
        return cls(kind=FailureKind.CONNECT, message=message, fault=fault, cause=cause)

    @classmethod
    def deadline(cls, phase: str, waited_s: float, *, sent: bool = False, started: bool = False) -> Failure:
        """A deadline passed."""
        return cls(kind=FailureKind.DEADLINE, phase=phase, waited_s=waited_s, sent=sent, started=started)

    @classmethod
    def of(cls, error: NetworkError | DeadlineExceeded) -> Failure:
        """The record of an exception that was raised while connecting."""
        facts: dict[str, Any] = {"message": str(error), "sent": error.sent, "cause": error.__cause__}
        match error:
            case DeadlineExceeded():
                return cls.deadline(error.phase, error.waited_s, sent=error.sent)
            case UpgradeRefused():
                return cls(
                    kind=FailureKind.UPGRADE,
                    status=error.status,
                    headers=error.headers,
                    body=error.body,
                    retry_after_s=error.retry_after_s,
                    **facts,
                )
            case ConnectionLost():
                return cls(kind=FailureKind.LOST, close_code=error.close_code, reason=error.reason, **facts)
            case ProtocolViolation():
                return cls(kind=FailureKind.VIOLATION, **facts)
            case ConnectFailed():
                return cls(kind=FailureKind.CONNECT, fault=error.fault, **facts)
            case _:
                return cls(kind=FailureKind.CONNECT, **facts)

    @property
    def name(self) -> str:
        """The class name of its exception."""
        return _EXCEPTIONS[self.kind].__name__

    @property
    def words(self) -> str:
        """The message of its exception."""
        return str(self._exception())

    @property
    def is_of_service(self) -> bool:
        """Whether the service reported the failure itself."""
        return self.kind in _SERVICE

    @property
    def is_transient(self) -> bool:
        """Whether the service may answer the same request later: rate limits, overload, server faults."""
        error = self._exception()
        return isinstance(error, ServiceError) and error.is_transient

    def __repr__(self) -> str:
        return f"<Failure {self.kind.name} {self.code or ''}>".replace(" >", ">")

    def on_request(self, *, sent: bool, started: bool) -> Failure:
        """The same failure of a connection, for one of its requests."""
        return replace(self, sent=sent, started=started)

    def of_suspect(self) -> Failure:
        """The same failure of a request that was sent alone because it had lost connections before."""
        problem = (
            f"{self.message}; the server has ended each connection with this request on it, the last time "
            "with no other request, so check the types of its fields"
        )
        return replace(self, message=problem, suspect=True)

    def exception(self, *, output_seen: bool = False) -> TurnError:
        """A new exception with these facts.

        Args:
            output_seen: the caller received output of the response before it failed.
        """
        error = self._exception()
        error.output_seen = output_seen
        error.__cause__ = without_frames(self.cause) if self.cause is not None else None
        return error

    def _exception(self) -> TurnError:
        progress: dict[str, Any] = {"sent": self.sent, "started": self.started}
        match self.kind:
            case FailureKind.CONNECT:
                return ConnectFailed(self.message, fault=self.fault, **progress)
            case FailureKind.UPGRADE:
                assert self.status is not None
                return UpgradeRefused(
                    self.status,
                    headers=dict(self.headers),
                    body=self.body,
                    retry_after_s=self.retry_after_s,
                )
            case FailureKind.LOST | FailureKind.TOO_LARGE:
                return ConnectionLost(
                    self.message,
                    close_code=self.close_code,
                    reason=self.reason,
                    suspect=self.suspect,
                    **progress,
                )
            case FailureKind.VIOLATION | FailureKind.IGNORED:
                return ProtocolViolation(self.message, **progress)
            case FailureKind.DEADLINE:
                return DeadlineExceeded(self.phase, self.waited_s, **progress)
            case FailureKind.SLOW_CONSUMER:
                return SlowConsumer(self.buffered, buffered_bytes=self.buffered_bytes)
            case FailureKind.REFUSED:
                return ResponseRefused(self.message, param=self.param, **self._service_facts())
            case FailureKind.FAILED:
                return ResponseFailed(
                    self.message,
                    response=self.response,
                    response_id=self.response_id,
                    **self._service_facts(),
                )
            case _:
                assert_never(self.kind)

    def _service_facts(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "status": self.status,
            "error_type": self.error_type,
            "retry_after_s": self.retry_after_s,
            "should_retry": self.should_retry,
            "request_id": self.request_id,
            "sent": True,
            "started": self.started,
        }
