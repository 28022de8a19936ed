"""The steps of a section of a page: what its reader types, pastes and saves, and what should appear."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
INTERPRETER = "python -m asyncio"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_SAVED = re.compile(r"[Ss]ave this as `([^`]+)`")
_PRINTED = re.compile(r"^print\(.*\)  # (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Door:
    """A way into trunkline, and the section that leads there."""

    name: str
    page: str
    heading: str

    @property
    def link(self) -> str:
        """A link from a page in docs/. README.md has no anchors on the site."""
        if not self.page.startswith("docs/"):
            return f"[{self.page}](../{self.page}), {self.heading}"
        anchor = self.heading.lower().replace(" ", "-")
        return f"[{self.heading}]({self.page.removeprefix('docs/')}#{anchor})"


DOORS = (
    Door("Own code", "README.md", "From a clone"),
    Door("Own code, from a wheel", "README.md", "As a wheel"),
    Door("openai SDK", "docs/openai-sdk.md", "Try it"),
    Door("openai SDK, by its migration page", "docs/migration/openai-sdk.md", "Keep the SDK"),
    Door("openai-agents", "docs/migration/openai-agents.md", "Keep the framework"),
    Door("pydantic-ai", "docs/migration/pydantic-ai.md", "Keep the framework"),
    Door("LangChain", "docs/migration/langchain.md", "Keep the framework"),
    Door("LiveKit Agents", "docs/livekit.md", "Try it"),
    Door("Gateway: curl, Python, Node.js", "docs/gateway.md", "Try it"),
    Door("Emulator: curl, pytest", "docs/emulator.md", "Try it"),
)


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and the lines that should appear; "…" in them stands for anything."""

    text: str
    shown: list[str] = field(default_factory=list)

    @property
    def is_background(self) -> bool:
        """Whether the prompt returns while the command runs."""
        return self.text.endswith("&")

    @property
    def is_interpreter(self) -> bool:
        """Whether blocks of Python can be pasted into it."""
        return self.text.endswith(INTERPRETER)


@dataclass(frozen=True, slots=True)
class Paste:
    """A block of Python for the interpreter, and the texts that it prints by its own comments."""

    source: str
    shown: list[str]


@dataclass(frozen=True, slots=True)
class Save:
    """A block of Python for a file."""

    name: str
    source: str


Step = Command | Paste | Save


def steps(door: Door, root: Path = ROOT) -> list[Step]:
    """The steps of a door, from the clone on.

    Raises:
        ValueError: the page has no such section.
    """
    section = _section((root / door.page).read_text(), door.heading)
    found: list[Step] = []
    end = 0
    for fence in _FENCE.finditer(section):
        language, content, before = fence[1], fence[2], section[end : fence.start()]
        end = fence.end()
        saved = _SAVED.search(before)
        if language == "console":
            found += _commands(content)
        elif language in ("py", "python") and saved is not None:
            found.append(Save(saved[1], content))
        elif language in ("py", "python") and any(_reads_python(step) for step in found[-2:]):
            found.append(Paste(content, _PRINTED.findall(content)))
    return found


def _reads_python(step: Step) -> bool:
    return isinstance(step, Paste) or (isinstance(step, Command) and step.is_interpreter)


def _section(text: str, heading: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    code = [fence.span() for fence in _FENCE.finditer(text)]
    headings = [
        found
        for found in _HEADING.finditer(text)
        if not any(start <= found.start() < end for start, end in code)
    ]
    for number, found in enumerate(headings):
        if found[2] == heading:
            ends = [later.start() for later in headings[number + 1 :] if len(later[1]) <= len(found[1])]
            return text[found.end() : ends[0] if ends else len(text)]
    raise ValueError(f"no section {heading!r}")


def _commands(content: str) -> Iterator[Command]:
    """The commands of a console block. One goes on in the next line after a backslash or in open quotes."""
    lines = iter(content.splitlines())
    command: Command | None = None
    for line in lines:
        if line.startswith("$ "):
            if command is not None:
                yield command
            text = line.removeprefix("$ ")
            while text.endswith("\\") or text.count("'") % 2:
                text += f"\n{next(lines)}"
            command = Command(text)
        elif command is not None:
            command.shown.append(line)
    if command is not None:
        yield command
