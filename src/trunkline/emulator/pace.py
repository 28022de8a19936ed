"""The pace of the emulated models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds to the first output, then tokens a second (None: as fast as possible)."""

    first_token_s: float = 0.0
    tokens_per_second: float | None = None

    def due_s(self, token: int) -> float:
        """Due time of the n-th token, from 0, in seconds after the start of the response."""
        if self.tokens_per_second is None:
            return self.first_token_s
        return self.first_token_s + token / self.tokens_per_second
