"""Zero data retention that the service does not announce: its detection, and its effect on later turns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

import trunkline
from trunkline import Cause
from trunkline._decisions.retention import DISTRUST_S, FRESH_S, Retention
from trunkline.emulator import Emulator

from ..talk import ask, assert_kept, client_of, record_of, texts
from ..waiting import until


def test_storage_is_trusted_until_a_fresh_response_is_not_found() -> None:
    retention = Retention()
    assert retention.is_trusted(0.0)
    retention.not_found(kept_at=100.0, now=100.0 + FRESH_S - 1)
    assert not retention.is_trusted(100.0 + FRESH_S)


def test_a_missing_old_response_keeps_the_trust() -> None:
    retention = Retention()
    retention.not_found(kept_at=0.0, now=FRESH_S)
    assert retention.is_trusted(FRESH_S)


def test_trust_returns_after_a_time() -> None:
    retention = Retention()
    retention.not_found(kept_at=0.0, now=1.0)
    assert not retention.is_trusted(DISTRUST_S)
    assert retention.is_trusted(1.0 + DISTRUST_S)


def test_reasoning_is_lost_where_responses_are_not_stored_or_not_found() -> None:
    retention = Retention()
    retention.not_stored(1.0, lost_reasoning=False)
    assert not retention.loses_reasoning(2.0)
    retention.not_stored(2.0, lost_reasoning=True)
    retention.not_stored(3.0, lost_reasoning=False)
    assert retention.loses_reasoning(4.0)
    assert not retention.loses_reasoning(3.0 + DISTRUST_S)
    silent = Retention()
    silent.not_found(kept_at=0.0, now=1.0)
    assert silent.loses_reasoning(2.0)


def test_items_are_looked_up_until_a_response_was_not_stored() -> None:
    retention = Retention()
    assert retention.looks_up(0.0)
    retention.not_stored(now=1.0, lost_reasoning=False)
    assert not retention.looks_up(DISTRUST_S)
    assert retention.is_trusted(DISTRUST_S)
    assert retention.looks_up(1.0 + DISTRUST_S)
    retention.not_found(kept_at=2.0, now=3.0)
    assert not retention.looks_up(2.0 + DISTRUST_S)


def test_a_refused_parent_ends_chaining_for_a_time() -> None:
    retention = Retention()
    assert retention.may_chain(0.0)
    retention.parent_refused(now=1.0)
    assert not retention.may_chain(DISTRUST_S)
    assert retention.may_chain(1.0 + DISTRUST_S)


def test_an_ignored_parent_ends_chaining_for_good() -> None:
    retention = Retention()
    retention.parent_ignored()
    retention.parent_refused(now=1.0)  # of a turn that ran at the same time
    assert not retention.may_chain(1e9)


@pytest.fixture
async def silent() -> AsyncIterator[Emulator]:
    """A service that stores nothing and reports ``store: true``."""
    async with Emulator(zdr="silent") as running:
        yield running


async def hang_up(emulator: Emulator, client: trunkline.Client) -> None:
    await emulator.drop_connections()
    await until(lambda: client.connections == 0, "the client has noticed")


async def test_silent_zdr_costs_one_resend_and_is_then_known(silent: Emulator) -> None:
    async with client_of(silent) as client:
        one, other = (client.conversation(model="echo") for _ in range(2))
        await ask(one, "one")
        await ask(other, "one")
        await hang_up(silent, client)
        stream = await ask(one, "two")
        assert stream.metrics.recoveries == [Cause.PARENT_LOST]
        assert stream.metrics.mode == "full"
        assert_kept(silent, one, stream.response)
        stream = await ask(other, "two")  # the same credential: already known
        assert (stream.metrics.recoveries, stream.metrics.mode) == ([], "full")
        assert_kept(silent, other, stream.response)
        assert client.metrics.recoveries[Cause.PARENT_LOST] == 1


async def test_with_silent_zdr_lanes_are_still_continued(silent: Emulator) -> None:
    async with client_of(silent) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        await hang_up(silent, client)
        await ask(chat, "two")
        stream = await ask(chat, "three")
        assert (stream.metrics.recoveries, stream.metrics.mode) == ([], "delta")
        assert_kept(silent, chat, stream.response)


async def test_with_silent_zdr_encrypted_reasoning_is_requested(silent: Emulator) -> None:
    async with client_of(silent) as client:
        chat = client.conversation(model="reason")
        stream = await ask(chat, "one")
        assert "encrypted_content" not in record_of(silent, stream).output[0]
        await hang_up(silent, client)
        await ask(chat, "two")
        stream = await ask(chat, "three")
        assert record_of(silent, stream).output[0]["encrypted_content"]
        await hang_up(silent, client)
        stream = await ask(chat, "four")
        kinds = [item.get("type") for item in record_of(silent, stream).effective_context]
        assert "reasoning" in kinds, "a full resend carries the reasoning"


async def test_silent_zdr_is_detected_over_http_as_well(silent: Emulator) -> None:
    async with client_of(silent, transport="http") as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        stream = await ask(chat, "two")
        assert stream.metrics.recoveries == [Cause.PARENT_LOST]
        stream = await ask(chat, "three")
        assert (stream.metrics.recoveries, stream.metrics.mode) == ([], "full")
        assert_kept(silent, chat, stream.response)


async def test_announced_zdr_costs_no_resend() -> None:
    async with Emulator(zdr=True) as emulator, client_of(emulator) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        await hang_up(emulator, client)
        stream = await ask(chat, "two")
        assert (stream.metrics.recoveries, stream.metrics.mode) == ([], "full")
        assert_kept(emulator, chat, stream.response)


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("zdr", [True, "silent"])
async def test_a_history_with_reasoning_ids_can_be_sent_in_full(zdr: Any, transport: Any) -> None:
    async with Emulator(zdr=zdr) as emulator, client_of(emulator, transport=transport) as client:
        history: list[Any] = [{"role": "user", "content": "Hello"}]
        for number in range(4):
            async with client.stream(model="reason", input=history, key="a") as stream:
                response = await stream.finish()
            assert any(item["type"] == "reasoning" and "id" in item for item in response.output)
            history += [*response.output, {"role": "user", "content": f"And {number}?"}]
            if number % 2:
                await hang_up(emulator, client)
        context = record_of(emulator, stream).effective_context
    assert texts(context) == texts(history[:-2])


async def test_announced_zdr_brings_reasoning_back_once_some_was_lost() -> None:
    async with Emulator(zdr=True) as emulator, client_of(emulator) as client:
        plain = client.conversation(model="echo")
        await ask(plain, "one")
        await ask(plain, "two")
        body = emulator.requests[-1].body
        assert body is not None
        assert "include" not in body
        chat = client.conversation(model="reason")
        await ask(chat, "one")
        await ask(chat, "two")
        await hang_up(emulator, client)
        stream = await ask(chat, "three")
        kinds = [item.get("type") for item in record_of(emulator, stream).effective_context]
        assert kinds.count("reasoning") == 1, "a full resend carries the reasoning of the second turn"


async def test_a_parent_lost_by_a_lane_keeps_the_trust(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        chat = client.conversation(model="echo", store=False)
        await ask(chat, "one")
        emulator.forget()
        assert (await ask(chat, "two")).metrics.recoveries == [Cause.PARENT_LOST]
        kept = client.conversation(model="echo")
        await ask(kept, "one")
        await hang_up(emulator, client)
        stream = await ask(kept, "two")
        assert (stream.metrics.recoveries, stream.metrics.mode) == ([], "delta")
