from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import ssl
import stat
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import trustme
from openai import AsyncOpenAI, AuthenticationError

import trunkline
from trunkline.emulator import Emulator
from trunkline.errors import ConfigurationError, ResponseRefused
from trunkline.gateway import Gateway
from trunkline.gateway.configuration import of
from trunkline.gateway.serving import served

from ..waiting import soon, until
from .running import running

MCP = [{"type": "mcp", "server_label": "x", "server_url": "https://example.org/mcp"}]


@asynccontextmanager
async def process(path: Path, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """``trunkline serve`` with a configuration, once it listens."""
    command = [sys.executable, "-m", "trunkline", "serve", "--config", str(path)]
    started = await asyncio.create_subprocess_exec(
        *command,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environ},
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def url_of(started: asyncio.subprocess.Process) -> str:
    assert started.stdout is not None
    first = (await soon(started.stdout.readline(), 60)).decode()
    assert "listens at" in first, await started.communicate()
    return first.split()[-1]


def configured(path: Path, emulator: Emulator, drain: str = "notice_s = 0\nwithin_s = 60") -> Path:
    path.write_text(
        f'[listen]\nport = 0\n[admin]\nport = 0\n[upstream.openai]\nbase_url = "{emulator.base_url}"\n'
        f"lanes = true\n[drain]\n{drain}\n"
    )
    return path


async def test_sigterm_lets_the_running_answer_end(emulator: Emulator, tmp_path: Path) -> None:
    gate = emulator.faults.hold(event_type="response.completed")
    async with process(configured(tmp_path / "t.toml", emulator)) as started:
        url = await url_of(started)
        async with AsyncOpenAI(base_url=url, api_key=emulator.api_key, max_retries=0) as client:
            answer = asyncio.create_task(client.responses.create(model="echo", input="long"))
            await until(lambda: len(emulator.requests) == 1, "the request is upstream", within_s=30)
            started.send_signal(signal.SIGTERM)
            host, port = httpx2.URL(url).host, httpx2.URL(url).port
            await until(lambda: refuses(host, port), "it listens no more", within_s=30)
            gate.open()
            assert (await soon(answer, 30)).output_text == "long"
        _, err = await soon(started.communicate(), 30)
        assert started.returncode == 0, err
        assert err.decode().strip() == "stopped"


async def test_answers_beyond_the_time_of_the_drain_end_with_typed_errors(
    emulator: Emulator, tmp_path: Path
) -> None:
    """`echo` is held before its first event, `words-10` before its last one."""
    emulator.faults.hold(model="echo", event_type="response.created", times=None)
    emulator.faults.hold(model="words-10", event_type="response.completed", times=None)
    path = configured(tmp_path / "t.toml", emulator, "notice_s = 0\nwithin_s = 0.1")
    async with process(path) as started:
        url = await url_of(started)
        async with AsyncOpenAI(base_url=url, api_key=emulator.api_key, max_retries=0) as client:
            create: Any = client.responses.create
            outputs: asyncio.Queue[str] = asyncio.Queue()

            async def streamed(model: str, **fields: Any) -> None:
                async for event in await create(model=model, input="hi", stream=True, **fields):
                    if event.type == "response.output_text.delta":
                        outputs.put_nowait(event.delta)

            async def over(transport: Any, model: str) -> None:
                policy = trunkline.Policy(max_attempts=1)
                async with (
                    trunkline.Client(
                        base_url=url, api_key=emulator.api_key, transport=transport, lanes=True, policy=policy
                    ) as own,
                    own.stream(model=model, input="hi") as stream,
                ):
                    async for text in stream.text():
                        outputs.put_nowait(text)

            asked = [
                asyncio.ensure_future(each)
                for each in (
                    create(model="echo", input="hi"),
                    streamed("echo"),
                    create(model="echo", input="hi", tools=MCP),
                    streamed("echo", tools=MCP),
                    streamed("words-10"),
                    over("http", "words-10"),
                    over("websocket", "words-10"),
                    over("websocket", "echo"),
                )
            ]
            await until(lambda: len(emulator.requests) == len(asked), "all are upstream", within_s=60)
            for _ in range(30):
                await soon(outputs.get(), 30)
            started.send_signal(signal.SIGTERM)
            found = await soon(asyncio.gather(*asked, return_exceptions=True), 60)
        _, err = await soon(started.communicate(), 60)

    whole, stream, acting, acting_stream, broken, over_http, over_lanes, silent = found
    for error in (whole, stream):
        assert isinstance(error, openai.InternalServerError), error
        assert error.status_code == 503
        assert error.response.headers["retry-after"] == "1"
        assert error.response.headers["connection"] == "close"
    assert isinstance(acting, openai.InternalServerError)
    assert (acting.status_code, acting.response.headers["x-should-retry"]) == (504, "false")
    for error in (acting_stream, broken):
        assert type(error) is openai.APIError, error
        body: Any = error.body
        assert body["headers"] == {"x-should-retry": "false"}
        assert body["code"] == "gateway_shutting_down"
    for error in (over_http, over_lanes):
        assert isinstance(error, ResponseRefused)
        assert (error.code, error.should_retry) == ("gateway_shutting_down", False)
        assert error.output_seen
        assert not error.is_transient
    assert isinstance(silent, ResponseRefused)
    assert silent.code == "websocket_connection_limit_reached"
    assert started.returncode == 0
    assert err.decode().strip() == "stopped"


def refuses(host: str, port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port or 0)) != 0


