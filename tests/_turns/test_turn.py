from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

import trunkline
from trunkline import Cause, Deadlines, Policy, PoolLimits
from trunkline._turns.inbox import Inbox
from trunkline._turns.turn import Turn
from trunkline.emulator import Emulator, assert_context
from trunkline.emulator.pace import Pace

from ..talk import (
    WEATHER,
    ask,
    assert_kept,
    client_of,
    first_text,
    hold_after_first_word,
    read,
    record_of,
    texts,
    user,
)
from ..waiting import runs_briefly, soon, until

QUICK = Policy(backoff_s=0.001)
MCP = {"type": "mcp", "server_label": "files", "server_url": "https://mcp.example"}


def elapsed(metrics: trunkline.TurnMetrics) -> float:
    assert metrics.total_s is not None
    return metrics.total_s


# A parent that the service no longer has.


@pytest.mark.parametrize("store", [True, False])
async def test_a_lost_parent_costs_one_full_resend_within_the_turn(
    emulator: Emulator, client: trunkline.Client, store: bool
) -> None:
    chat = client.conversation(model="echo", store=store)
    for words in ("one", "two"):
        await ask(chat, words)
    for response_id in list(emulator.responses):
        emulator.delete(response_id)
    stream = await ask(chat, "three")
    assert (stream.metrics.attempts, stream.metrics.recoveries) == (2, [Cause.PARENT_LOST])
    assert [r.error and r.error["code"] for r in emulator.requests[2:]] == [
        "previous_response_not_found",
        None,
    ]
    assert emulator.requests[2].lane == emulator.requests[3].lane
    assert (stream.metrics.mode, stream.metrics.items_sent) == ("full", 5)
    assert emulator.handshakes == 1
    assert_kept(emulator, chat, stream.response)
    assert (await ask(chat, "four")).metrics.mode == "delta"


