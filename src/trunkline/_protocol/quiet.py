"""Base class of the structs that hold what was sent or received."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class QuietStruct(Struct, frozen=True):
    """An immutable struct that shows none of its fields, as they hold keys and content.

    A plain struct shows all of them in its `repr`, and in rich's tracebacks through ``__rich_repr__``.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []
