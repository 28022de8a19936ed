"""The cases. A case is a coroutine that takes a bench, in a new process, and returns figures."""

from __future__ import annotations

from cases.catalogue import CASES, Case

__all__ = ["CASES", "Case"]
