"""Every exception of trunkline, in one tree.

::

    TrunklineError
    ├── ConfigurationError (ValueError)   an argument of the caller's is wrong; nothing was sent
    ├── UsageError (RuntimeError)         right arguments at the wrong moment; nothing was sent
    │   ├── ConversationBusy              a turn of this conversation still runs
    │   └── ClientClosed                  the client is closed
    │       └── WrongEventLoop            the client belongs to another event loop
    ├── SteerRefused                      a steer was handed back; the turn goes on without it
    ├── MaxTurnsExceeded                  ``run`` asked as often as it may, and the model still calls tools
    └── TurnError                         a turn ended without a response
        ├── SlowConsumer                  local: the stream was not read, and its buffer is full
        ├── DeadlineExceeded              nothing came in time; ``phase`` and ``waited_s`` say what
        ├── NetworkError
        │   ├── ConnectFailed             no connection could be made (name, TCP, TLS, proxy, time)
        │   ├── UpgradeRefused            the server answered the upgrade with plain HTTP
        │   ├── ConnectionLost            the socket ended while the turn was on it
        │   └── ProtocolViolation         the server sent what the protocol does not allow
        └── ServiceError                  the service answered, and the answer is an error
            ├── ResponseRefused           an ``error`` event, or an HTTP error status
            └── ResponseFailed            ``response.failed``

Local faults, faults of the network and faults of the service are different types. Facts are fields;
messages are rendered from them, and never hold a key or the content of a message.
"""

from __future__ import annotations

from typing import Any, Final, Self

_TRANSIENT_CODES: Final = frozenset(
    {
        "rate_limit_exceeded",
        "server_error",
        "server_is_overloaded",
        "slow_down",
        "overloaded",
        "overloaded_error",
        "vector_store_timeout",
    }
)


class TrunklineError(Exception):
    """Root of every exception that trunkline raises on purpose."""


