"""Processes of a fleet: replicas of the gateway, and nginx with the configuration of deploy/."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ..waiting import soon, until

DEPLOY = Path(__file__).parents[2] / "deploy"
_SETTINGS_OF_A_TEST = """daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
"""
_NAMES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_FOLDERS = "".join(f"    {name}_temp_path {{folder}}/{name};\n" for name in _NAMES)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port: int = reserved.getsockname()[1]
    return port


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A program that listens on a port."""

    def __init__(self, port: int, *command: str) -> None:
        self.port = port
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        quiet = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=quiet, env={**os.environ})
        await until(lambda: accepts(self.port), f"{self._command[0]} listens", within_s=60)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit code."""
        assert self._process is not None
        return await soon(self._process.wait(), 60)

    async def stop(self) -> None:
        """End it at once, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


def replica(folder: Path, upstream: str, *, notice_s: float = 0.2, within_s: float = 60) -> Process:
    """A replica of the gateway, as ``trunkline serve`` runs it."""
    port = free_port()
    path = folder / f"{port}.toml"
    path.write_text(
        f"[listen]\nport = {port}\n[admin]\nport = false\n"
        f'[upstream.openai]\nbase_url = "{upstream}"\nlanes = true\n'
        f"[drain]\nnotice_s = {notice_s}\nwithin_s = {within_s}\n"
    )
    return Process(port, sys.executable, "-m", "trunkline", "serve", "--config", str(path))


def nginx_configuration(folder: Path, port: int, upstreams: list[int]) -> str:
    """The shipped configuration with these ports.

    Args:
        folder: where it may write.
        port: where it listens.
        upstreams: the ports of the replicas.
    """
    text = (DEPLOY / "nginx.conf").read_text()
    text, listens = re.subn(r"listen 127\.0\.0\.1:\d+;", f"listen 127.0.0.1:{port};", text)
    (line,) = set(re.findall(r"server 127\.0\.0\.1:\d+( [^;]*);", text))
    servers = "".join(f"        server 127.0.0.1:{each}{line};\n" for each in upstreams)
    text, replaced = re.subn(r"(?: *server 127\.0\.0\.1:\d+[^;]*;\n)+", servers, text)
    assert listens == replaced == 1
    text = text.replace("http {\n", "http {\n    access_log off;\n" + _FOLDERS.format(folder=folder), 1)
    return _SETTINGS_OF_A_TEST.format(folder=folder) + text


def nginx_program() -> str:
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    assert program is not None, "nginx is not installed: apt-get install nginx-light"
    return program


class Fleet:
    """Replicas behind nginx."""

    def __init__(self, replicas: list[Process], nginx: Process) -> None:
        self.replicas = replicas
        self.nginx = nginx

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.nginx.port}/v1"


@asynccontextmanager
async def fleet(folder: Path, upstream: str, number: int) -> AsyncIterator[Fleet]:
    """So many replicas behind nginx, which hashes over them."""
    replicas = [replica(folder, upstream) for _ in range(number)]
    port = free_port()
    path = folder / "nginx.conf"
    path.write_text(nginx_configuration(folder, port, [each.port for each in replicas]))
    nginx = Process(port, nginx_program(), "-e", str(folder / "error.log"), "-c", str(path))
    found = Fleet(replicas, nginx)
    try:
        await asyncio.gather(*(each.start() for each in replicas))
        await nginx.start()
        yield found
    finally:
        await asyncio.gather(*(each.stop() for each in (nginx, *replicas)))
