"""Wire log: one DEBUG line on the logger ``trunkline.wire`` for each frame sent or received.

A line names the connection, the lane, the event type and the size. Content is shown with
``Client(log_content=True)`` only, credentials never. The level of the logger is read when a connection is
made: without DEBUG, see `is_asked`, the connection has no `WireLog`, and a frame costs one comparison.
"""

from __future__ import annotations

import json
import logging
from typing import Any
from urllib.parse import urlsplit

from .._protocol.events import ErrorEvent, ReceivedEvent, ResponseEvent
from .._protocol.failure import Failure
from .._protocol.sink import Sink

logger = logging.getLogger("trunkline.wire")

MAX_CONTENT = 100_000
MAX_NAME = 100
REDACTED = "[redacted]"

_CREDENTIALS = frozenset(
    {"authorization", "headers", "api_key"}
)  # of tools that the service calls, such as MCP


class WireLog:
    """The log of one connection, or of one exchange over HTTP.

    Args:
        place: the begin of each line, such as ``connection 3``.
        shows_content: append the content of frames.
    """

    __slots__ = ("_place", "_shows_content")

    def __init__(self, place: str, *, shows_content: bool) -> None:
        self._place = place
        self._shows_content = shows_content

    def sent(self, kind: str, frame: bytes, lane: str | None = None) -> None:
        """Log a frame that is sent."""
        self._frame(">", kind, lane, "", frame)

    def received(self, event: ReceivedEvent) -> None:
        """Log an event that was received."""
        if isinstance(event, ErrorEvent):
            about = f"{named(str(event.status or ''))} {named(event.code)}".strip()
        else:
            about = named(event.response.id) if isinstance(event, ResponseEvent) else ""
        self._frame("<", event.wire_type, event.stream_id, about, event.raw)

    def note(self, text: str, *values: object) -> None:
        """Log a change of state. The text must hold no content."""
        logger.debug(f"%s {text}", self._place, *values)

    def _frame(self, arrow: str, kind: str, lane: str | None, about: str, payload: bytes) -> None:
        words = [self._place, named(lane), arrow, named(kind), about, f"{len(payload)} B"]
        if self._shows_content:
            words.append(content_of(payload))
        logger.debug("%s", " ".join(word for word in words if word))

    def __repr__(self) -> str:
        return f"<WireLog of {self._place}>"


class LoggedSink:
    """A sink that logs each event, for exchanges over HTTP: they have no `Connection` that would do it."""

    def __init__(self, sink: Sink, log: WireLog) -> None:
        self._sink = sink
        self._log = log

    @property
    def is_over(self) -> bool:
        """Whether the sink takes no further events."""
        return self._sink.is_over

    def deliver(self, event: ReceivedEvent) -> None:
        """Take one event."""
        self._log.received(event)
        self._sink.deliver(event)

    def deliver_delta(self, event: ReceivedEvent) -> None:
        """Take one delta."""
        self._log.received(event)
        self._sink.deliver_delta(event)

    def on_keep_alive(self) -> None:
        """Pass a sign of life on."""
        self._sink.on_keep_alive()

    def fail(self, failure: Failure) -> None:
        """The exchange ended."""
        self._log.note("closed%s", "" if self.is_over else f": {failure.message}")
        self._sink.fail(failure)


def wire_log(place: str, *, shows_content: bool) -> WireLog | None:
    """A log for a new connection; ``None`` unless `is_asked`."""
    return WireLog(place, shows_content=shows_content) if is_asked() else None


def is_asked() -> bool:
    """Whether the level of ``trunkline.wire``, or else of ``trunkline``, is DEBUG.

    The level of the root logger does not count: LiveKit and other frameworks set it to DEBUG for themselves,
    and a line for each frame would bury theirs.
    """
    level = logger.level or logging.getLogger("trunkline").level
    return 0 < level <= logging.DEBUG and logger.isEnabledFor(logging.DEBUG)


def log_rotation(old: int, new: int) -> None:
    """Log that a connection is replaced because of its age."""
    if is_asked():
        logger.debug("connection %d is replaced by connection %d: maximum age reached", old, new)


def named(name: Any) -> str:
    """A name from the server on one line of limited length; empty for anything but a string."""
    if not isinstance(name, str):
        return ""
    shown = name[:MAX_NAME]
    return shown if shown.isprintable() else ascii(shown)


def shown(url: str) -> str:
    """A URL for logs, without user and query: both may hold keys."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def content_of(payload: bytes) -> str:
    """The content of a frame, with the credentials of tools redacted."""
    try:
        text = json.dumps(_without_credentials(json.loads(payload)), ensure_ascii=False)
    except (ValueError, RecursionError):
        text = ascii(payload)
    return text if len(text) <= MAX_CONTENT else f"{text[:MAX_CONTENT]}… of {len(text)} characters"


def _without_credentials(value: Any, *, is_tool: bool = False) -> Any:
    if isinstance(value, list):
        return [_without_credentials(part, is_tool=is_tool) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        name: REDACTED
        if is_tool and name in _CREDENTIALS and part
        else _without_credentials(part, is_tool=name == "tools")
        for name, part in value.items()
    }
