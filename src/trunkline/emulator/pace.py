"""How fast the emulated models talk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds to the first output, and tokens a second from there on (None: as fast as possible)."""

    first_token_s: float = 0.0
    tokens_per_second: float | None = None

    def due_s(self, token: int) -> float:
        """When the n-th token (from 0) is due, in seconds after the start of the response."""
        if self.tokens_per_second is None:
            return self.first_token_s
        return self.first_token_s + token / self.tokens_per_second
