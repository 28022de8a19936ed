"""A shell in a terminal, for commands that a person would type."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time
from collections.abc import Mapping
from pathlib import Path

TIMEOUT_S = 600.0

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()=>][0-9A-Z]?|\r")
# Printed by the shell before a command runs and before each prompt. Quotes keep them apart from their echo.
_BEGUN, _ENDED = "<<begun>>", "<<ended "
_SET_UP = "PS0='<<''begun>>'; PS1='<<''ended $?>>'; PS2=''; bind 'set enable-bracketed-paste off'"


class Shell:
    """Bash in a terminal of its own."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.silence_s = 0.0
        """The longest time without output since it was last set to 0."""
        self._seen = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--noprofile", "--norc", "-i"], dict(env))
        self.type(f"{_SET_UP}\n")
        self.wait_for(f"{_ENDED}0>>")

    def run(self, command: str) -> str:
        """Run a command to its end, and return its output.

        Raises:
            AssertionError: it failed.
        """
        self.start(command)
        return self.finish()

    def start(self, command: str) -> None:
        """Type a command."""
        self.type(f"{command}\n")
        self.wait_for(_BEGUN)

    def finish(self) -> str:
        """Wait for the end of the command; return its output."""
        output = self.wait_for(_ENDED).removesuffix(_ENDED)
        code = self.wait_for(">>").removesuffix(">>")
        assert code == "0", f"exit code {code}:\n{output}"
        return output

    def type(self, text: str) -> None:
        """Press keys."""
        data = text.encode()
        while data:
            data = data[os.write(self._terminal, data) :]

    def wait_for(self, text: str) -> str:
        """Wait for a text; return the output up to its end, without codes of the terminal.

        Raises:
            AssertionError: it did not come.
        """
        until = time.monotonic() + TIMEOUT_S
        while (at := self._seen.find(text)) < 0:
            waited = time.monotonic()
            ready, _, _ = select.select([self._terminal], [], [], until - waited)
            self.silence_s = max(self.silence_s, time.monotonic() - waited)
            try:
                data = os.read(self._terminal, 65536) if ready else b""
            except OSError:  # the shell has ended
                data = b""
            assert data, f"{text!r} did not come in:\n{self._seen}"
            self._seen = _ESCAPE.sub("", self._seen + data.decode(errors="replace"))
        output, self._seen = self._seen[: at + len(text)], self._seen[at + len(text) :]
        return output

    def close(self) -> None:
        """End the shell and its jobs."""
        os.kill(self._pid, signal.SIGHUP)
        os.close(self._terminal)
        os.waitpid(self._pid, 0)
