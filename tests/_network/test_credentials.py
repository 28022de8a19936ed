"""Keys: asked for at each dial, asked for again when one is refused, and shown nowhere."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import trunkline
from trunkline import ConfigurationError, ConnectFailed, Policy, PoolLimits, UpgradeRefused
from trunkline._network.credentials import auth_headers
from trunkline.emulator import Emulator

from ..memory import parts_of
from ..talk import Timing, ask, client_of
from ..waiting import soon, until

KEY = "sk-emulator"
SECRET = "sk-a-secret-that-is-shown-nowhere"


class Keys:
    """Gives these keys one after the other, the last one for ever."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.asked = 0

    async def __call__(self) -> str:
        self.asked += 1
        await asyncio.sleep(0)
        return self.keys[min(self.asked, len(self.keys)) - 1]


async def hang_up(emulator: Emulator, client: trunkline.Client) -> None:
    await emulator.drop_connections()
    await until(lambda: client.connections == 0, "the client has noticed")


async def test_the_provider_is_asked_at_each_dial_and_at_no_turn(emulator: Emulator) -> None:
    keys = Keys(KEY)
    async with client_of(emulator, api_key=keys) as client:
        chat = client.conversation(model="echo")
        assert keys.asked == 0
        for _ in range(3):
            await ask(chat, "hello")
        assert keys.asked == 1
        await hang_up(emulator, client)
        await ask(chat, "hello")
        assert keys.asked == 2


async def test_a_connection_that_is_replaced_has_the_key_of_now(emulator: Emulator) -> None:
    emulator.api_key = None
    keys = Keys("sk-first", "sk-second")
    timing, limits = Timing(), PoolLimits(max_age_s=0, age_jitter_s=0, upkeep_s=Timing.UPKEEP_S)
    async with client_of(emulator, api_key=keys, limits=limits, world=timing.world) as client:
        await ask(client.conversation(model="echo"), "hello")
        timing.keep_up()
        await until(lambda: client.metrics.rotations == 1, "it is replaced")
        given = [connection.headers["Authorization"] for connection in emulator.connections]
        assert given == ["Bearer sk-first", "Bearer sk-second"]


async def test_after_a_401_the_provider_is_asked_once_more(emulator: Emulator) -> None:
    keys = Keys("sk-expired", KEY)
    async with client_of(emulator, api_key=keys, transport="websocket") as client:
        stream = await ask(client.conversation(model="echo"), "hello")
    assert (stream.metrics.attempts, stream.metrics.recoveries) == (1, [])
    assert keys.asked == 2


async def test_a_second_401_is_final(emulator: Emulator) -> None:
    keys = Keys("sk-expired")
    async with client_of(emulator, api_key=keys, transport="websocket") as client:
        with pytest.raises(UpgradeRefused) as refusal:
            await ask(client.conversation(model="echo"), "hello")
    assert refusal.value.status == 401
    assert keys.asked == 2


@pytest.mark.parametrize("status", [403, 404])
async def test_other_refusals_are_no_reason_to_ask_again(emulator: Emulator, status: int) -> None:
    emulator.faults.add("refuse_upgrade", status=status, times=None)
    keys = Keys(KEY)
    async with client_of(emulator, api_key=keys, transport="websocket") as client:
        with pytest.raises(UpgradeRefused):
            await ask(client.conversation(model="echo"), "hello")
    assert keys.asked == 1


async def test_a_key_that_is_a_string_is_not_tried_twice(emulator: Emulator) -> None:
    async with client_of(emulator, api_key="sk-wrong", transport="websocket") as client:
        with pytest.raises(UpgradeRefused):
            await ask(client.conversation(model="echo"), "hello")
    assert emulator.connections == []
    assert client.metrics.dials == 1


async def test_over_http_it_is_asked_for_each_request(emulator: Emulator) -> None:
    keys = Keys(KEY)
    async with client_of(emulator, api_key=keys, transport="http") as client:
        chat = client.conversation(model="echo")
        for _ in range(3):
            await ask(chat, "hello")
    assert keys.asked == 3


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_provider_that_raises_is_a_failed_connection(emulator: Emulator, transport: str) -> None:
    async def broken() -> str:
        raise LookupError("the vault is closed")

    async with client_of(
        emulator, api_key=broken, transport=transport, policy=Policy(max_attempts=1)
    ) as client:
        with pytest.raises(ConnectFailed, match="LookupError") as failure:
            await ask(client.conversation(model="echo"), "hello")
    assert isinstance(failure.value.__cause__, LookupError)
    assert failure.value.sent is False


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_provider_that_never_answers_is_held_to_the_deadline(
    emulator: Emulator, transport: str
) -> None:
    async def silent() -> str:
        await asyncio.get_running_loop().create_future()
        return ""

    deadlines = trunkline.Deadlines(connect=0.05, first_event=0.05)
    options: Any = {"api_key": silent, "transport": transport, "deadlines": deadlines}
    async with client_of(emulator, **options, policy=Policy(max_attempts=1)) as client:
        with pytest.raises(trunkline.DeadlineExceeded):
            await soon(ask(client.conversation(model="echo"), "hello"), within_s=5)


