"""Web pages in a browser: foreign origins are refused, allowed ones get the headers of CORS."""

from __future__ import annotations

import aiohttp
import pytest

from trunkline.emulator import Emulator

from ..wire import Socket, Wire, wired

PAGE = "http://localhost:3000"


def port_of(emulator: Emulator) -> str:
    return emulator.base_url.rpartition(":")[2].partition("/")[0]


async def answered(wire: Wire, **headers: str) -> tuple[int, str]:
    """Status and allowed origin of a request with these headers, over HTTP; a socket gets the same status."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    url = f"{wire.emulator.base_url}/responses"
    async with wire.session.post(url, json={"model": "echo", "input": "x"}, headers=names) as answer:
        status, allowed = answer.status, answer.headers.get("Access-Control-Allow-Origin", "")
    if status == 200:
        async with wire.session.ws_connect(url, headers=names) as raw:
            await Socket(raw).response(input="x")
    else:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await wire.session.ws_connect(url, headers=names)
        assert refusal.value.status == status
    return status, allowed


async def test_a_page_of_a_foreign_origin_is_refused_even_without_a_key() -> None:
    async with Emulator(api_key=None) as emulator, wired(emulator) as wire:
        for origin in (PAGE, "null", "https://example.com", "file://"):
            assert await answered(wire, Origin=origin) == (403, "")
        assert emulator.requests[0].error is not None
        assert "--allow-origin" in emulator.requests[0].error["message"]
        assert not emulator.responses


async def test_clients_that_are_no_browsers_are_not_concerned(wire: Wire) -> None:
    assert await answered(wire) == (200, "")
    assert await answered(wire, Host="a-name-in-etc-hosts:80") == (200, "")


async def test_the_servers_own_pages_may_use_it(wire: Wire) -> None:
    port = port_of(wire.emulator)
    for name in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"):
        assert await answered(wire, Origin=f"http://{name}", Host=name) == (200, "")
    assert await answered(wire, Sec_Fetch_Site="same-origin") == (200, "")


async def test_a_foreign_name_of_this_machine_is_refused(wire: Wire) -> None:
    """A page of a name that resolves to loopback is of the origin that it names as host."""
    name = f"rebound.example:{port_of(wire.emulator)}"
    assert await answered(wire, Origin=f"http://{name}", Host=name) == (403, "")
    assert await answered(wire, Sec_Fetch_Site="same-origin", Host=name) == (403, "")
    assert await answered(wire, Sec_Fetch_Site="same-origin", Host="[") == (403, "")


@pytest.mark.parametrize("allowed", [PAGE, "*"])
async def test_a_page_of_an_allowed_origin_may_read_answers(allowed: str) -> None:
    async with Emulator(allowed_origins=[allowed]) as emulator, wired(emulator) as wire:
        assert await answered(wire, Origin=PAGE) == (200, PAGE)
        url = f"{emulator.base_url}/responses"
        async with wire.session.post(
            url, json={"model": "echo", "input": "x", "stream": True}, headers={"Origin": PAGE}
        ) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == PAGE
            assert "x-request-id" in answer.headers["Access-Control-Expose-Headers"]
            assert answer.headers["Vary"] == "Origin"
        async with wire.session.get(f"{emulator.base_url}/nothing", headers={"Origin": PAGE}) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (404, PAGE)
        other = 200 if allowed == "*" else 403
        assert (await answered(wire, Origin="http://localhost:3001"))[0] == other


@pytest.mark.parametrize("private", [True, False])
async def test_a_preflight_request_needs_no_key(private: bool) -> None:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    } | ({"Access-Control-Request-Private-Network": "true"} if private else {})
    async with Emulator(allowed_origins=[PAGE]) as emulator, aiohttp.ClientSession() as session:
        url = f"{emulator.base_url}/responses"
        async with session.options(url, headers=asked) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, PAGE)
            assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
            assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE"
            assert ("Access-Control-Allow-Private-Network" in answer.headers) == private
        async with session.options(url, headers=asked | {"Origin": "http://foreign"}) as answer:
            assert answer.status == 403
            assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_server_for_other_machines_takes_any_host_but_no_foreign_origin() -> None:
    async with Emulator("0.0.0.0") as emulator, wired(emulator) as wire:
        name = f"a-machine.example:{port_of(emulator)}"
        assert await answered(wire, Origin=f"http://{name}", Host=name) == (200, "")
        assert await answered(wire, Origin=PAGE, Host=name) == (403, "")


@pytest.mark.parametrize("origin", ["localhost:3000", "http://localhost:3000/", "http://", ""])
def test_an_origin_with_a_path_or_without_a_scheme_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="is not an origin; use SCHEME://HOST or SCHEME://HOST:PORT"):
        Emulator(allowed_origins=[origin])


def test_a_string_of_origins_is_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=rf"must be a list, not a string; use \['{PAGE}'\]"):
        Emulator(allowed_origins=PAGE)
