"""The things that a fault can do."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """What a fault does."""

    # At an upgrade.
    REFUSE_UPGRADE = "refuse_upgrade"
    """Answer with `status`, `headers` and `body` instead of a WebSocket."""
    IGNORE_UPGRADE = "ignore_upgrade"
    """Say nothing for `seconds`, or for ever."""
    # At a request.
    REJECT = "reject"
    """Answer with an error: `status`, `code`, `message`, `headers`."""
    FORGET = "forget"
    """Drop every lane's memory before the request is looked at."""
    SLOW_READ = "slow_read"
    """Read nothing more from the client for `seconds`."""
    # At an event.
    DROP = "drop"
    """Break off without a close frame."""
    RESET = "reset"
    """Break off with a TCP reset."""
    CLOSE = "close"
    """Close with `close_code`."""
    STALL = "stall"
    """Send nothing of this response for `seconds`, or for ever."""
    DELAY = "delay"
    """Send the event `seconds` later."""
    TRUNCATE = "truncate"
    """Send half of the event."""
    CORRUPT = "corrupt"
    """Send something that is no JSON."""
    DUPLICATE = "duplicate"
    """Send the event twice."""
    REORDER = "reorder"
    """Send the event after the one that follows it."""
    FRAGMENT = "fragment"
    """Send the event in several WebSocket frames; this is legal."""
    UNKNOWN_EVENT = "unknown_event"
    """Send an event of a type that nobody knows, before this one; this is legal."""
    UNKNOWN_FIELD = "unknown_field"
    """Add a field that nobody knows; this is legal."""
    OMIT = "omit"
    """Leave out the `fields`."""
    OVERSIZE = "oversize"
    """Pad the event to `size_bytes`."""
    FLAT_ERROR = "flat_error"
    """Send an ``error`` event in the flat shape of older servers."""
    FAIL = "fail"
    """End the response with an ``error`` event: `status`, `code` (null by default), `headers`."""
    CONNECTION_LIMIT = "connection_limit"
    """Say that the connection's time is up, and close it."""
