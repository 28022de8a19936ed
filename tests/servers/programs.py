"""Programs that a test starts: servers on free loopback ports, and scripts that talk to one."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from ..waiting import soon, until

BIN = Path(sys.prefix) / "bin"
NPM = Path(sys.prefix) / "npm"  # npm packages of the same environment
START_S = 120.0  # LiteLLM takes ten seconds on an idle machine


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port: int = reserved.getsockname()[1]
        return port


@asynccontextmanager
async def serving(
    *arguments: str | Path, port: int, folder: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """Run a server and yield its base URL once its port accepts connections; end it afterwards.

    Args:
        folder: working and home directory of the program; its output goes to ``log`` in it.
    """
    log = folder / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *arguments, cwd=folder, env=_environment(folder, environment), stdout=output, stderr=output
        )
    try:
        await until(
            lambda: process.returncode is not None or _accepts(port),
            f"{arguments[0]} accepts connections",
            within_s=START_S,
            describe=lambda: log.read_text(errors="replace"),
        )
        assert process.returncode is None, log.read_text(errors="replace")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        if process.returncode is None:
            process.kill()
        await soon(process.wait())


async def output_of(
    *arguments: str | Path, script: bytes, folder: Path, environment: Mapping[str, str]
) -> bytes:
    """Run a program with a script as its input, and return its output.

    Raises:
        AssertionError: it failed; the message has its errors.
    """
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=folder,
        env=_environment(folder, environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await soon(process.communicate(script), within_s=START_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode(errors="replace")
    return output


def _environment(folder: Path, more: Mapping[str, str] | None) -> dict[str, str]:
    """The variables of this process, with its environment's programs first and without proxies."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    path = os.pathsep.join((str(BIN), os.environ.get("PATH", os.defpath)))
    return {**kept, "PATH": path, "HOME": str(folder), **(more or {})}


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
