"""Calls: HTTP requests of a client, and which of them can be answered over a WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from .._network.gateways import KEY_HEADER
from .._protocol.quiet import QuietStruct

PREFIX: Final = "x-trunkline-"
"""The beginning of the names of our own headers, which no service gets."""

Header: TypeAlias = tuple[str, str]

KeyFunction: TypeAlias = Callable[[Mapping[str, str], Mapping[str, object]], Hashable]
"""A function from the headers and the fields of a request to the key of its conversation, or ``None``."""

_HARMLESS: Final = frozenset(
    {
        "b3",
        "baggage",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "sentry-trace",
        "traceparent",
        "tracestate",
        "transfer-encoding",
        "uber-trace-id",
        "user-agent",
        "x-amzn-trace-id",
        "x-client-request-id",
        "x-cloud-trace-context",
    }
)
_HARMLESS_BEGINNINGS: Final = ("accept", "x-stainless-", "x-b3-", "x-datadog-", PREFIX)
_NOT_OVER_WEBSOCKET: Final = frozenset({"content-encoding", "idempotency-key"})
_JSON: Final = "application/json"


class Timeouts(QuietStruct, frozen=True):
    """The time limits of an HTTP request, in seconds; ``None`` for none.

    Attributes:
        connect: until there is a connection.
        read: until the next bytes of the answer.
    """

    connect: float | None = None
    read: float | None = None


class Call(QuietStruct, frozen=True):
    """An HTTP request.

    Attributes:
        method: the method in upper case.
        url: the whole URL.
        headers: the header fields in their order.
        body: the body; ``None`` if it is not known as a whole.
        timeouts: its time limits.
        generate: ``False`` for a warm-up, which no HTTP request can be.
    """

    method: str
    url: str
    headers: Sequence[Header]
    body: bytes | None
    timeouts: Timeouts = Timeouts()
    generate: bool = True

    @property
    def is_create(self) -> bool:
        """Whether it asks for a response, with a body that can be sent in a frame."""
        if self.method != "POST" or not self.body or not _path(self.url).endswith("/responses"):
            return False
        names = {name.lower(): value for name, value in self.headers}
        kind = names.get("content-type", "").partition(";")[0].strip().lower()
        return kind == _JSON and _NOT_OVER_WEBSOCKET.isdisjoint(names)

    @property
    def deleted(self) -> str | None:
        """The id of the response that it deletes; ``None`` for another call."""
        before, _, name = _path(self.url).rpartition("/")
        return name if self.method == "DELETE" and before.endswith("/responses") and name else None

    @property
    def keys(self) -> list[str]:
        """The values of the header that names the conversation."""
        return [value for name, value in self.headers if name.lower() == KEY_HEADER]

    def upgrade_headers(self) -> dict[str, str]:
        """The headers that a WebSocket for this call needs, by their names in lower case.

        All that are not known to be harmless: calls with different ones must not share a socket.
        """
        found: dict[str, str] = {}
        for name, value in self.headers:
            name = name.lower()
            if name not in _HARMLESS and not name.startswith(_HARMLESS_BEGINNINGS):
                found[name] = f"{found[name]}, {value}" if name in found else value
        return found


def is_own(name: str) -> bool:
    """Whether a header is one of ours, which is not passed on."""
    return name.lower().startswith(PREFIX)


def base_of(url: str) -> str:
    """The URL of the resource of responses of a `Call.deleted`."""
    parts = urlsplit(url)
    return parts._replace(path=parts.path.rstrip("/").rpartition("/")[0]).geturl()


def _path(url: str) -> str:
    return urlsplit(url).path.rstrip("/")


__all__ = ["Call", "Header", "KeyFunction", "Timeouts", "base_of", "is_own"]