async def test_a_parent_that_is_lost_is_not_named_by_the_next_turn_either(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo", store=False)
    await ask(chat, "one")
    emulator.forget()
    emulator.faults.add("reject", request=3, status=400, code="invalid_prompt")
    with pytest.raises(trunkline.ResponseRefused):
        await ask(chat, "two")
    stream = await ask(chat, "two")
    assert (stream.metrics.mode, stream.metrics.attempts) == ("full", 1)


async def test_a_lost_parent_is_recovered_even_in_the_last_attempt(emulator: Emulator) -> None:
    async with client_of(emulator, policy=Policy(max_attempts=1)) as client:
        chat = client.conversation(model="echo", store=False)
        await ask(chat, "one")
        emulator.forget()
        assert (await ask(chat, "two")).response.output_text == "two"


async def test_a_lost_parent_that_the_caller_named_is_raised(
    emulator: Emulator, client: trunkline.Client
) -> None:
    stream = client.stream(model="echo", input="hello", previous_response_id="resp_unheard_of")
    with pytest.raises(trunkline.ResponseRefused) as refused:
        await read(stream)
    assert refused.value.code == "previous_response_not_found"
    assert len(emulator.requests) == 1


# Lost connections.


@pytest.mark.parametrize("event", [1, 2, 3])
@pytest.mark.parametrize("action", ["drop", "reset", "close", "corrupt", "truncate"])
async def test_a_connection_that_fails_before_output_is_replaced(
    emulator: Emulator, action: str, event: int
) -> None:
    emulator.faults.add(action, event=event)
    async with client_of(emulator, policy=QUICK) as client:
        chat = client.conversation(model="echo", store=False)
        stream = await soon(ask(chat, "hello"))
        assert (stream.response.output_text, stream.metrics.attempts) == ("hello", 2)
        assert stream.metrics.recoveries == [Cause.CONNECTION]
        assert emulator.handshakes == 2
        assert stream.metrics.connection == 2
        assert_kept(emulator, chat, stream.response)


async def test_an_unstored_parent_on_a_lost_connection_is_replaced_by_a_full_request(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo", store=False)
    await ask(chat, "one")
    emulator.faults.add("drop", event=2)
    stream = await ask(chat, "two")
    assert (stream.metrics.mode, stream.metrics.recoveries) == ("full", [Cause.CONNECTION])
    assert_kept(emulator, chat, stream.response)


async def test_a_stored_parent_is_named_on_another_connection(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo", store=True)
    await ask(chat, "one")
    emulator.faults.add("drop", event=2)
    stream = await ask(chat, "two")
    assert (stream.metrics.mode, stream.metrics.connection) == ("delta", 2)
    assert_kept(emulator, chat, stream.response)


async def test_after_output_a_lost_connection_is_raised_and_not_replayed(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = hold_after_first_word(emulator)
    emulator.faults.add("drop", event=9)
    chat = client.conversation(model="words-9")
    async with chat.send("go") as stream:
        await first_text(stream)
        gate.open()
        with pytest.raises(trunkline.ConnectionLost) as lost:
            await stream.finish()
    assert (lost.value.sent, lost.value.started, lost.value.output_seen) == (True, True, True)
    assert len(emulator.responses) == 1
    assert texts(chat.items) == ["user: go", f"assistant: {stream.received_text}"]
    assert stream.metrics.error == "ConnectionLost"
    following = await ask(chat, "go on")
    assert_kept(emulator, chat, following.response)


async def test_a_request_with_a_conversation_of_the_service_is_not_replayed(
    emulator: Emulator, client: trunkline.Client
) -> None:
    emulator.faults.add("drop", event=1)
    with pytest.raises(trunkline.ConnectionLost):
        await read(client.stream(model="echo", input="hello", conversation="conv_1"))
    assert len(emulator.requests) == 1


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_request_whose_hosted_tools_act_is_replayed_only_if_allowed(
    emulator: Emulator, allowed: bool
) -> None:
    emulator.faults.add("drop", event=2)
    async with client_of(emulator, replay_actions=allowed) as client:
        stream = client.stream(model="echo", input="hello", tools=[MCP])
        if allowed:
            assert (await read(stream)).metrics.attempts == 2
        else:
            with pytest.raises(trunkline.ConnectionLost):
                await read(stream)
            assert len(emulator.requests) == 1


async def test_at_max_connections_a_silent_socket_is_replaced(
    emulator: Emulator,
) -> None:
    emulator.faults.add("stall", event=1)
    deadlines = Deadlines(first_event=runs_briefly(0.5))
    limits = PoolLimits(max_connections=1)
    async with client_of(emulator, deadlines=deadlines, limits=limits) as client:
        stream = await soon(ask(client.conversation(model="echo"), "hello"))
        assert stream.metrics.recoveries == [Cause.STALLED]
        assert (stream.metrics.connection, client.connections) == (2, 1)


# Limits of the service.


@pytest.mark.parametrize("event", [1, 2])
async def test_a_connection_at_its_age_limit_is_replaced(
    emulator: Emulator, client: trunkline.Client, event: int
) -> None:
    chat = client.conversation(model="echo", store=False)
    await ask(chat, "one")
    emulator.faults.add("connection_limit", event=event)
    stream = await soon(ask(chat, "two"))
    assert stream.response.output_text == "two"
    assert stream.metrics.recoveries == [Cause.LIMIT if event == 1 else Cause.CONNECTION]
    assert_kept(emulator, chat, stream.response)


async def test_the_limit_of_lanes_moves_a_turn_to_another_connection(emulator: Emulator) -> None:
    emulator.faults.add("reject", status=400, code="websocket_stream_limit_reached")
    async with client_of(emulator) as client:
        stream = await ask(client.conversation(model="echo"), "hello")
        assert (stream.metrics.connection, stream.metrics.recoveries) == (2, [Cause.LIMIT])


# Errors of the service.


async def test_a_429_waits_for_retry_after(emulator: Emulator, client: trunkline.Client) -> None:
    wait_s = runs_briefly(0.2)
    headers = {"retry-after": str(wait_s)}
    emulator.faults.add("reject", status=429, code="rate_limit_exceeded", headers=headers)
    stream = await ask(client.conversation(model="echo"), "hello")
    assert (stream.metrics.attempts, stream.metrics.recoveries) == (2, [Cause.TRANSIENT])
    assert wait_s <= elapsed(stream.metrics) < wait_s + runs_briefly(5)
    assert stream.metrics.connection == 1


@pytest.mark.parametrize(
    ("status", "code"), [(500, None), (503, "server_is_overloaded"), (429, None), (400, "slow_down")]
)
async def test_transient_errors_are_retried(emulator: Emulator, status: int, code: str | None) -> None:
    emulator.faults.add("reject", status=status, code=code, times=2)
    async with client_of(emulator, policy=QUICK) as client:
        stream = await ask(client.conversation(model="echo"), "hello")
    assert stream.metrics.recoveries == [Cause.TRANSIENT] * 2


async def test_transient_errors_are_raised_after_max_attempts(emulator: Emulator) -> None:
    emulator.faults.add("reject", status=503, times=None)
    async with client_of(emulator, policy=Policy(max_attempts=3, backoff_s=0.001)) as client:
        chat = client.conversation(model="echo")
        stream = chat.send("hello")
        with pytest.raises(trunkline.ResponseRefused) as refused:
            await read(stream)
        assert refused.value.status == 503
        assert (stream.metrics.attempts, len(emulator.requests)) == (3, 3)
        assert chat.items == []
        emulator.faults.clear()
        assert (await ask(chat, "hello")).response.output_text == "hello"


async def test_a_retry_after_beyond_the_bound_is_raised(emulator: Emulator, client: trunkline.Client) -> None:
    headers = {"retry-after": "3600"}
    emulator.faults.add("reject", status=429, code="rate_limit_exceeded", headers=headers)
    with pytest.raises(trunkline.ResponseRefused) as refused:
        await soon(ask(client.conversation(model="echo"), "hello"))
    assert refused.value.retry_after_s == 3600


async def test_a_retry_after_beyond_the_deadline_of_the_turn_is_raised(
    emulator: Emulator, client: trunkline.Client
) -> None:
    headers = {"retry-after": "30"}
    emulator.faults.add("reject", status=429, code="rate_limit_exceeded", headers=headers)
    chat = client.conversation(model="echo")
    with pytest.raises(trunkline.ResponseRefused):
        await soon(ask(chat, "hello", deadlines=Deadlines(total=20)))


async def test_an_unstored_parent_is_replaced_by_a_full_request_after_a_429(emulator: Emulator) -> None:
    async with client_of(emulator, policy=QUICK) as client:
        chat = client.conversation(model="echo", store=False)
        await ask(chat, "one")
        emulator.faults.add("reject", status=429)
        stream = await ask(chat, "two")
        assert (stream.metrics.mode, stream.metrics.recoveries) == ("full", [Cause.TRANSIENT])
        assert_kept(emulator, chat, stream.response)


async def test_a_stored_parent_is_named_again_after_a_429(emulator: Emulator) -> None:
    async with client_of(emulator, policy=QUICK) as client:
        chat = client.conversation(model="echo", store=True)
        await ask(chat, "one")
        emulator.faults.add("reject", status=429)
        stream = await ask(chat, "two")
        assert (stream.metrics.mode, stream.metrics.recoveries) == ("delta", [Cause.TRANSIENT])
        assert_kept(emulator, chat, stream.response)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
async def test_other_refusals_are_raised_at_once_and_the_connection_is_kept(
    emulator: Emulator, client: trunkline.Client, status: int
) -> None:
    chat = client.conversation(model="echo", store=False)
    await ask(chat, "one")
    # With the parent, and once in full: the parent may be the reason.
    emulator.faults.add("reject", status=status, code="invalid_prompt", times=2)
    with pytest.raises(trunkline.ResponseRefused) as refused:
        await ask(chat, "two")
    assert (refused.value.status, len(emulator.requests)) == (status, 3)
    again = await ask(chat, "two")
    assert (again.metrics.connection, again.metrics.lane) == (1, "lane-0")
    assert (again.metrics.mode, again.metrics.attempts) == ("full", 1)
    assert texts(chat.items) == ["user: one", "assistant: one", "user: two", "assistant: two"]


@pytest.mark.parametrize(("code", "attempts"), [("server_error", 2), ("rate_limit_exceeded", 2)])
async def test_a_response_that_fails_with_a_transient_code_is_retried(
    emulator: Emulator, code: str, attempts: int
) -> None:
    emulator.expect("hello").fails(code)
    async with client_of(emulator, policy=QUICK) as client:
        stream = await ask(client.conversation(model="echo"), "hello")
    assert (stream.response.output_text, stream.metrics.attempts) == ("hello", attempts)


async def test_a_failed_response_is_never_a_parent(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="echo", store=True)
    await ask(chat, "one")
    emulator.expect("two").fails("invalid_prompt")
    with pytest.raises(trunkline.ResponseFailed):
        await ask(chat, "two")
    stream = await ask(chat, "two")
    first, _, third = emulator.responses.values()
    assert third.previous_response_id == first.id
    assert_kept(emulator, chat, stream.response)


# Deadlines before the request is sent.


async def test_a_dial_that_times_out_names_the_connect_phase(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade", times=None)
    limit_s = runs_briefly(0.1)
    only = {
        "deadlines": Deadlines(connect=limit_s),
        "policy": Policy(max_attempts=1),
        "transport": "websocket",
    }
    async with client_of(emulator, **only) as client:
        stream = client.conversation(model="echo").send("hello")
        with pytest.raises(trunkline.DeadlineExceeded) as late:
            await soon(read(stream))
    assert (late.value.phase, late.value.waited_s) == ("connect", limit_s)
    assert (late.value.sent, late.value.started, late.value.output_seen) == (False, False, False)
    assert stream.metrics.error == "DeadlineExceeded"
    assert emulator.requests == []


async def test_the_whole_wait_for_room_is_bounded(emulator: Emulator) -> None:
    """Other turns take each place that becomes free."""
    limit_s = runs_briefly(0.3)
    deadlines = Deadlines(connect=limit_s)
    limits = PoolLimits(max_connections=1, max_in_flight=2)
    emulator.faults.add("stall", request=1, event=7)
    async with client_of(
        emulator, limits=limits, deadlines=deadlines, policy=Policy(max_attempts=1)
    ) as client:
        chats = [client.conversation(model="echo") for _ in range(3)]
        async with chats[0].send("one two three", deadlines=Deadlines(connect=60)) as busy:
            await first_text(busy)
            late = asyncio.create_task(_hold_and_wait(emulator, chats, limit_s))
            with pytest.raises(trunkline.DeadlineExceeded) as exceeded:
                await soon(late)
    assert (exceeded.value.phase, exceeded.value.waited_s) == ("connect", limit_s)


async def _hold_and_wait(emulator: Emulator, chats: list[trunkline.Conversation], limit_s: float) -> None:
    """Keep the second place taken by turns that wait ahead of this one."""
    waiting: list[asyncio.Task[Any]] = []
    emulator.pace = Pace(limit_s / 4, None)
    ahead = [chats[1].fork() for _ in range(12)]
    waiting = [asyncio.create_task(ask(chat, "x", deadlines=Deadlines(connect=60))) for chat in ahead]
    try:
        await asyncio.sleep(0)
        await ask(chats[2], "at last")
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_the_whole_turn_is_bounded_while_it_waits_for_a_connection(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade", times=None)
    deadlines = Deadlines(total=runs_briefly(0.15))
    async with client_of(emulator, deadlines=deadlines) as client:
        with pytest.raises(trunkline.DeadlineExceeded) as late:
            await soon(ask(client.conversation(model="echo"), "hello"))
    assert late.value.phase == "total"


# Contents of requests.


async def test_instructions_tools_and_settings_go_with_every_turn(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(
        model="echo", instructions="Be brief.", tools=[WEATHER], metadata={"a": "b"}, reasoning=None
    )
    await ask(chat, "one")
    await ask(chat, "two")
    for request in emulator.requests:
        assert request.body is not None
        assert request.body["instructions"] == "Be brief."
        assert request.body["tools"] == [WEATHER]
        assert request.body["metadata"] == {"a": "b"}
        assert "reasoning" not in request.body
        assert "store" not in request.body


async def test_a_turn_without_a_key_has_no_parent_and_is_none(
    emulator: Emulator, client: trunkline.Client
) -> None:
    history = [user("one")]
    for _ in range(2):
        stream = await read(client.stream(model="echo", input=history))
        history += [*stream.response.output, user("again")]
        assert record_of(emulator, stream).previous_response_id is None
    assert_context(record_of(emulator, stream).effective_context, history[:-2])


async def test_another_model_gets_a_full_request(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="echo")
    await ask(chat, "one")
    other = await ask(chat, "two", model="reason")
    assert other.metrics.mode == "full"
    assert_kept(emulator, chat, other.response)


async def test_an_interrupted_answer_is_no_parent(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="words-9")
    first = await ask(chat, "one")
    gate = emulator.faults.hold(event=7)
    async with chat.send("two") as left:
        await first_text(left)
    after = await ask(chat, "three")
    gate.open()
    left_id = list(emulator.responses)[1]
    assert record_of(emulator, after).previous_response_id in (None, first.response.id)
    assert_kept(emulator, chat, after.response)
    await until(lambda: emulator.responses[left_id].status == "completed", "it has drained")
    final = await ask(chat, "four")
    assert record_of(emulator, final).previous_response_id == after.response.id
    assert_kept(emulator, chat, final.response)


async def test_a_finished_turn_is_freed_without_the_collector(
    emulator: Emulator, client: trunkline.Client
) -> None:
    """Collections delay every turn of the process, so that no turn may leave a reference cycle."""
    chat = client.conversation(model="echo")
    await ask(chat, "hello")
    gc.collect()
    gc.disable()
    try:
        for words in ("one", "two"):
            await ask(chat, words)
        async with client.conversation(model="words-5").send("go") as left:
            await first_text(left)
        del left
        await until(lambda: client.state().in_flight == 0, "the answer has drained")
        assert [kept for kept in gc.get_objects() if isinstance(kept, Inbox | Turn)] == []
    finally:
        gc.enable()
