"""The faults of all parts, one for each round in turn."""

from __future__ import annotations

from typing import Final

from ..openai import worlds
from ..openai.talk import JSON

FAULTS: Final[tuple[tuple[str, JSON], ...]] = (
    *worlds.FAULTS,
    ("ignore_upgrade", {"seconds": 3.0}),
    ("slow_read", {"seconds": 0.1}),
    ("ignore_parent", {}),
    ("one_place", {"place": "done"}),
    ("one_place", {"place": "final"}),
    ("omit", {}),
    ("oversize", {"size_bytes": 200_000}),
    ("codex_error", {}),
)
NEED_NUMBERS: Final = {"duplicate", "reorder"}
"""Not beside `omit`: without sequence numbers no client can tell a repeated delta from a new one."""
