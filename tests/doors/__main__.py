"""Each door, tried as its page says: ``python -m tests.doors [--docs] [WORD]``; a WORD selects by name.

A door begins with a clone of this repository in a new folder, with empty caches of pip and npm. The commands
are read out of the pages, and typed into a shell. What a page shows has to appear.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .page import DOORS, ROOT, Command, Door, Paste, Save, Step, steps
from .shell import Shell

PAGE = ROOT / "docs" / "first-run.md"
BEGIN, END = "<!-- doors -->\n", "<!-- end of doors -->"
# What is installed prints and waits as git, venv, pip and npm do.
INSTALLS = re.compile(r"git clone|-m venv|pip (install|wheel)|npm install")
CLONE = "git clone … trunkline && cd trunkline"


@dataclass(slots=True)
class Visit:
    """One door as it was tried: what was typed, with the seconds since the beginning when it had ended."""

    door: Door
    lines: list[tuple[float, str, list[str]]] = field(default_factory=list)
    silence_s: float = 0.0

    @property
    def total_s(self) -> float:
        return self.lines[-1][0]

    @property
    def installing_s(self) -> float:
        """The time of git, venv, pip and npm."""
        ends = [0.0, *(end for end, _, _ in self.lines)]
        return sum(
            end - begin
            for begin, (end, text, _) in zip(ends, self.lines, strict=False)
            if INSTALLS.search(text)
        )


def visit(door: Door, folder: Path, python: str) -> Visit:
    """Try a door in an empty folder.

    Raises:
        AssertionError: a command failed, or something else appeared than on the page.
    """
    made = Visit(door)
    shell = Shell(folder, _environment(folder, python))
    begun = time.monotonic()

    def note(text: str, shown: list[str]) -> None:
        made.lines.append((time.monotonic() - begun, text, shown))
        if not INSTALLS.search(text):
            made.silence_s = max(made.silence_s, shell.silence_s)
        shell.silence_s = 0.0
        print(f"{made.lines[-1][0]:7.1f} s  {text.partition(chr(10))[0]}", flush=True)

    try:
        shell.run(f"git clone --quiet {shlex.quote(str(ROOT))} trunkline && cd trunkline")
        note(CLONE, [])
        in_interpreter = False
        for step in _from(steps(door, folder / "trunkline")):
            if in_interpreter and not isinstance(step, Paste):
                shell.type("exit()\n")
                shell.finish()
                in_interpreter = False
            match step:
                case Command() if step.is_interpreter:
                    shell.start(step.text)
                    shell.wait_for(">>> ")
                    in_interpreter = True
                    note(step.text, [])
                case Command():
                    note(step.text, _typed(shell, step))
                case Save():
                    name = shell.run("pwd").splitlines()[0]  # a prompt follows
                    (Path(name) / step.name).write_text(step.source)
                case Paste():
                    note("(the block, pasted)", _pasted(shell, step))
                case None:
                    pass
    finally:
        shell.close()
    return made


def _from(found: list[Step]) -> Iterator[Step | None]:
    """The steps, and a last one that leaves the interpreter."""
    yield from found
    yield None


def _typed(shell: Shell, command: Command) -> list[str]:
    """Type a command; return the lines that appeared as shown on the page."""
    shell.start(command.text)
    output = shell.finish()
    appeared: list[str] = []
    for shown in command.shown:
        for piece in filter(None, map(str.strip, shown.split("…"))):
            if command.is_background and piece not in output:
                output += shell.wait_for(piece)
            before, found, output = output.partition(piece)
            assert found, f"{command.text}\nshould have shown {shown!r}, and did not in:\n{before}"
        appeared.append(shown)
    return appeared


def _pasted(shell: Shell, block: Paste) -> list[str]:
    """Paste a block, and Enter; return the lines that it printed as its comments say."""
    bracketed = ("\x1b[200~", "\x1b[201~") if _brackets(shell) else ("", "")
    shell.type(f"{bracketed[0]}{block.source}{bracketed[1]}\n")
    shell.type('print("the block", "has ended")\n')
    output = shell.wait_for("the block has ended")
    assert not re.search(r"Traceback|SyntaxError|IndentationError", output), output
    printed = [line.strip() for line in output.splitlines()]
    for shown in block.shown:
        assert any(line.removeprefix(">>> ") == shown for line in printed), f"no {shown!r} in:\n{output}"
    return block.shown


def _brackets(shell: Shell) -> bool:
    """Whether the interpreter marks pastes, as it does from Python 3.13 on."""
    shell.type('import sys; print("version", sys.version_info >= (3, 13))\n')
    return "True" in shell.wait_for("version ") + shell.wait_for("e\n")


def _environment(folder: Path, python: str) -> dict[str, str]:
    """This environment without keys, endpoints and caches, and with ``python`` as python3."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENAI_", "TRUNKLINE_", "PYTHON", "VIRTUAL_ENV", "PS1"))
    }
    path = [place for place in env["PATH"].split(os.pathsep) if not (Path(place) / "activate").exists()]
    programs = folder / "bin"
    programs.mkdir()
    real = shutil.which(python, path=os.pathsep.join(path))
    assert real is not None, f"no program {python}"
    (programs / "python3").write_text(f'#!/bin/sh\nexec {shlex.quote(real)} "$@"\n')
    (programs / "python3").chmod(0o755)
    return {
        **env,
        "PATH": os.pathsep.join([str(programs), *path]),
        "TERM": "xterm-256color",
        "PIP_CACHE_DIR": str(folder / "pip"),
        "npm_config_cache": str(folder / "npm"),
    }


