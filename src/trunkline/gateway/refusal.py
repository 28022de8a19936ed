"""Refusals: answers of the gateway itself, in the words and the shape of the service's errors."""

from __future__ import annotations

import math

from .._face.call import Header
from .._face.outcome import Answer
from .._face.refusals import JSON_TYPE, SHOULD_RETRY
from .._protocol.json import encode


class Refused(Exception):
    """A request that the gateway does not pass on.

    Attributes:
        status: the HTTP status.
        message: the message of the error.
        code: the ``code`` of the error.
        param: the field or header that is meant.
        retry_after_s: the seconds after which another attempt makes sense.
        is_final: clients must not repeat the request, whatever the status.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
        is_final: bool = False,
    ) -> None:
        super().__init__(status, message)  # as in `__init__`, so that it can be pickled
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
        self.is_final = is_final

    def __str__(self) -> str:
        return self.message

    @property
    def error(self) -> dict[str, object]:
        """The error object."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        if self.status == 429:
            kind = "rate_limit_error"
        return {"message": str(self), "type": kind, "param": self.param, "code": self.code}

    def answer(self) -> Answer:
        """The HTTP answer."""
        headers: list[Header] = [JSON_TYPE, *self._advice]
        if self.status == 401:
            headers.append(("www-authenticate", "Bearer"))
        return Answer(self.status, tuple(headers), encode({"error": self.error}))

    def event(self) -> dict[str, object]:
        """The ``error`` event of a stream or on a WebSocket, without a ``stream_id``."""
        error = self.error
        if self._advice:
            error["headers"] = dict(self._advice)
        return {"type": "error", "status": self.status, "error": error}

    @property
    def _advice(self) -> list[Header]:
        """The headers about another attempt."""
        found: list[Header] = []
        if self.retry_after_s is not None:
            found.append(("retry-after", str(math.ceil(self.retry_after_s))))
        if self.is_final:
            found.append((SHOULD_RETRY, "false"))
        return found


__all__ = ["Refused"]
