from __future__ import annotations

import logging
from typing import Any

import pytest

import trunkline
from trunkline._decisions.recovery import Cause
from trunkline._observe.metrics import PoolCounters
from trunkline.emulator import Emulator

from ..talk import WEATHER, ask, client_of, first_text, hold_after_first_word, record_of
from ..waiting import soon, until


class Heard:
    """What hooks were told."""

    def __init__(self) -> None:
        self.started: list[trunkline.TurnMetrics] = []
        self.finished: list[trunkline.TurnMetrics] = []
        self.outcomes: list[str | None] = []

    def begin(self, metrics: trunkline.TurnMetrics) -> None:
        assert metrics.outcome is None
        self.started.append(metrics)

    def end(self, metrics: trunkline.TurnMetrics) -> None:
        self.finished.append(metrics)
        self.outcomes.append(metrics.outcome)

    @property
    def hooks(self) -> trunkline.Hooks:
        return trunkline.Hooks(turn_started=self.begin, turn_finished=self.end)


async def test_bytes_are_those_on_the_wire() -> None:
    async with Emulator(frames=1000) as emulator, client_of(emulator) as client:
        stream = await ask(client.conversation(model="echo"), "hello there")
        sent = sum(len(frame.data) for frame in emulator.frames if not frame.sent)
        received = sum(len(frame.data) for frame in emulator.frames if frame.sent)
    assert (stream.metrics.bytes_sent, stream.metrics.bytes_received) == (sent, received)
    assert record_of(emulator, stream).request_bytes == sent


