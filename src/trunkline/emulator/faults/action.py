"""The actions of faults."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """The action of a fault."""

    # At an upgrade.
    REFUSE_UPGRADE = "refuse_upgrade"
    """Answer with `status`, `headers` and `body` instead of a WebSocket."""
    IGNORE_UPGRADE = "ignore_upgrade"
    """Send no answer for `seconds`, or ever."""
    # At a request.
    REJECT = "reject"
    """Answer with an error: `status`, `code`, `message`, `headers`."""
    FORGET = "forget"
    """Empty the caches of all lanes before the request is handled."""
    SLOW_READ = "slow_read"
    """Stop reading from the client for `seconds`."""
    IGNORE_PARENT = "ignore_parent"
    """Answer as if the request named no parent; the response says so."""
    # At a response.
    ONE_PLACE = "one_place"
    """Send the text of the response in one `place` only: ``deltas``, ``done`` or ``final``."""
    # At an event.
    DROP = "drop"
    """Close the connection without a close frame."""
    RESET = "reset"
    """Close the connection with a TCP reset."""
    CLOSE = "close"
    """Close the connection with `close_code`."""
    STALL = "stall"
    """Pause this response for `seconds`, until `gate` opens, or for ever."""
    DELAY = "delay"
    """Send the event `seconds` later."""
    TRUNCATE = "truncate"
    """Send half of the event."""
    CORRUPT = "corrupt"
    """Send invalid JSON instead of the event."""
    DUPLICATE = "duplicate"
    """Send the event twice."""
    REORDER = "reorder"
    """Send the event after the one that follows it."""
    FRAGMENT = "fragment"
    """Send the event in several WebSocket frames; this is legal."""
    UNKNOWN_EVENT = "unknown_event"
    """Send an event of an unknown type before this one; this is legal."""
    UNKNOWN_FIELD = "unknown_field"
    """Add an unknown field; this is legal."""
    OMIT = "omit"
    """Remove the `fields` from the event."""
    OVERSIZE = "oversize"
    """Pad the event to `size_bytes`."""
    FLAT_ERROR = "flat_error"
    """Send an ``error`` event in the flat shape of older servers."""
    CODEX_ERROR = "codex_error"
    """Send an ``error`` event in the shape of proxies in the manner of Codex, with codes of their own."""
    FAIL = "fail"
    """End the response with an ``error`` event: `status`, `code` (null by default), `headers`."""
    CONNECTION_LIMIT = "connection_limit"
    """Send the connection limit error and close the connection."""
