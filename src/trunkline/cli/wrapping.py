"""Text that arrives in pieces, broken into lines between words."""

from __future__ import annotations

import re

from rich.cells import cell_len
from rich.console import Console

MAX_WIDTH = 80

_COMPLETE_WORD = re.compile(r"(\s*)(\S+)(?=\s)")
_LAST_WORD = re.compile(r"(\s*)(\S*)")


class WordWrap:
    """Prints pieces of text. A word is printed once it is complete, so that no line breaks inside it.

    Args:
        out: the console; lines are as wide as it is, and at most `MAX_WIDTH` columns.
        indent: the width of the begin of the first line, which the caller prints, and of the indent of the
            others.
    """

    def __init__(self, out: Console, indent: int) -> None:
        self._out = out
        self._indent = indent
        self._width = min(out.width, MAX_WIDTH)
        self._column = indent
        self._rest = ""

    def write(self, text: str, style: str | None = None) -> None:
        """Print the words that are complete."""
        self._rest += text
        while word := _COMPLETE_WORD.match(self._rest):
            self._rest = self._rest[word.end() :]
            self._print(word[1], word[2], style)

    def end(self, style: str | None = None) -> None:
        """Print the last word, and end the line."""
        word = _LAST_WORD.match(self._rest)
        self._rest = ""
        if word is not None and word[2]:
            self._print(word[1], word[2], style)
        self._out.out("")
        self._column = self._indent

    def _print(self, space: str, word: str, style: str | None) -> None:
        is_at_start = self._column == self._indent
        space = "" if is_at_start else space
        width = cell_len(space) + cell_len(word)
        if "\n" in space or (not is_at_start and self._column + width > self._width):
            self._out.out("")
            space, self._column = " " * self._indent, 0
            width = self._indent + cell_len(word)
        self._out.out(space + word, style=style, end="", highlight=False)
        self._column += width
