"""Base classes of the structs and bytes that hold keys, requests or responses."""

from __future__ import annotations

from typing import Any

from msgspec import Struct


class QuietStruct(Struct, frozen=True):
    """An immutable struct whose `repr` shows no field values, because they hold keys and content.

    msgspec's `repr` shows all field values, and so does ``__rich_repr__`` in tracebacks made by rich.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []


class QuietBytes(bytes):
    """Bytes whose `repr` and `str` show their number only."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} bytes>"

    def __str__(self) -> str:
        return repr(self)