async def test_no_key_at_all_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY") as refusal:
        trunkline.Client()
    assert refusal.value.argument == "api_key"


def everything_said(error: BaseException) -> str:
    """What one could print of an exception."""
    facts = [f"{name}={value!r}" for name, value in vars(error).items()]
    return "\n".join([*traceback.format_exception(error), repr(error), str(error), *facts])


@pytest.mark.parametrize("transport", ["websocket", "http", "auto"])
@pytest.mark.parametrize("provided", [True, False])
async def test_the_key_is_shown_nowhere(
    emulator: Emulator, caplog: pytest.LogCaptureFixture, transport: str, provided: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    hooks = trunkline.Hooks(turn_finished=lambda metrics: said.append(repr(metrics)))
    api_key: Any = Keys(SECRET) if provided else SECRET
    for expected in (SECRET, "sk-another"):
        emulator.api_key = expected
        async with client_of(emulator, api_key=api_key, transport=transport, hooks=hooks) as client:
            chat = client.conversation(model="echo")
            emulator.faults.add("drop", event_type="response.output_text.delta")
            for _ in range(2):
                try:
                    stream = await ask(chat, "hello")
                except trunkline.TurnError as error:
                    said.append(everything_said(error))
                else:
                    said.append(repr(stream) + repr(stream.metrics))
            parts = list(parts_of(client))
            assert {"Pool", "HttpTransport", "Credentials"} <= {type(part).__name__ for part in parts}
            said += [
                repr(client),
                repr(client.metrics),
                repr(vars(client).values()),
                repr(chat),
                *map(repr, parts),
            ]
        emulator.faults.clear()
    said += [record.getMessage() for record in caplog.records] + [caplog.text]
    assert len(said) > 10
    assert SECRET not in "\n".join(said)


def test_key_organization_project_and_headers_are_sent() -> None:
    assert auth_headers(api_key="k", organization="o", project="p", headers={"X-Trace": "1"}) == {
        "Authorization": "Bearer k",
        "OpenAI-Organization": "o",
        "OpenAI-Project": "p",
        "X-Trace": "1",
    }
    assert auth_headers() == {}


def test_headers_given_take_the_place_of_ours_whatever_their_case() -> None:
    headers = {"AUTHORIZATION": "Bearer entra", "openai-project": "theirs"}
    assert auth_headers(api_key="k", organization="o", project="p", headers=headers) == {
        "OpenAI-Organization": "o",
        **headers,
    }


@pytest.mark.parametrize("name", ["api-key", "Api-Key"])
def test_an_api_key_header_takes_the_place_of_the_bearer(name: str) -> None:
    assert auth_headers(api_key="k", headers={name: "azure"}) == {name: "azure"}
    both = {name: "azure", "Authorization": "Bearer entra"}
    assert auth_headers(api_key="k", headers=both) == both


@pytest.mark.parametrize(
    "value", [f"{SECRET}\n", f"{SECRET}\r\nX: y", f"{SECRET}\x00", f"{SECRET}é", f"\t{SECRET}"]
)
def test_a_value_that_no_header_can_carry_is_named_and_not_shown(value: str) -> None:
    cases = [
        ("api_key", {"api_key": value}),
        ("organization", {"organization": value}),
        ("project", {"project": value}),
        ("X-Custom", {"headers": {"X-Custom": value}}),
    ]
    for what, arguments in cases:
        with pytest.raises(ConfigurationError, match=what) as raised:
            auth_headers(**arguments)  # type: ignore[arg-type]
        assert SECRET not in str(raised.value)


def test_an_empty_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="api_key is empty"):
        auth_headers(api_key=" ")
    with pytest.raises(ConfigurationError, match="api_key must be a string, not bytes"):
        auth_headers(api_key=SECRET.encode())  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "X Y", "X:Y", "X\n", "Ü"])
def test_a_name_that_no_header_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="valid header name"):
        auth_headers(headers={name: "x"})


@given(st.text())
def test_what_passes_can_be_written_as_one_line(value: str) -> None:
    try:
        headers = auth_headers(api_key=value, headers={"X": value})
    except ConfigurationError:
        return
    assert all(len(f"{name}: {text}".splitlines()) == 1 and text.isascii() for name, text in headers.items())
