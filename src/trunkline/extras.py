"""Extras: the parts of trunkline whose dependencies are installed on request."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """The advice at the end of a message about a dependency that is missing."""
    return f"run pip install 'trunkline[{extra}]', or pip install '.[{extra}]' in a clone"


__all__ = ["how_to_install"]