def _report(visits: list[Visit], python: str) -> str:
    commit = _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")
    version = _output(python, "--version")
    cores, load = os.cpu_count(), os.getloadavg()[0]
    rows = [
        f"| {made.door.name} | {made.door.link} | {made.total_s:.0f} | {made.installing_s:.0f} "
        f"| {made.silence_s:.1f} |"
        for made in visits
    ]
    text = [
        f"Measured on {datetime.now(UTC):%d %B %Y} at commit {commit}: {version}, {platform.system()} "
        f"{platform.machine()}, {cores} cores, load {load:.1f} at the end.\n",
        "| way | section | seconds until the last answer | of these, installing | longest silence after it |",
        "| --- | --- | ---: | ---: | ---: |",
        *rows,
        "",
    ]
    for made in visits:
        text += [f"### {made.door.name}\n", "```text"]
        for end, typed, shown in made.lines:
            text += [f"{end:6.1f} s  {typed.replace(chr(10), chr(10) + ' ' * 10)}"]
            text += [f"{'':10}{line}" for line in shown]
        text += ["```\n"]
    return "\n".join(text)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Try the doors and print what was measured. Return the number of those that failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.doors", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--docs", action="store_true", help="write docs/first-run.md")
    parser.add_argument("--python", default="python3", help="the program that is python3 on the pages")
    given = parser.parse_args()
    visits, failed = [], []
    for door in DOORS:
        if given.words and not any(word.lower() in door.name.lower() for word in given.words):
            continue
        print(f"{door.name}: {door.page}, {door.heading}", flush=True)
        with tempfile.TemporaryDirectory(prefix="trunkline-door-", ignore_cleanup_errors=True) as folder:
            try:
                visits.append(visit(door, Path(folder), given.python))
            except (AssertionError, ValueError) as error:
                failed.append(door.name)
                print(f"  failed: {error}", flush=True)
    if visits:
        report = _report(visits, given.python)
        print(f"\n{report}")
        if given.docs and not failed and not given.words:
            before, _, rest = PAGE.read_text().partition(BEGIN)
            PAGE.write_text(f"{before}{BEGIN}\n{report}{END}{rest.partition(END)[2]}")
    print(f"{len(visits)} doors opened, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
