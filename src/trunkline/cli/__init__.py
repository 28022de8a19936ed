"""The command line: ``trunkline demo | chat | emulate | doctor``. Needs the extra ``cli``."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from ..extras import how_to_install

_NEEDED = ("typer", "rich", "aiohttp", "yaml")


def main() -> None:
    """The entry point. Exits with an error message if the extra ``cli`` is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(f"trunkline: the command line needs {', '.join(missing)}: {how_to_install('cli')}")
    from .app import run

    run()


__all__ = ["main"]
