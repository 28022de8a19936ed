"""Unique identifiers in the service's format."""

from __future__ import annotations

import secrets


class Ids:
    """Creates ids that are unique across emulators."""

    def __init__(self) -> None:
        self._origin = secrets.token_hex(12)
        self._count = 0

    def new(self, prefix: str) -> str:
        """Create an id such as ``resp_4f…``; ``prefix`` is the part before the underscore."""
        self._count += 1
        return f"{prefix}_{self._origin}{self._count:016x}"
