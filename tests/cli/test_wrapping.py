from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from trunkline.cli.wrapping import MAX_WIDTH, WordWrap

TEXT = "Back to Oslo you can take the 08:03 from platform 1, 11:59 from platform 2 and a sleeper at 22:59."


def wrapped(*pieces: str, width: int = 40, indent: int = 7) -> list[str]:
    file = StringIO()
    line = WordWrap(Console(file=file, width=width), indent)
    for piece in pieces:
        line.write(piece)
    line.end()
    assert file.getvalue().endswith("\n")
    return file.getvalue().removesuffix("\n").split("\n")


@pytest.mark.parametrize("size", [1, 7, len(TEXT)])
def test_lines_end_between_words_however_the_text_is_cut(size: int) -> None:
    lines = wrapped(*(TEXT[start : start + size] for start in range(0, len(TEXT), size)))
    assert [word for line in lines for word in line.split()] == TEXT.split()
    assert all(len(line) <= (33 if number == 0 else 40) for number, line in enumerate(lines))
    assert all(line.startswith(" " * 7) and line[7] != " " for line in lines[1:])


def test_no_line_is_wider_than_the_limit() -> None:
    lines = wrapped(TEXT * 5, width=200, indent=0)
    assert MAX_WIDTH - 12 < max(map(len, lines)) <= MAX_WIDTH


def test_a_word_wider_than_a_line_has_a_line_of_its_own() -> None:
    assert wrapped("a", " ", "x" * 50, " b", indent=0) == ["a", "x" * 50, "b"]


def test_newlines_of_the_text_are_kept_and_indented() -> None:
    assert wrapped("one\n\ntwo") == ["one", "       two"]


def test_wide_characters_count_twice() -> None:
    assert wrapped("日本 " * 4, width=10, indent=0) == ["日本 日本", "日本 日本"]
