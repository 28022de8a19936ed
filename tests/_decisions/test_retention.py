"""Zero data retention that nobody tells of: what is learnt of it, and what follows."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import trunkline
from trunkline import Cause
from trunkline._decisions.retention import DISTRUST_S, FRESH_S, Retention
from trunkline.emulator import Emulator

from ..talk import ask, assert_kept, client_of, record_of
from ..waiting import until


def test_stored_is_believed_until_a_fresh_response_is_not_found() -> None:
    retention = Retention()
    assert retention.is_trusted(0.0)
    retention.not_found(kept_at=100.0, now=100.0 + FRESH_S - 1)
    assert not retention.is_trusted(100.0 + FRESH_S)


def test_an_old_response_that_is_gone_proves_nothing() -> None:
    retention = Retention()
    retention.not_found(kept_at=0.0, now=FRESH_S)
    assert retention.is_trusted(FRESH_S)


def test_trust_comes_back_after_a_while() -> None:
    retention = Retention()
    retention.not_found(kept_at=0.0, now=1.0)
    assert not retention.is_trusted(DISTRUST_S)
    assert retention.is_trusted(1.0 + DISTRUST_S)


@pytest.fixture
async def silent() -> AsyncIterator[Emulator]:
    """A service that stores nothing and says that it does."""
    async with Emulator(zdr="silent") as running:
        yield running


async def hang_up(emulator: Emulator, client: trunkline.Client) -> None:
    await emulator.drop_connections()
    await until(lambda: client.connections == 0, "the client has noticed")


async def test_it_costs_one_resend_and_is_known_from_then_on(silent: Emulator) -> None:
    async with client_of(silent) as client:
        one, other = (client.conversation(model="echo") for _ in range(2))
        await ask(one, "one")
        await ask(other, "one")
        await hang_up(silent, client)
        stream = await ask(one, "two")
        assert stream.metrics.recoveries == [Cause.PARENT_LOST]
        assert stream.metrics.mode == "full"
        assert_kept(silent, one, stream.response)
        stream = await ask(other, "two")  # the same credential: nothing has to be learnt again
        assert (stream.metrics.recoveries, stream.metrics.mode) == ([], "full")
        assert_kept(silent, other, stream.response)
        assert client.metrics.recoveries[Cause.PARENT_LOST] == 1


async def test_the_lane_is_still_believed(silent: Emulator) -> None:
    async with client_of(silent) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        await hang_up(silent, client)
        await ask(chat, "two")
        stream = await ask(chat, "three")
        assert (stream.metrics.recoveries, stream.metrics.mode) == ([], "delta")
        assert_kept(silent, chat, stream.response)


async def test_reasoning_is_asked_for_in_a_form_that_can_be_sent_again(silent: Emulator) -> None:
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
        assert "reasoning" in kinds, "a full resend carries what was thought"


async def test_over_http_it_is_learnt_as_well(silent: Emulator) -> None:
    async with client_of(silent, transport="http") as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        stream = await ask(chat, "two")
        assert stream.metrics.recoveries == [Cause.PARENT_LOST]
        stream = await ask(chat, "three")
        assert (stream.metrics.recoveries, stream.metrics.mode) == ([], "full")
        assert_kept(silent, chat, stream.response)


async def test_a_service_that_says_that_it_stores_nothing_is_believed_at_once() -> None:
    async with Emulator(zdr=True) as emulator, client_of(emulator) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        await hang_up(emulator, client)
        stream = await ask(chat, "two")
        assert (stream.metrics.recoveries, stream.metrics.mode) == ([], "full")
        assert_kept(emulator, chat, stream.response)


async def test_a_parent_that_a_lane_lost_says_nothing_about_the_store(emulator: Emulator) -> None:
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
