from __future__ import annotations

import re

import httpx2

from trunkline.emulator import Emulator

from .running import running, with_tenants


async def test_the_metrics_tell_turns_and_sockets_by_tenant(emulator: Emulator) -> None:
    async with with_tenants(emulator) as gateway, gateway.openai() as client, httpx2.AsyncClient() as http:
        for text in ("one", "two"):
            await client.responses.create(model="echo", input=text)
        answer = await http.get(f"{gateway.served.admin_url}/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = answer.text.splitlines()
        labels = 'mode="full",outcome="answered",tenant="voice",transport="websocket"'
        assert f"trunkline_turns_total{{{labels}}} 2.0" in lines
        assert 'trunkline_upstream_sockets{tenant="voice"} 1.0' in lines
        assert 'trunkline_upstream_sockets{tenant="batch"} 0.0' in lines
        assert "trunkline_draining 0.0" in lines
        assert 'trunkline_first_output_seconds_count{tenant="voice"} 2.0' in lines
        assert gateway.api_key not in answer.text


async def test_the_state_of_the_page(emulator: Emulator) -> None:
    async with running(emulator) as gateway, gateway.openai() as client, httpx2.AsyncClient() as http:
        await client.responses.create(model="echo", input="one")
        state = (await http.get(f"{gateway.served.admin_url}/state")).json()
        assert state["stage"] == "serving"
        (tenant,) = state["tenants"]
        figures = {name: tenant[name] for name in ("name", "sockets", "turns", "full", "delta", "failed")}
        assert figures == {"name": "anyone", "sockets": 1, "turns": 1, "full": 1, "delta": 0, "failed": 0}
        assert tenant["first_output_ms"] > 0


async def test_the_page_runs_its_own_script_alone(emulator: Emulator) -> None:
    async with running(emulator) as gateway, httpx2.AsyncClient() as http:
        one, other = [await http.get(f"{gateway.served.admin_url}/") for _ in range(2)]
        (nonce,) = set(re.findall(r'nonce="([^"]+)"', one.text))
        assert f"script-src 'nonce-{nonce}'" in one.headers["content-security-policy"]
        assert nonce not in other.text
        assert not re.search(r"(src|href)=|https?://|innerHTML", one.text)


async def test_operators_have_a_listener_of_their_own(emulator: Emulator) -> None:
    async with running(emulator) as gateway, gateway.openai() as client, httpx2.AsyncClient() as http:
        answer = await http.get(f"{gateway.served.url}/metrics", headers={"host": "127.0.0.1"})
        assert answer.status_code == 404
        for method, path, status in (("GET", "/nothing", 404), ("POST", "/", 405), ("HEAD", "/", 200)):
            found = await http.request(method, f"{gateway.served.admin_url}{path}")
            assert found.status_code == status
        assert client.base_url.port != httpx2.URL(str(gateway.served.admin_url)).port


async def test_the_listener_can_be_left_out(emulator: Emulator) -> None:
    async with running(emulator, admin={"port": False}) as gateway:
        assert gateway.served.admin_url is None
