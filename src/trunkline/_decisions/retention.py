"""Reliability of stored responses.

The service may answer ``store: true`` to an organisation with zero data retention and store nothing. If it
does not find a recent response that it reported as stored, responses of the credential count as not stored
for `DISTRUST_S` seconds.
"""

from __future__ import annotations

FRESH_S = 600.0
"""The age in seconds up to which a missing response counts: an older one may have been deleted."""
DISTRUST_S = 3600.0


class Retention:
    """Whether stored responses of one credential can be relied on."""

    def __init__(self) -> None:
        self._distrusted_until: float | None = None

    def is_trusted(self, now: float) -> bool:
        """Whether responses reported as stored can be relied on."""
        return self._distrusted_until is None or now >= self._distrusted_until

    def not_found(self, kept_at: float, now: float) -> None:
        """Record that the service did not find a response that it reported as stored.

        Args:
            kept_at: the time at which the response ended.
            now: the current time, on the same clock.
        """
        if now - kept_at < FRESH_S:
            self._distrusted_until = now + DISTRUST_S
