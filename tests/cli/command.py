"""The real command in a separate process, in a pipe or a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

TIMEOUT_S = 30.0 * float(os.environ.get("TRUNKLINE_TEST_TIME_SCALE", "1"))
TRUNKLINE = str(Path(sys.executable).with_name("trunkline"))
ESCAPE = "\x1b"

# A process receives Ctrl-C only from its controlling terminal, which it must acquire. An ignored SIGINT is
# inherited; it is set here, so that it does not depend on what started the tests.
_TAKE_TERMINAL = (
    "import fcntl, os, signal, sys, termios; "
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "signal.signal(signal.SIGINT, getattr(signal, sys.argv[1])); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)
_ROWS, _COLUMNS = 40, 200


def environment(**given: str) -> dict[str, str]:
    """This process's environment without variables that affect the commands, plus the given ones."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OPENAI_") and name not in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES")
    }
    return {**ours, **given}


def trunkline(
    *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, in pipes."""
    return subprocess.run(
        [TRUNKLINE, *arguments],
        input=stdin,
        env=env if env is not None else environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


class Running:
    """A running command. Output is read only by the waiting methods."""

    def __init__(self, process: subprocess.Popen[bytes], output: int, keyboard: int | None) -> None:
        self.process = process
        self.seen = ""
        self._output = output
        self._keyboard = keyboard
        self._from = 0

    def wait_for(self, text: str) -> str:
        """Wait for a text after the last one; return the output up to its end."""
        deadline = time.monotonic() + TIMEOUT_S
        while (found := self.seen.find(text, self._from)) < 0:
            if not self._read(deadline):
                raise AssertionError(f"{text!r} did not come in {self.seen[self._from :]!r}")
        start, self._from = self._from, found + len(text)
        return self.seen[start : self._from]

    def type(self, text: str) -> None:
        """Press keys."""
        assert self._keyboard is not None
        os.write(self._keyboard, text.encode())

    def end(self) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + TIMEOUT_S
        while self._read(deadline):
            pass
        return self.process.wait(TIMEOUT_S)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._output], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._output, 65536) if ready else b""
        except OSError:  # the other end of the terminal is closed
            data = b""
        self.seen += data.decode(errors="replace")
        return bool(data)


@contextlib.contextmanager
def in_terminal(
    *arguments: str, env: Mapping[str, str] | None = None, ignores_sigint: bool = False
) -> Iterator[Running]:
    """Run the command in a terminal, with the default SIGINT disposition or with SIGINT ignored."""
    given = env if env is not None else environment(TERM="dumb")
    with in_terminal_program(TRUNKLINE, *arguments, env=given, ignores_sigint=ignores_sigint) as running:
        yield running


@contextlib.contextmanager
def in_terminal_program(
    *command: str, env: Mapping[str, str], ignores_sigint: bool = False
) -> Iterator[Running]:
    """Run a program in a terminal."""
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
    signal_disposition = "SIG_IGN" if ignores_sigint else "SIG_DFL"
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, signal_disposition, *command],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=env,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        yield Running(process, controller, controller)
    finally:
        _stop(process)
        os.close(controller)


@contextlib.contextmanager
def in_pipe(*arguments: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run the command with its output and errors in one pipe."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [TRUNKLINE, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.STDOUT,
        env=env if env is not None else environment(),
    )
    os.close(writer)
    try:
        yield Running(process, reader, None)
    finally:
        _stop(process)
        os.close(reader)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait(TIMEOUT_S)
