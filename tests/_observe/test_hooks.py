"""What one can see of a client while it runs: its state, and the facts of each turn."""

from __future__ import annotations

import asyncio
import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest

import trunkline
from trunkline import Hooks, PoolState, TurnMetrics
from trunkline._decisions.recovery import Cause
from trunkline._observe.metrics import TurnKey
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from ..talk import ask, client_of, first_text, hold_after_first_word
from ..waiting import soon, until

NOTHING = PoolState(sockets=0, dialling=0, retired=0, lanes=0, in_flight=0, draining=0, http=0)


async def test_a_client_begins_and_ends_with_nothing(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        assert client.state() == NOTHING
        await client.warm(model="echo", connections=2)
        assert client.state() == PoolState(
            sockets=2, dialling=0, retired=0, lanes=0, in_flight=0, draining=0, http=0
        )
    assert client.state() == NOTHING


async def test_turns_in_flight_are_seen_on_their_lanes(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("stall", event_type="response.output_text.done", times=None)
    chats = [client.conversation(model="words-3") for _ in range(3)]
    streams = [await chat.send("go").__aenter__() for chat in chats]
    for stream in streams:
        await soon(first_text(stream))
    state = client.state()
    assert (state.sockets, state.lanes, state.in_flight, state.draining) == (1, 3, 3, 0)
    for stream in streams[:2]:
        stream.close()
    state = client.state()
    assert (state.lanes, state.in_flight, state.draining) == (3, 3, 2)
    streams[2].close()


async def test_lanes_stay_after_their_turns(emulator: Emulator, client: trunkline.Client) -> None:
    chats = [client.conversation(model="echo") for _ in range(3)]
    await asyncio.gather(*(ask(chat, "hello") for chat in chats))
    state = client.state()
    assert (state.sockets, state.lanes, state.in_flight) == (1, 3, 0)


async def test_a_connection_that_is_being_made_is_seen(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("ignore_upgrade")
    turn = asyncio.create_task(ask(client.conversation(model="echo"), "hello"))
    await until(lambda: bool(emulator.faults.fired), "the upgrade has arrived")
    assert (client.state().sockets, client.state().dialling) == (0, 1)
    turn.cancel()
    await asyncio.wait([turn])


async def test_a_retired_connection_is_seen_until_its_last_turn_ends(emulator: Emulator) -> None:
    emulator.faults.add("stall", event_type="response.output_text.done", connection=1, times=None)
    limits = trunkline.PoolLimits(max_age_s=0.05, age_jitter_s=0.0, upkeep_s=0.01)
    async with (
        client_of(emulator, limits=limits) as client,
        client.conversation(model="words-3").send("go") as stream,
    ):
        await soon(first_text(stream))
        await until(lambda: client.state().retired > 0, "the connection is replaced")
        assert client.metrics.rotations >= 1
        assert client.state().in_flight == 1
        assert client.state().sockets >= 2


async def test_requests_over_http_are_seen(emulator: Emulator) -> None:
    gate = hold_after_first_word(emulator)
    async with client_of(emulator, transport="http") as client:
        async with client.conversation(model="words-30").send("go") as stream:
            await first_text(stream)
            assert client.state() == PoolState(0, 0, 0, 0, 0, 0, http=1)
            gate.open()
        await until(lambda: client.state().http == 0, "the request has ended")


async def test_a_turn_knows_its_response_and_its_server(emulator: Emulator, client: trunkline.Client) -> None:
    stream = await ask(client.conversation(model="echo"), "hello")
    metrics = stream.metrics
    assert (metrics.response_id, metrics.response_model) == (stream.response.id, stream.response.model)
    assert f"http://{metrics.server_address}:{metrics.server_port}/v1" == emulator.base_url
    assert (metrics.warm_up, metrics.conversation_id, metrics.error_code) == (False, None, None)


@pytest.mark.parametrize(
    ("base_url", "port"),
    [
        ("https://example.test/v1", 443),
        ("http://example.test/v1", 80),
        ("https://example.test:8443/v1", 8443),
    ],
)
async def test_the_servers_port_is_known_where_the_url_leaves_it_out(base_url: str, port: int) -> None:
    async with trunkline.Client(base_url=base_url, api_key="sk-1") as client:
        metrics = client.conversation(model="echo").send("hello").metrics
    assert (metrics.server_address, metrics.server_port) == ("example.test", port)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_turn_that_is_left_knows_its_response(emulator: Emulator, transport: str) -> None:
    emulator.pace = Pace(0, 500)
    async with (
        client_of(emulator, transport=transport) as client,
        client.conversation(model="words-30").send("go") as stream,
    ):
        await first_text(stream)
    assert stream.metrics.response_id in emulator.responses


async def test_a_replayed_turn_knows_the_response_that_answered(
    emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.faults.add("drop", event_type="response.in_progress")
    stream = await ask(client.conversation(model="echo"), "hello")
    assert stream.metrics.response_id == stream.response.id == list(emulator.responses)[-1]


async def test_a_failed_turn_knows_the_services_code(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="refuse-400-invalid_prompt")
    stream = chat.send("hello")
    with pytest.raises(trunkline.ResponseRefused):
        async with stream:
            await stream.finish()
    assert (stream.metrics.error, stream.metrics.error_code) == ("ResponseRefused", "invalid_prompt")


async def test_a_warm_up_is_known_as_one(emulator: Emulator) -> None:
    heard: list[TurnMetrics] = []
    async with client_of(emulator, hooks=Hooks(turn_finished=heard.append)) as client:
        await client.conversation(model="echo").warm()
    assert [metrics.warm_up for metrics in heard] == [True]


@pytest.mark.parametrize("conversation", ["conv_1", {"id": "conv_1"}])
async def test_the_services_conversation_is_known(client: trunkline.Client, conversation: Any) -> None:
    stream = client.conversation(model="echo", conversation=conversation).send("hello")
    assert stream.metrics.conversation_id == "conv_1"


async def test_tokens_are_read_from_the_usage(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="words-7", instructions="Be brief. " * 2000)
    await ask(chat, "go")
    metrics = (await ask(chat, "go on")).metrics
    assert metrics.usage is not None
    assert metrics.output_tokens == 7
    assert metrics.input_tokens == metrics.usage["input_tokens"]
    details = metrics.usage["input_tokens_details"]
    assert (metrics.cached_tokens, metrics.cache_write_tokens) == (
        details["cached_tokens"],
        details["cache_write_tokens"],
    )
    assert metrics.cached_share == details["cached_tokens"] / metrics.usage["input_tokens"] > 0.5
    assert metrics.reasoning_tokens == metrics.usage["output_tokens_details"]["reasoning_tokens"]


@pytest.mark.parametrize(
    "usage", [None, {}, {"input_tokens": "7", "input_tokens_details": None}, {"input_tokens_details": 3}]
)
def test_tokens_that_were_not_counted_are_none(usage: Any) -> None:
    metrics = TurnMetrics(usage=usage)
    assert metrics.input_tokens is None
    assert metrics.cached_tokens is None
    assert metrics.cached_share is None


def test_hooks_may_keep_things_under_a_turn_as_long_as_it_lives() -> None:
    kept: weakref.WeakKeyDictionary[TurnKey, str] = weakref.WeakKeyDictionary()
    one, other = TurnMetrics(), TurnMetrics()
    kept[one.turn], kept[other.turn] = "one", "other"
    assert (kept[replace(one).turn], kept[other.turn]) == ("one", "other")
    del one
    gc.collect()
    assert list(kept.values()) == ["other"]


def test_hooks_are_put_together_in_order_and_one_that_raises_stops_no_other() -> None:
    heard: list[str] = []

    def broken(metrics: TurnMetrics) -> None:
        heard.append("broken")
        raise ValueError

    first = Hooks(turn_started=broken)
    second = Hooks(turn_started=lambda _: heard.append("second"), turn_finished=lambda _: heard.append("end"))
    both = first.and_also(second)
    assert both.turn_started is not None
    assert both.turn_finished is not None
    both.turn_started(TurnMetrics())
    both.turn_finished(TurnMetrics())
    assert heard == ["broken", "second", "end"]


async def test_hooks_hear_nothing_of_a_stream_that_was_never_entered(emulator: Emulator) -> None:
    heard: list[TurnMetrics] = []
    async with client_of(emulator, hooks=Hooks(heard.append, heard.append)) as client:
        client.conversation(model="echo").send("hello").close()
    assert heard == []


async def test_a_client_counts_what_happened_to_it(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=426, connection=1)
    async with client_of(emulator) as client:
        await ask(client.conversation(model="echo"), "over http")
        metrics = client.metrics
        assert (metrics.turns, metrics.dials, metrics.failed_dials, metrics.fallbacks) == (1, 1, 1, 1)
        assert metrics.recoveries == {Cause.UPGRADE: 1}
        assert (metrics.fulls, metrics.deltas, metrics.forks, metrics.rotations) == (1, 0, 0, 0)