async def test_bytes_of_all_attempts_are_added_up(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("drop", event_type="response.in_progress")
    stream = await ask(client.conversation(model="echo"), "hello")
    assert [request.size_bytes for request in emulator.requests] == [stream.metrics.bytes_sent // 2] * 2


async def test_a_first_turn_goes_in_full_and_the_next_as_a_delta(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo", instructions="Be brief. " * 20)
    first, second = (await ask(chat, "one"), await ask(chat, "two"))
    assert (first.metrics.mode, first.metrics.items_sent) == ("full", 1)
    assert (second.metrics.mode, second.metrics.items_sent) == ("delta", 1)
    assert first.metrics.lane == second.metrics.lane == record_of(emulator, second).lane
    assert first.metrics.connection == second.metrics.connection == 1
    assert (first.metrics.model, first.metrics.transport) == ("echo", "websocket")
    assert (client.metrics.turns, client.metrics.fulls, client.metrics.deltas) == (2, 1, 1)


async def test_full_bytes_are_what_the_whole_context_would_have_taken(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo", instructions="Be brief.")
    for number in range(10):
        stream = await ask(chat, f"message number {number}")
        chat_again = client.conversation(model="echo", instructions="Be brief.", items=chat.items[:-2])
        whole = await ask(chat_again, f"message number {number}")
        assert whole.metrics.mode == "full"
        assert abs(stream.metrics.full_bytes - whole.metrics.bytes_sent) <= len('"stream_id":"lane-NN",')
    assert stream.metrics.bytes_sent < stream.metrics.full_bytes / 5


async def test_times_are_in_the_order_of_what_happened(emulator: Emulator, client: trunkline.Client) -> None:
    metrics = (await ask(client.conversation(model="reason"), "hello")).metrics
    times = [
        metrics.connected_s,
        metrics.first_event_s,
        metrics.first_output_s,
        metrics.ttft_s,
        metrics.total_s,
    ]
    assert all(time is not None and time >= 0 for time in times)
    assert times == sorted(times, key=lambda time: time or 0)
    assert metrics.first_output_s != metrics.ttft_s  # it thought first


async def test_a_turn_that_only_calls_tools_has_no_time_to_first_text(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="tools", tools=[WEATHER])
    metrics = (await ask(chat, "weather in Oslo")).metrics
    assert metrics.ttft_s is None
    assert metrics.first_output_s is not None


async def test_usage_is_what_the_service_counted(emulator: Emulator, client: trunkline.Client) -> None:
    stream = await ask(client.conversation(model="words-7"), "go")
    assert stream.metrics.usage == stream.response.usage == record_of(emulator, stream).resource["usage"]
    assert stream.metrics.usage is not None
    assert stream.metrics.usage["output_tokens"] == 7


async def test_hooks_hear_of_each_turn_once_with_its_outcome(emulator: Emulator) -> None:
    heard = Heard()
    emulator.faults.add("stall", model="words-9", event=7)
    async with client_of(emulator, hooks=heard.hooks) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        async with chat.send("two", model="words-9") as stream:
            await first_text(stream)
        with pytest.raises(trunkline.ResponseRefused):
            await ask(chat, "three", model="refuse-400-invalid_prompt")
    assert [metrics.turn for metrics in heard.started] == [metrics.turn for metrics in heard.finished]
    assert heard.outcomes == ["answered", "left", "failed"]
    assert [metrics.error for metrics in heard.finished] == [None, None, "ResponseRefused"]


async def test_hooks_hear_of_every_turn_of_a_run(emulator: Emulator) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return "rain"

    heard = Heard()
    async with client_of(emulator, hooks=heard.hooks) as client:
        chat = client.conversation(model="tools", tools=[get_weather])
        await chat.run("weather in Oslo")
    assert heard.outcomes == ["answered", "answered"]
    assert [metrics.mode for metrics in heard.finished] == ["full", "delta"]


async def test_a_hook_that_raises_harms_nothing(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    def broken(metrics: trunkline.TurnMetrics) -> None:
        raise ValueError("broken hook")

    hooks = trunkline.Hooks(turn_started=broken, turn_finished=broken)
    async with client_of(emulator, hooks=hooks) as client:
        stream = await ask(client.conversation(model="echo"), "top secret")
    assert stream.response.output_text == "top secret"
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == [
        "trunkline"
    ] * 2
    assert "top secret" not in caplog.text


async def test_dials_that_fail_are_counted(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=503)
    policy = trunkline.Policy(backoff_s=0.001)
    async with client_of(emulator, policy=policy) as client:
        await ask(client.conversation(model="echo"), "hello")
        assert client.metrics.failed_dials >= 1


async def test_recoveries_are_counted_by_cause(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="echo", store=False)
    await ask(chat, "one")
    emulator.forget()
    stream = await ask(chat, "two")
    assert stream.metrics.recoveries == [Cause.PARENT_LOST]
    assert client.metrics.recoveries == {Cause.PARENT_LOST: 1}
    assert stream.metrics.attempts == 2


async def test_an_answer_that_is_left_is_counted_once_with_its_tokens(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = hold_after_first_word(emulator)
    chat = client.conversation(model="words-30")
    async with chat.send("go") as stream:
        await first_text(stream)
        stream.close()
    gate.open()
    await until(lambda: client.metrics.abandoned_usage["output_tokens"] == 30, "the answer has drained")
    assert client.metrics.abandoned == 1


async def test_an_answer_that_came_too_late_is_counted_once(emulator: Emulator) -> None:
    emulator.faults.add("stall", event=2, times=None)
    deadlines = trunkline.Deadlines(first_output=0.05)
    policy = trunkline.Policy(max_attempts=1)
    async with client_of(emulator, deadlines=deadlines, policy=policy) as client:
        with pytest.raises(trunkline.DeadlineExceeded):
            await soon(ask(client.conversation(model="echo"), "hello"))
        assert client.metrics.abandoned == 1


async def test_a_fork_is_counted(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="echo", store=False)
    await ask(chat, "one")
    branched, stream = (await ask(chat.fork(), "three"), await ask(chat, "two"))
    assert (branched.metrics.fork, stream.metrics.fork) == (True, False)
    assert [branched.metrics.mode, stream.metrics.mode] == ["delta", "delta"]
    assert client.metrics.forks == 1


def test_usage_that_is_no_number_is_not_added_up() -> None:
    counters = PoolCounters()
    for usage in (None, {}, {"input_tokens": None, "output_tokens": "3"}, {"total_tokens": 4}):
        given: Any = usage
        counters.add_abandoned_usage(given)
    assert counters.snapshot().abandoned_usage == {"total_tokens": 4}
    counters.add_abandoned_usage({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 5}})
    assert counters.snapshot().abandoned_usage == {"total_tokens": 4, "input_tokens": 9, "cached_tokens": 5}
