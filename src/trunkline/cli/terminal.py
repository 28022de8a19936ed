"""Output of the commands: rich in a terminal, plain in a pipe."""

from __future__ import annotations

import sys
from io import TextIOWrapper

from rich.console import Console

PLAIN_WIDTH = 110

# Model text may contain control characters, which a terminal would obey. Newline and tab are kept.
_CONTROL = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def output_console() -> Console:
    """Standard output."""
    return _console(is_error=False)


def error_console() -> Console:
    """Standard error, for notes and errors."""
    return _console(is_error=True)


def _console(*, is_error: bool) -> Console:
    is_terminal = (sys.stderr if is_error else sys.stdout).isatty()
    return Console(stderr=is_error, highlight=False, width=None if is_terminal else PLAIN_WIDTH)


def printable(text: str) -> str:
    """The text without control characters."""
    return text.translate(_CONTROL)


def tolerate_any_character() -> None:
    """Print characters that the output encoding lacks as question marks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
