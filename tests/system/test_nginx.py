"""Conversations through nginx as a reverse proxy, over both transports."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest

import trunkline
from trunkline.emulator import Emulator

from ..talk import assert_kept
from ..waiting import soon, until

CONFIGURATION = """
daemon off;
master_process {master};
worker_shutdown_timeout 200ms;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_header {{ default upgrade; "" ""; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_header;
            proxy_buffering off;
        }}
    }}
}}
"""


class Nginx:
    """An nginx in front of a server on a port of this machine.

    Args:
        folder: for its files.
        upstream: the port of the server.
        has_master: it has a master process, so that it can be reloaded.
    """

    def __init__(self, folder: Path, upstream: int, *, has_master: bool = False) -> None:
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            self.port: int = reserved.getsockname()[1]
        self._log = folder / "error.log"
        self._configuration = folder / "nginx.conf"
        self._configuration.write_text(
            CONFIGURATION.format(
                folder=folder,
                port=self.port,
                upstream=upstream,
                master="on" if has_master else "off",
                user="user root;" if has_master and os.geteuid() == 0 else "",
            )
        )
        self._has_master = has_master

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        assert program is not None, "nginx is not installed: apt-get install nginx-light"
        arguments = ("-e", str(self._log), "-c", str(self._configuration))
        self._process = await asyncio.create_subprocess_exec(program, *arguments)
        await until(self._accepts, "nginx accepts connections", describe=self._log_text)

    async def reload(self) -> None:
        """Begin with new workers. The old ones end their connections after a moment."""
        self._process.send_signal(signal.SIGHUP)
        await asyncio.sleep(0.5)

    async def stop(self) -> None:
        """Ends the process at once: nginx closes no connection in order."""
        if self._has_master:
            self._process.terminate()  # a fast shutdown, of the workers too
        else:
            self._process.kill()
        await soon(self._process.wait())

    def _accepts(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _log_text(self) -> str:
        return self._log.read_text() if self._log.exists() else ""


@pytest.fixture
async def nginx(tmp_path: Path, emulator: Emulator) -> AsyncIterator[Nginx]:
    upstream = urlsplit(emulator.base_url).port
    assert upstream is not None
    proxy = Nginx(tmp_path, upstream)
    await proxy.start()
    yield proxy
    await proxy.stop()


def client_of(nginx: Nginx, key: str | None, transport: Literal["websocket", "http"]) -> trunkline.Client:
    return trunkline.Client(base_url=nginx.base_url, api_key=key, transport=transport)


async def say(chat: trunkline.Conversation, text: str, emulator: Emulator) -> None:
    """Take a turn, whose context on the server must be that of the conversation."""
    async with chat.send(text) as stream:
        response = await soon(stream.finish())
    assert_kept(emulator, chat, response)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_conversation_through_nginx_keeps_its_context(
    transport: Literal["websocket", "http"], nginx: Nginx, emulator: Emulator
) -> None:
    async with client_of(nginx, emulator.api_key, transport) as client:
        chat = client.conversation(model="gpt-5.5")
        for text in ("one", "two", "three"):
            await say(chat, text, emulator)
    assert len(emulator.responses) == 3


async def test_turns_after_nginx_was_killed_keep_the_context(nginx: Nginx, emulator: Emulator) -> None:
    async with client_of(nginx, emulator.api_key, "websocket") as client:
        chat = client.conversation(model="gpt-5.5")
        await say(chat, "one", emulator)
        await nginx.stop()
        await nginx.start()
        for text in ("two", "three"):
            await say(chat, text, emulator)
    assert len(emulator.responses) == 3
