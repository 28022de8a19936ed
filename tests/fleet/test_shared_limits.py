"""Replicas that share limits in a real Redis, which is paused, killed, emptied and slow."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme

from trunkline.emulator import Emulator
from trunkline.emulator.gate import Gate

from ..waiting import soon, until
from .processes import Process, accepts, free_port

KEY = "sk-of-voice"
PASSWORD = "canary-password"
LONG_S = 10
"""The life of a lease that expires on no busy machine."""


def redis_server(folder: Path, **more: Any) -> Process:
    """A server that keeps nothing on disk. It is empty after each start."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    assert program is not None, "redis-server is not installed: apt-get install redis-server"
    port = free_port()
    settings = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "requirepass": PASSWORD}
    settings |= {name.replace("_", "-"): value for name, value in more.items()}
    if "tls-cert-file" in settings:
        settings |= {"port": 0, "tls-port": port}
    arguments = [each for name, value in settings.items() for each in (f"--{name}", str(value))]
    return Process(port, program, *arguments, "--enable-debug-command", "local")


def commands(redis: Process, *lines: str) -> None:
    """Let the server execute commands."""
    with (
        socket.create_connection(("127.0.0.1", redis.port)) as connection,
        connection.makefile("rb") as answers,
    ):
        for line in (f"AUTH {PASSWORD}", *lines):
            connection.sendall(f"{line}\r\n".encode())
            assert answers.readline()[:1] in b"+:"


def settle(redis: Process, limit: str) -> None:
    """Let the ledger of a limit be as after the time in which it grants nothing."""
    wall_ms = round(time.time() * 1000)
    commands(redis, f"HSET trunkline:{{voice}}:{limit} clock '0 {wall_ms} 0'")


class Replica:
    """A replica of the gateway with one tenant.

    Attributes:
        process: the process.
    """

    def __init__(
        self, folder: Path, emulator: Emulator, redis: Process, limits: dict[str, int], **shared: Any
    ) -> None:
        port, self._admin = free_port(), free_port()
        url = f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0"
        tables: dict[str, dict[str, Any]] = {
            "listen": {"port": port},
            "admin": {"port": self._admin},
            "drain": {"notice_s": 0},
            "upstream.openai": {
                "base_url": emulator.base_url,
                "lanes": True,
                "api_key_env": "TRUNKLINE_TEST_KEY",
            },
            "tenant.voice": {"keys_sha256": [sha256(KEY.encode()).hexdigest()], **limits},
            "shared": {"valkey": url, "lease_s": 1, **shared},
        }
        path = folder / f"{port}.toml"
        path.write_text(
            "".join(
                f"[{table}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
                for table, values in tables.items()
            )
        )
        self.process = Process(port, sys.executable, "-m", "trunkline", "serve", "--config", str(path))
        self._http = httpx2.AsyncClient(timeout=60, headers={"authorization": f"Bearer {KEY}"})

    async def start(self) -> None:
        await self.process.start()
        await until(lambda: accepts(self._admin), "its metrics are served", within_s=60)

    async def close(self) -> None:
        await self.process.stop()
        await self._http.aclose()

    async def turn(self) -> int:
        """Take a turn; the status of its answer."""
        url = f"http://127.0.0.1:{self.process.port}/v1/responses"
        answer = await self._http.post(url, json={"model": "echo", "input": "hi"})
        if answer.status_code != 200:
            assert int(answer.headers["retry-after"]) >= 1
        return answer.status_code

    async def answered(self) -> None:
        """Take turns until one is answered."""
        while await self.turn() != 200:
            await asyncio.sleep(0.02)

    async def measured(self, name: str) -> float:
        """The sum of a metric over its labels."""
        text = (await self._http.get(f"http://127.0.0.1:{self._admin}/metrics")).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    async def leases(self, is_held: bool = True) -> None:
        """Wait until it holds leases, or until it has none."""
        while bool(await soon(self.measured("trunkline_quota_leased"), 30)) != is_held:
            await asyncio.sleep(0.02)
            if not is_held:
                await self.turn()  # turns look whether a lease has expired


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Process]:
    found = redis_server(tmp_path)
    await found.start()
    yield found
    await found.stop()