class ConfigurationError(TrunklineError, ValueError):
    """An argument or setting is wrong. Nothing was sent.

    Attributes:
        argument: the name of the argument, as the caller wrote it.
    """

    def __init__(self, message: str, *, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class UsageError(TrunklineError, RuntimeError):
    """The call is right in itself, but not now. Nothing was sent."""


class ConversationBusy(UsageError):
    """A turn of this conversation still runs; ``fork()`` it to ask in parallel."""


class ClientClosed(UsageError):
    """The client is closed."""


class WrongEventLoop(ClientClosed):
    """The client is used from an event loop that is not its own; make one client for each loop."""


class MaxTurnsExceeded(TrunklineError):
    """``run`` reached ``max_turns`` responses, and the model still calls tools.

    The history holds every one of them, with the outputs of the last calls pending as the next input.
    """

    def __init__(self, max_turns: int) -> None:
        super().__init__(
            f"the model still calls tools after {max_turns} responses; raise max_turns if that is meant"
        )
        self.max_turns = max_turns


class SteerRefused(TrunklineError):
    """The service handed a steer back. The turn that it was for goes on without it.

    Attributes:
        code: why, such as ``steering_not_supported`` or ``response_already_completed``.
        input: what was to be said, as it was given.
    """

    def __init__(self, message: str, *, code: str | None, input: Any) -> None:  # noqa: A002
        super().__init__(message)
        self.code = code
        self.input = input


class TurnError(TrunklineError):
    """A turn ended without a response.

    Attributes:
        sent: the request may have reached the server.
        started: ``response.created`` was seen.
        output_seen: an output item or delta had been handed to the caller.
    """

    def __init__(self, message: str, *, sent: bool = False, started: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.started = started
        self.output_seen = False

    def fresh(self) -> Self:
        """The same facts in an exception of its own: one fault may end many turns."""
        twin = type(self).__new__(type(self))
        twin.args = self.args
        twin.__dict__.update(self.__dict__)
        return twin


class SlowConsumer(TurnError):
    """The stream was not read, and its buffer is full. Its neighbours are not touched.

    Attributes:
        buffered: how many events had been waiting.
    """

    def __init__(self, buffered: int) -> None:
        super().__init__(
            f"{buffered} events were waiting and nobody read them; read faster or raise max_buffered_events",
            sent=True,
            started=True,
        )
        self.buffered = buffered


class DeadlineExceeded(TurnError, TimeoutError):
    """Nothing came in time.

    Attributes:
        phase: ``connect``, ``first_event``, ``first_output``, ``between_events`` or ``total``.
        waited_s: how long was waited, in seconds.
    """

    def __init__(self, phase: str, waited_s: float, *, sent: bool = False, started: bool = False) -> None:
        super().__init__(f"{phase}: nothing came within {waited_s:g} s", sent=sent, started=started)
        self.phase = phase
        self.waited_s = waited_s


class NetworkError(TurnError):
    """The way to the service failed, not the service."""


class ConnectFailed(NetworkError):
    """No connection could be made: name resolution, TCP, TLS, the proxy, or the time for all of it."""


class UpgradeRefused(NetworkError):
    """The server answered the WebSocket upgrade with an ordinary HTTP response.

    Attributes:
        status: the HTTP status.
        headers: the answer's headers, names in lower case.
        body: the beginning of the answer's body; empty when none came.
        retry_after_s: seconds, from ``retry-after``; ``None`` when not given.
    """

    def __init__(
        self, status: int, *, headers: dict[str, str], body: bytes = b"", retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"the server refused the WebSocket upgrade with HTTP status {status}")
        self.status = status
        self.headers = headers
        self.body = body
        self.retry_after_s = retry_after_s


class ConnectionLost(NetworkError):
    """The connection ended while the turn was on it.

    Attributes:
        close_code: the WebSocket close code, or ``None`` when the socket ended without one.
        reason: the reason given with it.
    """

    def __init__(
        self,
        message: str = "the connection was lost",
        *,
        close_code: int | None = None,
        reason: str = "",
        sent: bool = False,
        started: bool = False,
    ) -> None:
        super().__init__(message, sent=sent, started=started)
        self.close_code = close_code
        self.reason = reason


class ProtocolViolation(NetworkError):
    """The server sent what the protocol does not allow; its socket is not trusted any more."""


class ServiceError(TurnError):
    """The service answered, and the answer is an error.

    Attributes:
        code: the error's code, such as ``rate_limit_exceeded``; ``None`` when not given.
        status: the HTTP status, as far as it is known.
        error_type: the error's type, such as ``invalid_request_error``.
        param: the request field that the error speaks of.
        retry_after_s: seconds that the service asks to wait.
        request_id: the ``x-request-id`` of the answer.
        response_id: the id of the response, once there is one.
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
        request_id: str | None = None,
        response_id: str | None = None,
        sent: bool = True,
        started: bool = False,
    ) -> None:
        super().__init__(message, sent=sent, started=started)
        self.code = code
        self.status = status
        self.error_type = error_type
        self.param = param
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.response_id = response_id

    @property
    def is_transient(self) -> bool:
        """Whether the same may succeed later: too many requests, overload, a fault of the service's."""
        if self.status is not None and (self.status == 429 or self.status >= 500):
            return True
        return self.code in _TRANSIENT_CODES or self.error_type in _TRANSIENT_CODES


class ResponseRefused(ServiceError):
    """The service refused the request: an ``error`` event, or an HTTP error status."""


class ResponseFailed(ServiceError):
    """The response began and ended as ``response.failed``.

    Attributes:
        response: the final response resource, as plain JSON.
    """

    def __init__(self, message: str, *, response: dict[str, Any] | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.response = response

    @property
    def is_transient(self) -> bool:
        """As for every error of the service. ``server_error`` was seen without a code here."""
        return self.code is None or super().is_transient
