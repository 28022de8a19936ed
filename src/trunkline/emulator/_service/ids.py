"""Identifiers that look like the service's and never repeat."""

from __future__ import annotations

import secrets


class Ids:
    """Makes ids; two emulators never make the same one."""

    def __init__(self) -> None:
        self._origin = secrets.token_hex(12)
        self._count = 0

    def new(self, prefix: str) -> str:
        """An id such as ``resp_4f…``; ``prefix`` is the part before the underscore."""
        self._count += 1
        return f"{prefix}_{self._origin}{self._count:016x}"
