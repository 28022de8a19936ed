"""What is measured. A case is a coroutine that is given a bench, in a fresh process, and returns figures."""

from __future__ import annotations

from cases.catalogue import CASES, Case

__all__ = ["CASES", "Case"]
