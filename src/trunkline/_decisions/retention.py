"""Whether the service keeps what it says that it keeps.

An organisation under zero data retention may be told ``store: true`` and find nothing. When a fresh,
supposedly stored response is not found, the credential is treated as unstored for a while.
"""

from __future__ import annotations

FRESH_S = 600.0
DISTRUST_S = 3600.0


class Retention:
    """What was learnt of a credential."""

    def __init__(self) -> None:
        self._distrusted_until: float | None = None

    def is_trusted(self, now: float) -> bool:
        """Whether ``store: true`` is to be believed."""
        return self._distrusted_until is None or now >= self._distrusted_until

    def not_found(self, kept_at: float, now: float) -> None:
        """A response that was said to be stored at ``kept_at`` is not there."""
        if now - kept_at < FRESH_S:
            self._distrusted_until = now + DISTRUST_S
