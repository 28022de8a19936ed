"""``trunkline serve`` and ``trunkline drain``: the gateway as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from ..errors import ConfigurationError
from ..extras import how_to_install

if TYPE_CHECKING:
    from ..gateway import Configuration
    from ..gateway.serving import Served

_LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Settings:
    """The command's options; ``None`` for those of the file and the environment."""

    config: Path | None = None
    host: str | None = None
    port: int | None = None
    uds: str | None = None
    admin_port: int | None = None
    pid_file: Path | None = None
    checks: bool = False


def run(settings: Settings, out: Console, err: Console) -> int:
    """Serve until a signal, or check the configuration. Return the exit code."""
    try:
        from ..gateway import read
        from ..gateway.serving import serve
    except ModuleNotFoundError as error:
        err.out(f"trunkline: the gateway needs {error.name}: {how_to_install('gateway')}", highlight=False)
        return 1

    def read_again() -> Configuration | None:
        try:
            return read(settings.config, {**os.environ, **_variables(settings)})
        except ConfigurationError as error:
            for mistake in str(error).splitlines():
                err.out(f"trunkline: {mistake}", highlight=False)
            return None

    configuration = read_again()
    if configuration is None:
        return 1
    for remark in configuration.remarks:
        err.out(f"remark: {remark}", highlight=False)
    if settings.checks:
        out.out("The configuration is valid.", highlight=False)
        return 0
    if settings.pid_file is not None:
        settings.pid_file.write_text(f"{os.getpid()}\n")
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(serve(configuration, lambda found: _announce(found, configuration, out), read_again))
    except ConfigurationError as error:
        err.out(f"trunkline: {error}", highlight=False)
        return 1
    finally:
        if settings.pid_file is not None:
            with suppress(FileNotFoundError):
                settings.pid_file.unlink()
    err.out("stopped", highlight=False)
    return 0


def drain(process: str, wait_s: float, out: Console, err: Console) -> int:
    """Drain a gateway, and wait for its end. Return the exit code.

    Args:
        process: its process id, or the file with it.
        wait_s: the time to wait, in seconds; 0 for none.
        out: for results.
        err: for errors.
    """
    pid = _pid_in(process)
    if pid is None:
        err.out(f"trunkline: {process} is neither a process id nor a file with one", highlight=False)
        return 1
    try:
        os.kill(pid, signal.SIGTERM)
    except (ProcessLookupError, PermissionError) as error:
        err.out(f"trunkline: process {pid} cannot be drained: {error.strerror}", highlight=False)
        return 1
    out.out(f"process {pid} drains", highlight=False)
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            out.out("ended", highlight=False)
            return 0
        time.sleep(_LOOK_S)
    if wait_s:
        err.out(f"trunkline: process {pid} has not ended within {wait_s:g} s", highlight=False)
    return 1 if wait_s else 0


def _pid_in(process: str) -> int | None:
    if not process.isdecimal():
        try:
            process = Path(process).read_text().strip()
        except (OSError, UnicodeDecodeError):
            return None
    return int(process) if process.isdecimal() and int(process) > 1 else None


def _variables(settings: Settings) -> dict[str, str]:
    """The options as the variables of the environment that they replace."""
    given = {
        "TRUNKLINE_HOST": settings.host,
        "TRUNKLINE_PORT": settings.port,
        "TRUNKLINE_UDS": settings.uds,
        "TRUNKLINE_ADMIN_PORT": settings.admin_port,
    }
    return {name: str(value) for name, value in given.items() if value is not None}


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ModuleNotFoundError:  # there is none for Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _announce(found: Served, configuration: Configuration, out: Console) -> None:
    out.out(f"The gateway listens at {found.url}/v1", style="bold", highlight=False)
    if configuration.listen.uds is None:
        out.out(f"export OPENAI_BASE_URL={found.url}/v1", highlight=False)
    if found.admin_url is not None:
        out.out(f"Metrics and the live page: {found.admin_url}/", highlight=False)
    if not configuration.tenants and not configuration.keys:
        out.out("Callers show their own key; each program on this machine is served.", highlight=False)
