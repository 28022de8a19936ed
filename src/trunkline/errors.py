"""The exceptions of trunkline, in one tree.

::

    TrunklineError
    ├── ConfigurationError (ValueError)   an argument or setting is wrong; nothing was sent
    ├── UsageError (RuntimeError)         the call is not allowed in the current state; nothing was sent
    │   ├── ConversationBusy              another turn of this conversation is running
    │   └── ClientClosed                  the client is closed
    │       └── WrongEventLoop            the client belongs to another event loop
    ├── SteerRefused                      the service returned a steer; the turn continues without it
    ├── MaxTurnsExceeded                  ``run`` reached ``max_turns``, and the model still calls tools
    └── TurnError                         a turn ended without a response
        ├── SlowConsumer                  local: the stream's buffer is full
        ├── DeadlineExceeded              a deadline expired; ``phase`` and ``waited_s`` say which
        ├── NetworkError                  the connection to the service failed
        │   ├── ConnectFailed             connecting failed: name resolution, TCP, TLS or proxy
        │   ├── UpgradeRefused            the server answered the WebSocket upgrade with plain HTTP
        │   ├── ConnectionLost            the connection ended during the turn
        │   └── ProtocolViolation         the server broke the protocol
        └── ServiceError                  the service answered with an error
            ├── ResponseRefused           an ``error`` event, or an HTTP error status
            └── ResponseFailed            ``response.failed``

Local, network and service faults have different types. Facts are attributes, and the message is rendered
from them. Messages hold no key and no content, except for what the service writes in its own messages;
content is only in the attributes documented to hold it (``SteerRefused.input``, ``UpgradeRefused.body``,
``ResponseFailed.response``).

Every exception can be pickled and copied, with its message and attributes. Its cause, context and traceback
are not part of the copy.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal, TypeAlias

ConnectFault: TypeAlias = Literal["unreachable", "cut", "final", "other"]
"""What prevented a connection: see `ConnectFailed.fault`."""

_TRANSIENT_CODES: Final = frozenset(
    {
        "rate_limit_exceeded",
        "rate_limit_error",
        "rate_limited",
        "too_many_requests",
        "resource_exhausted",
        "server_error",
        "internal_error",
        "internal_server_error",
        "server_is_overloaded",
        "slow_down",
        "overloaded",
        "overloaded_error",
        "engine_overloaded",
        "model_overloaded",
        "capacity_exceeded",
        "service_unavailable",
        "temporarily_unavailable",
        "unavailable",
        "stream_incomplete",
        "vector_store_timeout",
    }
)
"""Codes and types, in lower case, of errors that may pass; names of OpenAI and of other servers."""

QUOTA_CODES: Final = frozenset(
    {
        "insufficient_quota",
        "insufficient_credits",
        "insufficient_balance",
        "quota_exceeded",
        "billing_hard_limit_reached",
        "billing_not_active",
        "usage_not_included",
    }
)
"""Codes and types, in lower case, of an account that is used up."""

_CONTEXT_CODES: Final = frozenset(
    {"context_length_exceeded", "context_window_exceeded", "contextwindowexceedederror"}
)
_PERMANENT_CODES: Final = QUOTA_CODES | _CONTEXT_CODES
"""Codes and types, in lower case, of errors that do not pass, whatever the status: 429 for a quota, 500 from
a gateway that wraps errors."""

_LATER_STATUSES: Final = frozenset({408, 425, 429})

_CONTEXT_WORDS: Final = re.compile(
    r"maximum context length|context window|context length (?:of|is|exceeded)|prompt is too long",
    re.IGNORECASE,
)
"""The words of servers that give no code for it."""

_EXPECTED: Final = {
    "connect": "no connection within {} s",
    "first_event": "no event within {} s of sending the request",
    "first_output": "no output within {} s",
    "between_events": "no further event within {} s",
    "total": "no complete response within {} s",
}
"""What did not happen, by the phase of a deadline."""

_UPGRADE_ADVICE: Final = {
    **dict.fromkeys((401, 403), "check api_key and headers"),
    **dict.fromkeys(
        (404, 405, 426, 501),
        "if base_url is right, the server does not support WebSocket: use Client(transport='http')",
    ),
}


class TrunklineError(Exception):
    """Base class of all exceptions that trunkline raises deliberately."""

    def __repr__(self) -> str:
        # The default shows `args`, which subclasses may fill with more than the message.
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # By default exceptions are rebuilt by calling the class with `args`. That fails where `__init__` has
        # other parameters than the message, so the copy gets `args` and attributes without `__init__`.
        state = object.__getstate__(self)
        by_name, in_slots = state if isinstance(state, tuple) else (state, None)
        attributes = {**(by_name or {}), **(in_slots or {})}
        if "__notes__" in attributes:
            attributes["__notes__"] = list(attributes["__notes__"])  # add_note() extends the list in place
        return _rebuilt, (type(self), self.args), attributes


def _rebuilt(kind: type[TrunklineError], args: tuple[Any, ...]) -> TrunklineError:
    error = kind.__new__(kind, *args)
    error.args = args  # OSError.__new__ leaves it empty
    return error


class ConfigurationError(TrunklineError, ValueError):
    """An argument or setting is wrong. Nothing was sent.

    Attributes:
        argument: the name of the argument; ``None`` if no single argument is wrong.
    """

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class UsageError(TrunklineError, RuntimeError):
    """The call is not allowed in the current state. Nothing was sent."""


class ConversationBusy(UsageError):
    """Another turn of this conversation is running; ``fork()`` the conversation for parallel turns."""


class ClientClosed(UsageError):
    """The client is closed."""


class WrongEventLoop(ClientClosed):
    """The client is used from another event loop than its own; create one client for each loop."""


class MaxTurnsExceeded(TrunklineError):
    """``run`` reached ``max_turns`` responses, and the model still calls tools.

    The history holds all responses and all tool outputs; ``run([])`` continues.

    Attributes:
        max_turns: the limit.
    """

    def __init__(self, max_turns: int) -> None:
        self.max_turns = max_turns
        super().__init__(str(self))

    def __str__(self) -> str:
        return (
            f"the model still calls tools after {self.max_turns} responses; "
            "raise max_turns, or continue with run([])"
        )


class SteerRefused(TrunklineError):
    """The service returned a steer instead of accepting it. The turn continues without it.

    Attributes:
        code: the service's reason, such as ``steering_not_supported`` or ``response_already_completed``.
        input: the input of the steer, as given.
    """

    def __init__(self, message: str, *, code: str | None, input: Any) -> None:  # noqa: A002
        super().__init__(message)
        self.code = code
        self.input = input


class TurnError(TrunklineError):
    """A turn ended without a response.

    Attributes:
        sent: the request may have reached the server.
        started: ``response.created`` was received.
        output_seen: the caller had received an output item or delta.
    """

    def __init__(
        self, message: str, *, sent: bool = False, started: bool = False, output_seen: bool = False
    ) -> None:
        super().__init__(message)
        self.sent = sent
        self.started = started
        self.output_seen = output_seen


class SlowConsumer(TurnError):
    """The stream was not read fast enough, and its buffer is full. Other streams are not affected.

    Attributes:
        buffered: the number of unread events.
        buffered_bytes: their size.
    """

    def __init__(self, buffered: int, *, buffered_bytes: int = 0, output_seen: bool = False) -> None:
        self.buffered = buffered
        self.buffered_bytes = buffered_bytes
        super().__init__(str(self), sent=True, started=True, output_seen=output_seen)

    def __str__(self) -> str:
        size = f" of {self.buffered_bytes:,} bytes" if self.buffered_bytes else ""
        return (
            f"the stream's buffer is full ({self.buffered:,} unread events{size}); "
            "read faster, or raise max_buffered_events and max_buffered_bytes"
        )


class DeadlineExceeded(TurnError, TimeoutError):
    """A deadline expired.

    Attributes:
        phase: ``connect``, ``first_event``, ``first_output``, ``between_events`` or ``total``: the field of
            ``Deadlines``.
        waited_s: the time waited, in seconds.
    """

    def __init__(
        self,
        phase: str,
        waited_s: float,
        *,
        sent: bool = False,
        started: bool = False,
        output_seen: bool = False,
    ) -> None:
        self.phase = phase
        self.waited_s = waited_s
        # One argument only: OSError would take several for errno, strerror and filename.
        super().__init__(str(self), sent=sent, started=started, output_seen=output_seen)

    def __str__(self) -> str:
        expected = _EXPECTED.get(self.phase, "nothing received within {} s").format(f"{self.waited_s:g}")
        return f"{expected}; to wait longer, raise Deadlines.{self.phase}"


class NetworkError(TurnError):
    """The connection to the service failed, not the service itself."""


class ConnectFailed(NetworkError):
    """Connecting failed: name resolution, TCP, TLS or the proxy.

    Attributes:
        fault: ``unreachable``: TCP was refused or the resolver did not answer, until ``Deadlines.connect``;
            ``cut``: the connection ended before it could be used; ``final``: an unknown name, a failure
            of TLS or a wrong proxy setting, which another dial does not mend; ``other``: anything else.
    """

    def __init__(
        self,
        message: str,
        *,
        fault: ConnectFault = "other",
        sent: bool = False,
        started: bool = False,
        output_seen: bool = False,
    ) -> None:
        super().__init__(message, sent=sent, started=started, output_seen=output_seen)
        self.fault: ConnectFault = fault


class UpgradeRefused(NetworkError):
    """The server answered the WebSocket upgrade with an ordinary HTTP response.

    Attributes:
        status: the HTTP status.
        headers: the response's headers, with names in lower case.
        body: the beginning of the response's body; may be empty.
        retry_after_s: the ``retry-after`` header in seconds; ``None`` without one.
    """

    def __init__(
        self,
        status: int,
        *,
        headers: dict[str, str],
        body: bytes = b"",
        retry_after_s: float | None = None,
        sent: bool = False,
        started: bool = False,
        output_seen: bool = False,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.retry_after_s = retry_after_s
        super().__init__(str(self), sent=sent, started=started, output_seen=output_seen)

    def __str__(self) -> str:
        message = f"the server refused the WebSocket upgrade with HTTP status {self.status}"
        if self.retry_after_s is not None:
            return f"{message}; retry after {self.retry_after_s:g} s"
        advice = _UPGRADE_ADVICE.get(self.status)
        return f"{message}; {advice}" if advice else message


class ConnectionLost(NetworkError):
    """The connection ended during the turn.

    Attributes:
        close_code: the WebSocket close code; ``None`` if no close frame with a code was received.
        reason: the reason in the close frame.
        suspect: the server ended several connections with this request on them, the last one with no other
            request, so that the request may be the reason.
    """

    def __init__(
        self,
        message: str = "the connection was lost",
        *,
        close_code: int | None = None,
        reason: str = "",
        suspect: bool = False,
        sent: bool = False,
        started: bool = False,
        output_seen: bool = False,
    ) -> None:
        super().__init__(message, sent=sent, started=started, output_seen=output_seen)
        self.close_code = close_code
        self.reason = reason
        self.suspect = suspect


class ProtocolViolation(NetworkError):
    """The server broke the protocol. The connection is closed, as its data cannot be relied on."""


class ServiceError(TurnError):
    """The service answered with an error.

    Attributes:
        code: the error's code, such as ``rate_limit_exceeded``; ``None`` without one.
        status: the HTTP status; ``None`` if unknown.
        error_type: the error's type, such as ``invalid_request_error``.
        param: the request field that the error refers to.
        retry_after_s: the delay before a retry that the service requires, in seconds.
        should_retry: whether a retry may succeed, according to the service itself (``x-should-retry``);
            ``None`` if it does not say so.
        request_id: the ``x-request-id`` of the answer, for the service's support.
        response_id: the id of the response; ``None`` before ``response.created``.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        error_type: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        request_id: str | None = None,
        response_id: str | None = None,
        sent: bool = True,
        started: bool = False,
        output_seen: bool = False,
    ) -> None:
        super().__init__(message, sent=sent, started=started, output_seen=output_seen)
        self.code = code
        self.status = status
        self.error_type = error_type
        self.param = param
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry
        self.request_id = request_id
        self.response_id = response_id

    def __str__(self) -> str:
        message = super().__str__()
        facts = (
            f"HTTP status {self.status}" if self.status is not None else "",
            f"code {self.code}" if self.code and self.code not in message else "",
            f"retry after {self.retry_after_s:g} s" if self.retry_after_s is not None else "",
            f"request {self.request_id}" if self.request_id else "",
        )
        shown = ", ".join(fact for fact in facts if fact and fact not in message)
        if shown:
            message = f"{message} ({shown})"
        if self.is_context_too_long:
            return f"{message}; shorten the history with Conversation.compact() or replace()"
        return message

    @property
    def is_context_too_long(self) -> bool:
        """Whether the context window of the model is too small (``context_length_exceeded``)."""
        names = self._names
        return not names.isdisjoint(_CONTEXT_CODES) or (
            names.isdisjoint(_TRANSIENT_CODES) and bool(_CONTEXT_WORDS.search(super().__str__()))
        )

    @property
    def is_transient(self) -> bool:
        """Whether a later retry may succeed: rate limit, overload or a fault of the service."""
        names = self._names
        if not names.isdisjoint(_PERMANENT_CODES):
            return False
        if self.should_retry is not None:
            return self.should_retry
        if self.status is not None and (self.status in _LATER_STATUSES or self.status >= 500):
            return True
        return not names.isdisjoint(_TRANSIENT_CODES)

    @property
    def _names(self) -> set[str]:
        return {name.lower() for name in (self.code, self.error_type) if name}


class ResponseRefused(ServiceError):
    """The service refused the request: an ``error`` event, or an HTTP error status."""


class ResponseFailed(ServiceError):
    """The response started and ended as ``response.failed``.

    Attributes:
        response: the final response resource, as plain JSON.
    """

    def __init__(self, message: str, *, response: dict[str, Any] | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.response = response

    @property
    def is_transient(self) -> bool:
        """As for every `ServiceError`; also an error without a code, as ``server_error`` may come."""
        has_reason = self.code is not None or self.error_type is not None or self.should_retry is not None
        return not has_reason or super().is_transient


__all__ = [
    "ClientClosed",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionLost",
    "ConversationBusy",
    "DeadlineExceeded",
    "MaxTurnsExceeded",
    "NetworkError",
    "ProtocolViolation",
    "ResponseFailed",
    "ResponseRefused",
    "ServiceError",
    "SlowConsumer",
    "SteerRefused",
    "TrunklineError",
    "TurnError",
    "UpgradeRefused",
    "UsageError",
    "WrongEventLoop",
]