@pytest.fixture(autouse=True)
def key_of_the_service(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_TEST_KEY", emulator.api_key or "")


@asynccontextmanager
async def sharing(*replicas: Replica) -> AsyncIterator[None]:
    """These replicas, once they hold leases."""
    try:
        await asyncio.gather(*(each.start() for each in replicas))
        await asyncio.gather(*(each.leases() for each in replicas))
        yield
    finally:
        await asyncio.gather(*(each.close() for each in replicas))


class Crowd:
    """Callers whose turns are held upstream.

    Attributes:
        statuses: the answers so far.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.statuses: Counter[int] = Counter()
        self._emulator = emulator
        self._gate: Gate = emulator.faults.hold(event_type="response.completed", times=None)
        self._turns: set[asyncio.Task[None]] = set()

    def begin(self, replica: Replica, number: int) -> None:
        """Take turns at the same time."""
        for _ in range(number):
            self._turns.add(asyncio.ensure_future(self._turn(replica)))

    async def settled(self) -> int:
        """Wait until each turn is refused or runs. Return the number that run."""

        def known() -> bool:
            return len(self._emulator.requests) + sum(self.statuses.values()) >= len(self._turns)

        await until(known, "each turn is refused or runs", within_s=60)
        return len(self._emulator.requests)

    async def fill(self, replica: Replica, running: int) -> None:
        """Try until so many turns run."""
        while await self.settled() < running:
            self.begin(replica, 1)
            await asyncio.sleep(0.02)

    async def end(self) -> None:
        """Let all turns end."""
        self._gate.open()
        await soon(asyncio.gather(*self._turns), 60)

    async def _turn(self, replica: Replica) -> None:
        try:
            self.statuses[await replica.turn()] += 1
        except httpx2.HTTPError:  # the replica was killed
            self.statuses[0] += 1


async def test_three_replicas_keep_to_the_turns_at_a_time(
    tmp_path: Path, emulator: Emulator, redis: Process
) -> None:
    limits = {"turns_in_flight": 12}
    replicas = [Replica(tmp_path, emulator, redis, limits, lease_s=LONG_S) for _ in range(3)]
    settle(redis, "turns_in_flight")
    async with sharing(*replicas):
        crowd = Crowd(emulator)
        for each in replicas:
            crowd.begin(each, 12)
        assert 4 <= await crowd.settled() <= 12
        # Those of an idle replica go to the one that needs them.
        await crowd.fill(replicas[0], 12)
        for each in replicas:
            crowd.begin(each, 4)
        assert await crowd.settled() == 12
        await crowd.end()
        assert crowd.statuses[200] == 12
        assert set(crowd.statuses) == {200, 429}


async def test_two_replicas_keep_to_the_turns_in_a_minute(
    tmp_path: Path, emulator: Emulator, redis: Process
) -> None:
    limits = {"turns_per_minute": 30}
    replicas = [Replica(tmp_path, emulator, redis, limits, lease_s=LONG_S) for _ in range(2)]
    settle(redis, "turns_per_minute")
    async with sharing(*replicas):
        begun = time.monotonic()
        statuses: Counter[int] = Counter()
        while statuses[200] < 30:
            statuses.update(await asyncio.gather(*(each.turn() for each in replicas)))
            await asyncio.sleep(0.02)
        statuses.update(await asyncio.gather(*(each.turn() for each in replicas * 10)))
        if time.monotonic() - begun < 60:  # else some of the first have left the minute
            assert statuses[200] == 30
        assert set(statuses) == {200, 429}


async def test_no_turn_fails_while_redis_is_paused_and_then_down(
    tmp_path: Path, emulator: Emulator, redis: Process, capfd: pytest.CaptureFixture[str]
) -> None:
    limits = {"turns_in_flight": 40, "turns_per_minute": 6000}
    replicas = [Replica(tmp_path, emulator, redis, limits, replicas=2, lease_s=2) for _ in range(2)]

    async def turns() -> None:
        for _ in range(10):
            assert await asyncio.gather(*(each.turn() for each in replicas * 5)) == [200] * 10

    async with sharing(*replicas):
        redis.signal(signal.SIGSTOP)
        await turns()
        await asyncio.gather(*(each.leases(False) for each in replicas))
        await turns()
        redis.signal(signal.SIGKILL)
        await redis.ended()
        await turns()
        assert all([await each.measured("trunkline_lease_failures_total") for each in replicas])
        # Half of the limit is each one's own.
        crowd = Crowd(emulator)
        before = len(emulator.requests)
        for each in replicas:
            crowd.begin(each, 25)
        await until(lambda: sum(crowd.statuses.values()) == 10, "those beyond are refused", within_s=60)
        await until(lambda: len(emulator.requests) - before == 40, "the others run", within_s=60)
        await crowd.end()
        await redis.start()  # empty
        await asyncio.gather(*(each.leases() for each in replicas))
        await turns()
    log = capfd.readouterr().err
    address = f"redis://127.0.0.1:{redis.port}"
    assert log.count(f"Valkey at {address} does not renew leases (TimeoutError)") >= 2
    assert log.count(f"Valkey at {address} renews leases again") >= 2
    assert PASSWORD not in log


async def test_a_killed_replica_does_not_lock_its_tenant_out(
    tmp_path: Path, emulator: Emulator, redis: Process
) -> None:
    dead, living = (Replica(tmp_path, emulator, redis, {"turns_in_flight": 32}) for _ in range(2))
    async with sharing(dead, living):
        crowd = Crowd(emulator)
        await crowd.fill(dead, 30)
        dead.process.signal(signal.SIGKILL)
        await dead.process.ended()
        await until(lambda: crowd.statuses[0] == len(emulator.requests), "its turns end", within_s=60)
        await crowd.fill(living, crowd.statuses[0] + 32)
        await crowd.end()


async def test_a_redis_that_lost_its_data_grants_nothing_twice(
    tmp_path: Path, emulator: Emulator, redis: Process
) -> None:
    shared = {"when_down": "refuse", "lease_s": 4}
    busy, idle = (Replica(tmp_path, emulator, redis, {"turns_in_flight": 8}, **shared) for _ in range(2))
    settle(redis, "turns_in_flight")
    async with sharing(busy, idle):
        crowd = Crowd(emulator)
        await crowd.fill(busy, 8)
        redis.signal(signal.SIGKILL)
        await redis.ended()
        await redis.start()
        for _ in range(2):  # while the new ledger knows nothing, and after it has settled
            for each in (busy, idle):
                crowd.begin(each, 8)
            assert await crowd.settled() == 8
            await asyncio.gather(busy.leases(), idle.leases())
        await crowd.end()
        assert crowd.statuses[200] == 8
        assert set(crowd.statuses) <= {200, 429, 503}


async def test_without_redis_turns_are_refused_if_so_configured(
    tmp_path: Path, emulator: Emulator, redis: Process
) -> None:
    replica = Replica(tmp_path, emulator, redis, {"turns_in_flight": 8}, when_down="refuse")
    async with sharing(replica):
        await replica.answered()
        redis.signal(signal.SIGSTOP)
        await replica.leases(False)
        assert await replica.turn() == 503
        redis.signal(signal.SIGCONT)
        await replica.answered()


async def test_turns_do_not_wait_for_a_slow_redis(tmp_path: Path, emulator: Emulator, redis: Process) -> None:
    replica = Replica(tmp_path, emulator, redis, {"turns_in_flight": 8}, lease_s=5)
    settle(redis, "turns_in_flight")
    async with sharing(replica):
        stop = threading.Event()

        def slow_down() -> None:
            while not stop.is_set():
                commands(redis, "DEBUG SLEEP 0.3")

        slowing = asyncio.ensure_future(asyncio.to_thread(slow_down))
        for _ in range(50):
            assert await replica.turn() == 200
        await replica.leases()
        stop.set()
        await soon(slowing, 30)


@pytest.mark.parametrize("scheme", ["rediss", "unix"])
async def test_leases_over_tls_and_unix_sockets(tmp_path: Path, emulator: Emulator, scheme: str) -> None:
    authority, path = trustme.CA(), tmp_path / "redis.sock"
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "chain.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = {
        "tls_cert_file": tmp_path / "chain.pem",
        "tls_key_file": tmp_path / "key.pem",
        "tls_ca_cert_file": tmp_path / "ca.pem",
        "tls_auth_clients": "no",
    }
    redis = redis_server(tmp_path, **(tls if scheme == "rediss" else {"unixsocket": path}))
    urls = {
        "rediss": f"rediss://:{PASSWORD}@localhost:{redis.port}/1?ssl_ca_certs={tmp_path / 'ca.pem'}",
        "unix": f"unix://{path}?db=1&password={PASSWORD}",
    }
    await redis.start()
    try:
        async with sharing(Replica(tmp_path, emulator, redis, {"turns_in_flight": 8}, valkey=urls[scheme])):
            pass
    finally:
        await redis.stop()
