"""The command line: ``trunkline demo | chat | emulate | doctor``. Needs the extra ``cli``."""

from __future__ import annotations

import sys
from importlib.util import find_spec

_NEEDED = ("typer", "rich", "aiohttp", "yaml")


def main() -> None:
    """The entry point. Exits with an error message if the extra ``cli`` is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        sys.exit(
            f"trunkline: the command line needs {', '.join(missing)}: run pip install 'trunkline[cli]',"
            " or pip install '.[cli]' in a clone"
        )
    from .app import run

    run()


__all__ = ["main"]
