from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest

from trunkline.cli.doctor.findings import Verdict
from trunkline.cli.doctor.gateway import is_gateway, readiness, upstream
from trunkline.emulator import Emulator

from ...gateway.running import Running, running
from ..command import environment, trunkline

REQUEST = {"model": "echo", "input": "hi"}


async def checks(base_url: str, key: str) -> dict[str, Any]:
    """The checks of the command by their names."""
    env = environment(OPENAI_BASE_URL=base_url, OPENAI_API_KEY=key)
    done = await asyncio.to_thread(trunkline, "doctor", "--json", env=env)
    return {each["name"]: each for each in json.loads(done.stdout)["checks"]}


def bearer(gateway: Running) -> dict[str, str]:
    return {"authorization": f"Bearer {gateway.api_key}"}


async def test_a_gateway_is_recognised(emulator: Emulator) -> None:
    async with running(emulator) as gateway:
        found = await checks(gateway.base_url, gateway.api_key)
    assert {each["result"] for name, each in found.items() if name != "TLS"} == {"ok"}
    assert list(found)[4:6] == ["upgrade", "gateway"]
    assert found["gateway"]["found"] == "a trunkline gateway; /readyz: it takes work"
    assert "without being told" in found["lanes"]["found"]
    assert "upstream on lane" in found["gateway, upstream"]["found"]
    assert "lanes" not in (found["gateway, upstream"]["advice"] or "")


async def test_a_service_is_no_gateway(emulator: Emulator) -> None:
    found = await checks(emulator.base_url, emulator.api_key or "")
    assert not any(name.startswith("gateway") for name in found)


async def test_a_gateway_that_refuses_the_key_is_recognised(emulator: Emulator) -> None:
    tenant = {"voice": {"keys_sha256": ["0" * 64]}}
    service = {"base_url": emulator.base_url, "api_key_env": "UPSTREAM_KEY"}
    async with running(emulator, upstream={"openai": service}, tenant=tenant) as gateway:
        found = await checks(gateway.base_url, "sk-wrong-key-of-nobody")
    assert found["gateway"]["result"] == "ok"
    assert found["key"]["result"] == "failed"
    assert "gateway, upstream" not in found


async def test_a_draining_gateway_is_a_warning(emulator: Emulator) -> None:
    async with running(emulator, drain={"notice_s": 3600, "within_s": 3600}) as gateway:
        drain = asyncio.create_task(gateway.gateway.drain())
        while gateway.gateway.life.is_ready:
            await gateway.gateway.life.changed()
        found = await readiness(f"{gateway.base_url}/responses")
        gateway.gateway.life.cut()
        await drain
    assert found.verdict is Verdict.WARNING
    assert "shutting down" in found.detail
    assert "running answers" in found.advice


async def test_a_server_without_readiness_is_a_warning(emulator: Emulator) -> None:
    found = await readiness(f"{emulator.base_url}/responses")
    assert (found.verdict, found.detail) == (
        Verdict.WARNING,
        "a trunkline gateway, but /readyz has HTTP status 401",
    )


@pytest.mark.parametrize(
    ("lanes", "quirks", "verdict", "words", "advice"),
    [
        (True, [], Verdict.OK, "on lane", ""),
        (False, [], Verdict.OK, "without a lane", "set lanes = true"),
        (True, ["ollama"], Verdict.WARNING, "over HTTP", "speaks WebSocket"),
    ],
)
async def test_the_way_upstream_is_shown(
    lanes: bool, quirks: list[str], verdict: Verdict, words: str, advice: str
) -> None:
    async with Emulator(quirks=quirks) as emulator:
        service = {"base_url": emulator.base_url, "lanes": lanes}
        async with running(emulator, upstream={"openai": service}) as gateway:
            found = await upstream(f"{gateway.base_url}/responses", bearer(gateway), REQUEST)
    assert found.verdict is verdict
    assert words in found.detail
    assert advice in found.advice


async def test_a_refused_turn_is_a_warning(emulator: Emulator) -> None:
    async with running(emulator) as gateway:
        found = await upstream(
            f"{gateway.base_url}/responses", bearer(gateway), {**REQUEST, "temperature": 9}
        )
    assert (found.verdict, found.detail) == (Verdict.WARNING, "a turn was refused with HTTP status 400")


def test_the_header_is_what_counts() -> None:
    assert is_gateway(httpx2.Headers({"X-Trunkline-Gateway": "1"}))
    assert not is_gateway({"server": "trunkline"})
