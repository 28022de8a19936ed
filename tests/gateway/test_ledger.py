"""Shared limits of gateways: turns go on whatever Valkey does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import msgspec
import pytest
from openai import APIStatusError, AsyncOpenAI

from trunkline.emulator import Emulator
from trunkline.gateway import Gateway
from trunkline.gateway.leases import LeasedAllowance

from ..waiting import soon, until
from .running import KEYS, Running, with_tenants
from .small_valkey import PASSWORD, SmallValkey, small_valkey


@asynccontextmanager
async def sharing(
    emulator: Emulator, valkey: SmallValkey, number: int, in_flight: int = 10, **table: Any
) -> AsyncIterator[list[Running]]:
    """So many gateways, whose tenants share their limits."""
    shared = {"valkey": f"redis://:{PASSWORD}@127.0.0.1:{valkey.port}/0", "lease_s": 1.0, **table}
    voice = {"turns_in_flight": in_flight, "turns_per_minute": 10_000}
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(with_tenants(emulator, voice, shared=shared))
            for _ in range(number)
        ]


def allowance(gateway: Running) -> LeasedAllowance:
    found = gateway.gateway.callers["voice"].allowance
    assert isinstance(found, LeasedAllowance)
    return found


async def leased(*gateways: Running) -> None:
    """All gateways hold leases."""

    def hold() -> bool:
        return all(lease.is_held for each in gateways for lease in allowance(each).leases.values())

    await until(hold, "all gateways hold leases", within_s=30)


async def unleased(*gateways: Running) -> None:
    """No gateway holds leases: turns look whether they have expired."""

    def hold() -> bool:
        for each in gateways:
            allowance(each).take(asyncio.get_running_loop().time())
            allowance(each).give_back()
        return any(lease.is_held for each in gateways for lease in allowance(each).leases.values())

    await until(lambda: not hold(), "no gateway holds leases", within_s=30)


async def turns(gateway: Running, number: int) -> None:
    async with gateway.openai() as client:
        for _ in range(number):
            assert (await client.responses.create(model="echo", input="hi")).output_text == "hi"


async def turn(client: AsyncOpenAI) -> int:
    """Take a turn; the status of its answer."""
    try:
        await client.responses.create(model="echo", input="hi")
    except APIStatusError as error:
        return error.status_code if error.response.headers["retry-after"] == "1" else 0
    return 200


async def test_gateways_share_the_turns_at_a_time(emulator: Emulator) -> None:
    async with small_valkey() as valkey, sharing(emulator, valkey, 2) as gateways:
        await leased(*gateways)
        gate = emulator.faults.hold(event_type="response.completed", times=None)
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(each.openai()) for each in gateways]
            answers = [asyncio.ensure_future(turn(client)) for client in clients for _ in range(10)]
            await until(lambda: sum(each.done() for each in answers) == 10, "ten are refused", within_s=30)
            await until(lambda: len(emulator.requests) == 10, "ten run", within_s=30)
            gate.open()
            statuses = await soon(asyncio.gather(*answers), 30)
            assert sorted(statuses) == [200] * 10 + [429] * 10


async def test_the_limit_follows_the_traffic(emulator: Emulator) -> None:
    async with small_valkey() as valkey, sharing(emulator, valkey, 2, in_flight=32) as gateways:
        await leased(*gateways)
        emulator.faults.hold(event_type="response.completed", times=None)
        async with gateways[0].openai() as client:
            running: list[asyncio.Future[int]] = []

            def more() -> int:
                running[:] = [each for each in running if not each.done()]
                running.extend(asyncio.ensure_future(turn(client)) for _ in range(32 - len(running)))
                return len(emulator.requests)

            await until(lambda: more() >= 30, "nearly the whole limit runs", within_s=30)
            for each in running:
                each.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def test_turns_are_answered_while_valkey_is_silent_and_then_down(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        small_valkey() as valkey,
        sharing(emulator, valkey, 1) as (gateway,),
        httpx2.AsyncClient() as http,
    ):
        await leased(gateway)
        valkey.answers.clear()
        await turns(gateway, 20)
        await unleased(gateway)
        await turns(gateway, 20)
        await valkey.stop()
        await turns(gateway, 20)
        metrics = (await http.get(f"{gateway.served.admin_url}/metrics")).text.splitlines()
        assert "trunkline_lease_failures_total 0.0" not in metrics
        assert 'trunkline_quota{limit="turns_in_flight",tenant="voice"} 10.0' in metrics
        assert 'trunkline_quota_leased{limit="turns_in_flight",tenant="voice"} 0.0' in metrics
        valkey.answers.set()
        await valkey.start()
        await leased(gateway)
        lines = [each.getMessage() for each in caplog.records if each.name == "trunkline.gateway"]
        address = f"Valkey at redis://127.0.0.1:{valkey.port}"
        # Once for each outage. A busy machine may have had others.
        assert all(line.startswith(f"{address} does not renew leases (") for line in lines[::2])
        assert all(line == f"{address} renews leases again" for line in lines[1::2])
        assert len(lines) >= 2
        assert PASSWORD not in caplog.text


async def test_refused_without_leases(emulator: Emulator) -> None:
    async with (
        small_valkey() as valkey,
        sharing(emulator, valkey, 1, when_down="refuse") as (gateway,),
        gateway.openai() as client,
    ):
        await until_status(client, 200)
        valkey.answers.clear()
        await until_status(client, 503)
        with pytest.raises(APIStatusError, match="the shared limits are not available") as refused:
            await client.responses.create(model="echo", input="hi")
        assert refused.value.status_code == 503
        assert refused.value.code == "shared_limits_unavailable"
        assert refused.value.response.headers["retry-after"] == "1"


async def until_status(client: AsyncOpenAI, status: int) -> None:
    """Take turns until an answer has this status."""
    while await soon(turn(client), 30) != status:
        await asyncio.sleep(0.01)


async def test_a_gateway_starts_without_valkey(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    async with small_valkey() as valkey:
        await valkey.stop()
        async with sharing(emulator, valkey, 1, replicas=5) as (gateway,):
            await turns(gateway, 5)
            assert allowance(gateway).leases["turns_in_flight"].quota == 2
            await valkey.start()
            await leased(gateway)
            assert allowance(gateway).leases["turns_in_flight"].quota == 10
    assert "each replica has its own part of a limit" in caplog.text


@pytest.mark.parametrize(
    "odd", [b"*0\r\n", b"+OK\r\n", b"-OOM out of memory\r\n", b"*2\r\n*1\r\n:1\r\n:1\r\n", b"?"]
)
async def test_odd_answers_reach_no_turn(
    emulator: Emulator, odd: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with small_valkey() as valkey, sharing(emulator, valkey, 1) as (gateway,):
        await leased(gateway)
        valkey.odd = odd
        await until(lambda: "does not renew leases" in caplog.text, "the answer is refused", within_s=30)
        await turns(gateway, 5)
        valkey.odd = None
        await until(lambda: "renews leases again" in caplog.text, "it renews", within_s=30)


async def test_a_wrong_password_is_named_without_it(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    async with small_valkey(password="another") as valkey, sharing(emulator, valkey, 1) as (gateway,):
        await until(lambda: "(AuthenticationError)" in caplog.text, "the log names it", within_s=30)
        await turns(gateway, 5)
    assert PASSWORD not in caplog.text


async def test_a_gateway_that_ends_returns_its_leases(emulator: Emulator) -> None:
    async with small_valkey() as valkey, sharing(emulator, valkey, 1) as (staying,):
        async with sharing(emulator, valkey, 1) as (leaving,):
            await leased(staying, leaving)
            in_flight = allowance(staying).leases["turns_in_flight"]
            await until(lambda: in_flight.is_held and in_flight.quota == 5, "both have a part", within_s=30)
            await turns(leaving, 2)
            valkey.seconds_per_call = 0  # no lease expires
        await until(lambda: in_flight.quota == 10, "the whole limit is its own", within_s=30)
        per_minute = allowance(staying).leases["turns_per_minute"]
        await until(lambda: per_minute.quota == 9_998, "the turns of the minute still count", within_s=30)


async def test_a_changed_limit_is_leased_anew(emulator: Emulator) -> None:
    async with small_valkey() as valkey, sharing(emulator, valkey, 1) as (gateway,):
        await leased(gateway)
        before = allowance(gateway)
        configuration = gateway.gateway.configuration
        tenants: dict[str, Any] = {**configuration.tenants}
        tenants["voice"] = msgspec.structs.replace(tenants["voice"], turns_in_flight=20)
        await gateway.gateway.reconfigure(msgspec.structs.replace(configuration, tenants=tenants))
        assert allowance(gateway) is not before
        await until(
            lambda: allowance(gateway).leases["turns_in_flight"].quota == 20, "it is leased", within_s=30
        )
        await turns(gateway, 2)


async def test_the_first_turn_begins_to_renew_where_the_server_has_no_lifespan(emulator: Emulator) -> None:
    async with small_valkey() as valkey, sharing(emulator, valkey, 1) as (gateway,):
        other = Gateway(gateway.gateway.configuration)
        transport = httpx2.ASGITransport(app=other)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            headers = {"authorization": f"Bearer {KEYS['voice']}"}
            body = {"model": "echo", "input": "hi"}
            answer = await http.post("/v1/responses", headers=headers, json=body)
            assert answer.status_code == 200
            await until(lambda: len({*valkey.calls}) == 2, "it renews leases", within_s=30)
        await other.close()
        assert logging.getLogger("trunkline.gateway").level == logging.NOTSET
