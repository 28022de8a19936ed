"""Docstrings of tools: the descriptions of parameters, and the rest, which describes the tool.

The styles of Google, NumPy and Sphinx are supported.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection

_GOOGLE = re.compile(r"(\s*)(?:Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments)\s*:\s*")
_GOOGLE_ENTRY = re.compile(r"\s*\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:(?:\s+(.*)|)")
_NUMPY = re.compile(r"(\s*)(?:Parameters|Other Parameters)\s*")
_NUMPY_RULE = re.compile(r"\s*-{3,}\s*")
_NUMPY_ENTRY = re.compile(r"\s*(\*{0,2}\w+(?:\s*,\s*\*{0,2}\w+)*)\s*(?::.*)?")
_FIELD = re.compile(
    r"\s*[:@](param|parameter|arg|argument|key|keyword|type)\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:(.*)"
)


def split(doc: str, names: Collection[str]) -> tuple[str, dict[str, str]]:
    """The description of the tool, and those of its parameters.

    A section that names something other than these parameters stays in the description, so that the model
    gets all of the text.

    Args:
        doc: a docstring as it stands in the source.
        names: the names of the function's parameters.
    """
    lines = inspect.cleandoc(doc).splitlines()
    described: dict[str, str] = {}
    kept: list[str] = []
    at = 0
    while at < len(lines):
        end, found = _section(lines, at)
        if found and set(found) <= set(names):
            described |= {name: text for name, text in found.items() if text}
            at = end
        else:
            kept.append(lines[at])
            at += 1
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip(), described


def _section(lines: list[str], at: int) -> tuple[int, dict[str, str]]:
    """The line after the section that begins at this line, and its descriptions; empty without a section."""
    if header := _GOOGLE.fullmatch(lines[at]):
        return _entries(lines, at + 1, len(header[1]) + 1, _GOOGLE_ENTRY)
    if (
        (header := _NUMPY.fullmatch(lines[at]))
        and at + 1 < len(lines)
        and _NUMPY_RULE.fullmatch(lines[at + 1])
    ):
        return _entries(lines, at + 2, len(header[1]), _NUMPY_ENTRY)
    if entry := _FIELD.fullmatch(lines[at]):
        end = _end_of_block(lines, at + 1, _indent(lines[at]) + 1)
        text = "" if entry[1] == "type" else _joined([entry[3], *lines[at + 1 : end]])
        return end, {entry[2]: text}
    return at, {}


def _entries(
    lines: list[str], start: int, least: int, pattern: re.Pattern[str]
) -> tuple[int, dict[str, str]]:
    """The line after a section, and its entries: lines of equal indentation, each with its deeper lines.

    Args:
        lines: the docstring.
        start: the first line after the header.
        least: the minimum indentation of an entry.
        pattern: matches the first line of an entry: names, and optionally the beginning of the text.
    """
    found: dict[str, str] = {}
    at = start
    indent = None
    while at < len(lines):
        if not lines[at].strip():
            at += 1
            continue
        if indent is None:
            indent = _indent(lines[at])
        is_header = at + 1 < len(lines) and _NUMPY_RULE.fullmatch(lines[at + 1])
        if _indent(lines[at]) < max(indent, least) or is_header:
            break
        entry = pattern.fullmatch(lines[at])
        if entry is None:
            if least > 0:
                return start, {}  # not a list of parameters
            break
        end = _end_of_block(lines, at + 1, indent + 1)
        first = entry[2] if pattern.groups > 1 else None
        text = _joined([first or "", *lines[at + 1 : end]])
        found |= {name.strip(" *"): text for name in entry[1].split(",")}
        at = end
    return at, found


def _end_of_block(lines: list[str], at: int, least: int) -> int:
    """The first line that is neither empty nor indented by at least ``least``."""
    while at < len(lines) and (not lines[at].strip() or _indent(lines[at]) >= least):
        at += 1
    return at


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _joined(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())