async def test_a_second_ctrl_c_ends_at_once(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.hold(event_type="response.completed")
    path = configured(tmp_path / "t.toml", emulator, "notice_s = 3600\nwithin_s = 3600")
    async with process(path) as started:
        url = await url_of(started)
        async with httpx2.AsyncClient() as http:
            started.send_signal(signal.SIGINT)
            ready = f"{url.removesuffix('/v1')}/readyz"
            while (await http.get(ready)).status_code != 503:
                await asyncio.sleep(0.01)
        started.send_signal(signal.SIGINT)
        await soon(started.communicate(), 30)
        assert started.returncode == 0


async def test_sighup_reads_the_configuration_again(emulator: Emulator, tmp_path: Path) -> None:
    path = configured(tmp_path / "t.toml", emulator)
    async with process(path) as started:
        url = await url_of(started)
        async with AsyncOpenAI(base_url=url, api_key=emulator.api_key, max_retries=0) as client:
            await client.responses.create(model="echo", input="hi")
            path.write_text("[listen]\nprot = 1\n")
            started.send_signal(signal.SIGHUP)
            assert started.stderr is not None
            assert b"listen.prot is no setting" in await soon(started.stderr.readline(), 30)
            assert (await client.responses.create(model="echo", input="on")).output_text == "on"
            async with Emulator(api_key="sk-other") as other:
                configured(path, other)
                started.send_signal(signal.SIGHUP)

                async def moved() -> bool:
                    try:
                        await client.with_options(api_key="sk-other").responses.create(
                            model="echo", input="hi"
                        )
                    except AuthenticationError:
                        return False
                    return True

                while not await soon(moved(), 30):
                    pass
                assert other.requests


async def test_the_checks_of_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("[listen]\nport = 'x'\n[drain]\nwithin_s = -1\n")
    async with process(path) as started:
        _, err = await soon(started.communicate(), 60)
        lines = err.decode().splitlines()
        assert started.returncode == 1
        assert [line.split()[1] for line in lines] == ["listen.port:", "drain.within_s:"]


async def test_a_unix_socket_is_its_owners_alone(emulator: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "own" / "gateway.sock"
    async with running(emulator, listen={"uds": str(path)}) as gateway:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert gateway.served.url == f"unix:{path}"
        transport = httpx2.AsyncHTTPTransport(uds=str(path))
        async with httpx2.AsyncClient(transport=transport) as http:
            headers = {"authorization": f"Bearer {emulator.api_key}"}
            answer = await http.post(
                "http://gateway/v1/responses", headers=headers, json={"model": "echo", "input": "hi"}
            )
            assert answer.status_code == 200
        with pytest.raises(ConfigurationError, match="cannot be listened on"):
            async with served(Gateway(of({"listen": {"uds": str(path)}, "admin": {"port": False}}, {}))):
                pass
    assert not path.exists()


async def test_a_dead_socket_file_is_replaced(emulator: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with running(emulator, listen={"uds": str(path)}):
        assert path.is_socket()


UPGRADE = (
    b"GET /v1/responses HTTP/1.1\r\nhost: 127.0.0.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Bursting(Gateway):
    """Writes many frames at once on each WebSocket when it may."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.may_write = asyncio.Event()
        self.end: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await self.may_write.wait()
        try:
            for _ in range(100):
                await send({"type": "websocket.send", "text": "{}"})
        except OSError as error:
            self.end.set_result(error)
        else:
            self.end.set_result(None)


async def test_nothing_is_written_to_a_connection_that_was_lost(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(emulator, made=Bursting) as gateway:
        app = gateway.gateway
        assert isinstance(app, Bursting)
        url, loop = httpx2.URL(gateway.base_url), asyncio.get_running_loop()
        with socket.socket() as caller:
            caller.setblocking(False)
            await soon(loop.sock_connect(caller, (url.host, url.port)))
            await loop.sock_sendall(caller, UPGRADE)
            assert b" 101 " in await soon(loop.sock_recv(caller, 4096))
            # A reset. No callback of the loop tells the server of it before it writes.
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        app.may_write.set()
        assert isinstance(await soon(app.end), OSError)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("table", ["listen", "admin"])
async def test_a_used_port_is_named(table: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        tables: dict[str, Any] = {"listen": {"port": 0}, "admin": {"port": 0}, table: {"port": port}}
        with pytest.raises(ConfigurationError, match=f"{table}.port is {port}"):
            async with served(Gateway(of(tables, {}))):
                pass


async def test_tls_is_served(emulator: Emulator, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "chain.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    files = {"tls_certificate": str(tmp_path / "chain.pem"), "tls_key": str(tmp_path / "key.pem")}
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with running(emulator, listen={"port": 0, **files}) as gateway:
        assert gateway.base_url.startswith("https://")
        async with httpx2.AsyncClient(verify=context) as http:
            headers = {"authorization": f"Bearer {emulator.api_key}"}
            body = {"model": "echo", "input": "hi"}
            answer = await http.post(f"{gateway.base_url}/responses", headers=headers, json=body)
            assert answer.status_code == 200
        async with (
            gateway.client(ssl_context=context) as client,
            client.conversation(model="echo").send("hi") as stream,
        ):
            assert (await stream.finish()).output_text == "hi"


@pytest.mark.parametrize("content", [None, "no PEM"])
async def test_certificates_that_cannot_be_used_are_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "chain.pem"
    if content is not None:
        path.write_text(content)
    tables = {"listen": {"port": 0, "tls_certificate": str(path), "tls_key": str(path)}}
    with pytest.raises(ConfigurationError, match=r"chain\.pem' cannot be used: "):
        async with served(Gateway(of(tables, {}))):
            pass
