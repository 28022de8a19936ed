"""Wrong arguments and settings are refused at the call, with a message that names value and remedy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import trunkline
from trunkline import ConfigurationError, Deadlines, Hooks, Policy, PoolLimits
from trunkline.arguments import check_count, check_function, check_number, shown
from trunkline.emulator import Emulator

from .talk import read

KEY = "sk-secret-that-no-message-shows"
NAN = math.nan


def refusal(act: Callable[[], object]) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        act()
    assert KEY not in str(refused.value)
    return refused.value


async def nothing(metrics: object) -> None:
    """An async hook."""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"policy": 3}, "policy is 3: give trunkline.Policy"),
        ({"deadlines": 5}, "deadlines is 5: give trunkline.Deadlines"),
        ({"deadlines": Deadlines}, "deadlines is the class Deadlines"),
        ({"limits": {}}, "limits is of type dict: give trunkline.PoolLimits"),
        ({"hooks": print}, "hooks is of type builtin_function_or_method: give trunkline.Hooks"),
        ({"ping_interval_s": -1}, "ping_interval_s is -1: give seconds, more than 0"),
        ({"ping_interval_s": NAN}, "ping_interval_s is nan"),
        ({"ping_interval_s": True}, "ping_interval_s is True"),
        ({"proxy": "nope"}, "proxy 'nope' has no scheme; write http://HOST:PORT"),
        ({"proxy": "ftp://nope"}, "proxy 'ftp://nope' has the scheme 'ftp'"),
        ({"proxy": f"http://me:{KEY}@"}, "proxy 'http://' has no host"),
        ({"proxy": 8080}, "proxy is 8080"),
        ({"max_buffered_events": 0}, "max_buffered_events is 0: give a whole number of at least 1"),
        ({"max_buffered_events": 1.5}, "max_buffered_events is 1.5"),
        ({"max_buffered_bytes": 0}, "max_buffered_bytes is 0: give a whole number of at least 1"),
        ({"api_key": ""}, "api_key is empty: give a key"),
        ({"api_key": 7}, "api_key is 7"),
        ({"api_key": KEY.encode()}, "api_key is of type bytes"),
        ({"base_url": ""}, "base_url is empty"),
        ({"base_url": "api.openai.com/v1"}, "base_url 'api.openai.com/v1' has no scheme; write https://"),
        ({"base_url": 7}, "base_url is 7"),
        ({"headers": [("x-team", KEY)]}, "headers is of type list: give a dict"),
        ({"headers": {7: KEY}}, "the name of a header is 7"),
        ({"headers": {"x-team": 7}}, "the header x-team must be a string, not int"),
        ({"lanes": "yes"}, "lanes is of type str: give True, False or None"),
        ({"replay_actions": 1}, "replay_actions is 1: give True or False"),
        ({"log_content": None}, "log_content is None"),
        ({"ssl_context": True}, "ssl_context is True: give an ssl.SSLContext"),
        ({"transport": "carrier pigeon"}, "transport must be 'auto', 'websocket' or 'http'"),
        ({"organization": 7}, "organization must be a string, not int"),
    ],
)
def test_a_client_refuses_wrong_arguments(
    arguments: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    refused = refusal(lambda: trunkline.Client(**{"api_key": KEY, **arguments}))
    assert str(refused).startswith(says)
    assert refused.argument in arguments


def test_removed_arguments_are_unknown_keywords() -> None:
    for make in (
        lambda: trunkline.Client(api_key=KEY, use_websocket=True),  # type: ignore[call-arg]
        lambda: PoolLimits(connect_s=3),  # type: ignore[call-arg]
        lambda: Policy(http_allowed=True),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError, match="unexpected keyword"):
            make()


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: Deadlines(connect=-1), "connect"),
        (lambda: Deadlines(first_event=NAN), "first_event"),
        (lambda: Deadlines(first_output=math.inf), "first_output"),
        (lambda: Deadlines(between_events="5"), "between_events"),  # type: ignore[arg-type]
        (lambda: Deadlines(total=True), "total"),
        (lambda: Policy(max_attempts=0), "max_attempts"),
        (lambda: Policy(max_attempts=2.0), "max_attempts"),  # type: ignore[arg-type]
        (lambda: Policy(backoff_s=-0.1), "backoff_s"),
        (lambda: Policy(max_backoff_s=NAN), "max_backoff_s"),
        (lambda: Policy(max_retry_after_s=None), "max_retry_after_s"),  # type: ignore[arg-type]
        (lambda: Policy(waits="no"), "waits"),  # type: ignore[arg-type]
        (lambda: PoolLimits(max_connections=0), "max_connections"),
        (lambda: PoolLimits(max_in_flight=17), "max_in_flight"),
        (lambda: PoolLimits(max_lanes=33), "max_lanes"),
        (lambda: PoolLimits(max_draining=0), "max_draining"),
        (lambda: PoolLimits(drain_s=-1), "drain_s"),
        (lambda: PoolLimits(close_abandoned=1), "close_abandoned"),  # type: ignore[arg-type]
        (lambda: PoolLimits(max_age_s=NAN), "max_age_s"),
        (lambda: PoolLimits(age_jitter_s=-1), "age_jitter_s"),
        (lambda: PoolLimits(upkeep_s=0), "upkeep_s"),
        (lambda: PoolLimits(ping_after_s=0), "ping_after_s"),
        (lambda: PoolLimits(doubt_after_s=1.9), "doubt_after_s"),
        (lambda: PoolLimits(dead_after_s=1.9), "dead_after_s"),
        (lambda: PoolLimits(keepalive_idle_s=0), "keepalive_idle_s"),
        (lambda: PoolLimits(keepalive_idle_s=2.5), "keepalive_idle_s"),  # type: ignore[arg-type]
        (lambda: PoolLimits(keepalive_interval_s=40_000), "keepalive_interval_s"),
        (lambda: PoolLimits(keepalive_probes=128), "keepalive_probes"),
        (lambda: PoolLimits(unsent_bytes=0), "unsent_bytes"),
        (lambda: PoolLimits(max_keys=0), "max_keys"),
        (lambda: Hooks(turn_started=3), "turn_started"),  # type: ignore[arg-type]
        (lambda: Hooks(turn_finished=nothing), "turn_finished"),  # type: ignore[arg-type]
    ],
)
def test_settings_refuse_wrong_values(make: Callable[[], object], argument: str) -> None:
    refused = refusal(make)
    assert refused.argument == argument
    assert f".{argument} is " in str(refused)


def test_settings_accept_valid_values() -> None:
    Deadlines(connect=0, first_event=None, total=1)
    Policy(max_retry_after_s=math.inf, backoff_s=0)
    PoolLimits(max_age_s=math.inf, drain_s=0, upkeep_s=0.01)
    trunkline.Client(api_key=KEY, proxy="", headers=None, lanes=None, base_url=None)
    trunkline.Client(api_key=KEY, proxy="socks5://me:secret@localhost")


@pytest.mark.parametrize(
    ("act", "argument"),
    [
        (lambda chat: chat.send("x", deadlines=5), "deadlines"),
        (lambda chat: chat.send("x", policy=3), "policy"),
        (lambda chat: chat.run("x", policy=3), "policy"),
        (lambda chat: chat.run("x", deadlines=5), "deadlines"),
        (lambda chat: chat.run("x", max_turns=0), "max_turns"),
        (lambda chat: chat.run("x", max_turns=True), "max_turns"),
        (lambda chat: chat.run("x", tool_timeout_s=-1), "tool_timeout_s"),
        (lambda chat: chat.run("x", tool_timeout_s=NAN), "tool_timeout_s"),
        (lambda chat: chat.run("x", on_event=3), "on_event"),
        (lambda chat: chat.heard(None), "text"),
    ],
)
async def test_a_conversation_refuses_wrong_arguments(
    emulator: Emulator, client: trunkline.Client, act: Callable[[Any], object], argument: str
) -> None:
    chat = client.conversation(model="echo")
    assert refusal(lambda: act(chat)).argument == argument
    assert emulator.requests == []


def test_a_tool_refuses_wrong_settings() -> None:
    wrong: Any = nothing
    assert refusal(lambda: trunkline.tool(timeout_s=-1)).argument == "timeout_s"
    assert refusal(lambda: trunkline.tool(timeout_s=NAN)).argument == "timeout_s"
    assert refusal(lambda: trunkline.tool(strict=wrong)).argument == "strict"
    assert refusal(lambda: trunkline.tool(on_error=wrong)).argument == "on_error"


async def test_a_stream_refuses_wrong_arguments(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="echo")
    async with chat.send("one") as stream:
        with pytest.raises(ConfigurationError, match="on_event is 3"):
            await stream.finish(3)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="text is 3"):
            stream.heard(3)  # type: ignore[arg-type]
        await stream.finish()


async def test_methods_of_a_client_refuse_wrong_arguments(
    emulator: Emulator, client: trunkline.Client
) -> None:
    wrong: Any = 3
    assert refusal(lambda: client.stream(model="echo", input="x", policy=wrong)).argument == "policy"
    assert refusal(lambda: client.stream(model="echo", input="x", deadlines=wrong)).argument == "deadlines"
    unhashable: Any = []
    assert refusal(lambda: client.stream(model="echo", input="x", key=unhashable)).argument == "key"
    with pytest.raises(ConfigurationError, match="connections is 0"):
        await client.warm(model="echo", connections=0)
    with pytest.raises(ConfigurationError, match="model is 3"):
        await client.warm(model=wrong)
    with pytest.raises(ConfigurationError, match="within_s is nan"):
        await client.close(within_s=NAN)
    await read(client.stream(model="echo", input="x", key=("a", 1)))


def test_a_value_is_shown_where_it_cannot_be_a_secret() -> None:
    values: list[object] = [None, True, 3, -0.5, "", KEY, [KEY], {}, Policy]
    assert [shown(value) for value in values] == [
        "None",
        "True",
        "3",
        "-0.5",
        "empty",
        "of type str",
        "of type list",
        "of type dict",
        "the class Policy",
    ]


def test_valid_values_pass_the_checks() -> None:
    check_number(0, "x")
    check_number(None, "x", none_means="wait for ever")
    check_count(16, "x", most=16)
    check_function(None, "x", "give a function")
    check_function(print, "x", "give a function", may_be_async=False)
