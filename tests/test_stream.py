from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import warnings
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

import trunkline
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace
from trunkline.events import OutputTextDelta

from .talk import (
    DELTA,
    Timing,
    ask,
    assert_kept,
    client_of,
    first_text,
    hold_after_first_word,
    read,
    stall_in_mid_answer,
    texts,
    types_of,
    user,
)
from .waiting import runs_briefly, soon, until

# Reading.


async def test_a_stream_ends_after_the_terminal_event_and_then_has_a_response(
    chat: trunkline.Conversation,
) -> None:
    async with chat.send("hello there") as stream:
        types = await types_of(stream)
        assert (types[0], types[-1]) == ("response.created", "response.completed")
        assert stream.is_ended
        assert await types_of(stream) == []
    assert stream.response.output_text == stream.received_text == "hello there"


async def test_a_stream_has_no_response_before_its_end(chat: trunkline.Conversation) -> None:
    async with chat.send("hello there") as stream:
        await first_text(stream)
        with pytest.raises(trunkline.UsageError, match="read it to its end"):
            _ = stream.response
    with pytest.raises(trunkline.UsageError):
        _ = stream.response


async def test_text_yields_only_the_text(client: trunkline.Client) -> None:
    async with client.conversation(model="reason").send("one two three") as stream:
        pieces = [piece async for piece in stream.text()]
    assert pieces == ["one", " two", " three"]


async def test_reading_may_continue_with_another_method(chat: trunkline.Conversation) -> None:
    async with chat.send("one two three four") as stream:
        await first_text(stream)
        async for _ in stream.text():
            break
        response = await stream.finish()
    assert response.output_text == stream.received_text == "one two three four"


async def test_finish_after_the_end_returns_the_response_again(chat: trunkline.Conversation) -> None:
    async with chat.send("hello") as stream:
        response = await stream.finish()
        assert await stream.finish() is response
    assert await stream.finish() is response


async def test_two_tasks_cannot_read_one_stream(emulator: Emulator, chat: trunkline.Conversation) -> None:
    stall_in_mid_answer(emulator)
    async with chat.send("one two three") as stream:
        await first_text(stream)
        await first_text(stream)
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        with pytest.raises(trunkline.UsageError, match="another task"):
            await soon(anext(stream))
        first.cancel()
        await asyncio.wait([first])


# Entering.


async def test_a_stream_must_be_entered_before_it_is_read(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    stream = chat.send("hello")
    with pytest.raises(trunkline.UsageError, match="enter it first"):
        await anext(stream)
    assert emulator.requests == []


async def test_a_stream_can_be_entered_once(chat: trunkline.Conversation) -> None:
    stream = await ask(chat, "hello")
    with pytest.raises(trunkline.UsageError, match="already entered"):
        await stream.__aenter__()


async def test_a_closed_stream_cannot_be_entered(emulator: Emulator, chat: trunkline.Conversation) -> None:
    stream = chat.send("hello")
    stream.close()
    with pytest.raises(trunkline.UsageError):
        await stream.__aenter__()
    assert emulator.requests == []
    assert chat.items == []


async def test_a_stream_that_is_being_entered_cannot_be_read_by_another_task(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade")
    async with client_of(emulator) as client:
        stream = client.conversation(model="echo").send("hello")
        entering = asyncio.ensure_future(stream.__aenter__())
        await until(lambda: client.connections == 1, "it dials")
        with pytest.raises(trunkline.UsageError, match="another task is already entering"):
            await soon(anext(stream))
        entering.cancel()
        await asyncio.wait([entering])
        assert emulator.requests == []


async def test_a_stream_that_is_never_entered_sends_nothing_and_does_not_warn(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        chat.send("hello")
        gc.collect()
    assert [str(one.message) for one in caught] == []
    assert (emulator.requests, chat.items) == ([], [])
    await ask(chat, "hello again")


async def test_deadlines_and_durations_start_when_the_stream_is_entered(emulator: Emulator) -> None:
    timing, deadlines = Timing(), trunkline.Deadlines(total=60)
    async with client_of(emulator, world=timing.world) as client:
        stream = client.conversation(model="echo").send("hello", deadlines=deadlines)
        timing.now += 61
        async with stream:
            await stream.finish()
    assert stream.metrics.total_s == 0


# Leaving.


async def test_leaving_early_lets_the_answer_drain_and_the_next_turn_does_not_wait(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = emulator.faults.hold(event=7)
    chat = client.conversation(model="words-9")
    async with chat.send("go") as stream:
        await first_text(stream)
    assert stream.is_ended
    following = await ask(chat, "go on")
    (left, answered) = emulator.responses.values()
    assert (left.status, answered.status) == ("in_progress", "completed")
    assert following.metrics.lane != stream.metrics.lane
    assert following.metrics.connection == stream.metrics.connection
    gate.open()
    await until(lambda: left.status == "completed", "the answer has drained")
    await until(lambda: client.metrics.abandoned_usage["output_tokens"] == 9, "its tokens are counted")


async def test_an_exception_in_the_block_leaves_the_turn(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    stall_in_mid_answer(emulator)

    async def fail() -> None:
        async with chat.send("one two three") as stream:
            await first_text(stream)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await fail()
    assert texts(chat.items) == ["user: one two three", "assistant: one"]


async def test_close_may_be_called_again(emulator: Emulator, chat: trunkline.Conversation) -> None:
    stall_in_mid_answer(emulator)
    async with chat.send("one two three") as stream:
        await first_text(stream)
        stream.close()
        stream.close()
        assert await types_of(stream) == []
    stream.close()
    assert texts(chat.items) == ["user: one two three", "assistant: one"]


async def test_closing_after_the_end_changes_nothing(chat: trunkline.Conversation) -> None:
    stream = await ask(chat, "hello")
    items = chat.items
    stream.close()
    assert chat.items == items
    assert stream.response.output_text == "hello"


async def test_aclosing_leaves_the_turn(emulator: Emulator, chat: trunkline.Conversation) -> None:
    stall_in_mid_answer(emulator)
    async with contextlib.aclosing(chat.send("one two three")) as stream:
        await stream.__aenter__()
        await first_text(stream)
    assert stream.is_ended
    assert texts(chat.items) == ["user: one two three", "assistant: one"]


async def test_a_stream_closed_while_it_is_entered_sends_nothing(emulator: Emulator) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def key() -> str:
        asked.set()
        await go.wait()
        return "sk-emulator"

    async with client_of(emulator, api_key=key) as client:
        chat = client.conversation(model="echo")
        stream = chat.send("one two three")
        entering = asyncio.create_task(stream.__aenter__())
        await soon(asked.wait())
        stream.close()
        go.set()
        await soon(entering)
        assert await types_of(stream) == []
        assert emulator.requests == []
        assert client.state().in_flight == 0
        assert texts(chat.items) == ["user: one two three"]
        assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_a_stream_closed_while_it_waits_for_room_sends_nothing(emulator: Emulator) -> None:
    stall_in_mid_answer(emulator, seconds=runs_briefly(0.2))
    limits = trunkline.PoolLimits(max_connections=1)
    async with client_of(emulator, lanes=False, limits=limits) as client:
        async with client.conversation(model="echo").send("one two three") as first:
            await first_text(first)
            chat = client.conversation(model="echo")
            stream = chat.send("hello")
            entering = asyncio.create_task(stream.__aenter__())
            await until(lambda: client.metrics.turns == 2, "the second turn waits")
            stream.close()
            await first.finish()
            await soon(entering)
        assert len(emulator.requests) == 1
        assert_kept(emulator, chat, (await ask(chat, "and")).response)


async def test_an_answer_is_whole_only_when_its_end_was_read(chat: trunkline.Conversation) -> None:
    async with chat.send("one two") as stream:
        while stream.received_text != "one two":
            await first_text(stream)
    assert texts(chat.items) == ["user: one two", "assistant: one two"]
    assert stream.metrics.outcome == "left"


async def test_a_garbage_collected_stream_warns_once_and_drains(
    emulator: Emulator, client: trunkline.Client
) -> None:
    gate = hold_after_first_word(emulator)
    chat = client.conversation(model="words-20")
    stream: trunkline.ResponseStream | None = await chat.send("go").__aenter__()
    assert stream is not None
    await first_text(stream)
    with pytest.warns(ResourceWarning, match="neither read to its end nor left") as caught:
        stream = None
    gc.collect()
    assert len(caught) == 1
    gate.open()
    await until(lambda: client.metrics.abandoned_usage["output_tokens"] == 20, "the answer has drained")
    assert texts(chat.items) == ["user: go", "assistant: the"]
    assert (await ask(chat, "again")).metrics.connection == 1


async def test_a_garbage_collected_stream_frees_its_conversation_if_warnings_are_errors(
    emulator: Emulator, client: trunkline.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)
    stall_in_mid_answer(emulator)
    chat = client.conversation(model="echo")
    stream: trunkline.ResponseStream | None = await chat.send("one two three").__aenter__()
    assert stream is not None
    await first_text(stream)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stream = None
        gc.collect()
    assert [type(one.exc_value) for one in unraisable] == [ResourceWarning]
    unraisable.clear()
    assert texts(chat.items) == ["user: one two three", "assistant: one"]
    assert client.metrics.abandoned == 1


@pytest.mark.filterwarnings("ignore:.*neither read to its end nor left:ResourceWarning")
async def test_a_stream_that_another_thread_collects_does_not_undo_a_later_change(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    stall_in_mid_answer(emulator)
    cycle: list[Any] = [await chat.send("one two three").__aenter__()]
    cycle.append(cycle)  # only the collector frees it, and takes its weak references before
    await first_text(cycle[0])
    dropped = weakref.ref(cycle[0])
    del cycle
    collector = threading.Thread(target=gc.collect)
    collector.start()
    collector.join()  # the event loop is blocked, and cannot close the stream yet
    assert dropped() is None
    chat.replace([user("a new beginning")])
    await asyncio.sleep(0)
    assert texts(chat.items) == ["user: a new beginning"]
    assert_kept(emulator, chat, (await ask(chat, "again")).response)


async def test_a_stream_that_was_read_or_left_is_collected_without_a_warning(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await ask(chat, "one")
        async with chat.send("two three") as stream:
            await first_text(stream)
        del stream
        gc.collect()
    assert [str(one.message) for one in caught] == []


# Being cancelled.


@pytest.mark.parametrize(("event", "kept"), [(1, []), (3, []), (7, ["assistant: one two"])])
async def test_cancelling_the_reader_leaves_the_turn(emulator: Emulator, event: int, kept: list[str]) -> None:
    """The reader waits for the first event, for the first output, or between events."""
    turns: list[trunkline.TurnMetrics] = []
    emulator.faults.add("stall", event=event)
    async with client_of(emulator, hooks=trunkline.Hooks(turn_finished=turns.append)) as client:
        chat = client.conversation(model="echo")
        stream = chat.send("one two three")
        reading = asyncio.create_task(read(stream))
        await until(lambda: bool(emulator.faults.fired), "the answer stalls")
        await until(lambda: not kept or stream.received_text == "one two", "the text is read")
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert texts(chat.items) == ["user: one two three", *kept]
        assert (await ask(chat, "next")).response.output_text == "next"
        assert (turns[0].outcome, client.metrics.abandoned) == ("left", 1)


@pytest.mark.parametrize("fault", ["ignore_upgrade", "slow"])
async def test_cancelling_while_a_connection_is_made_leaves_nothing(emulator: Emulator, fault: str) -> None:
    asked = asyncio.Event()

    async def key() -> str:
        asked.set()
        if fault == "slow":
            await asyncio.get_running_loop().create_future()
        return "sk-emulator"

    emulator.faults.add("ignore_upgrade")
    async with client_of(emulator, api_key=key) as client:
        chat = client.conversation(model="echo")
        reading = asyncio.create_task(ask(chat, "hello"))
        await soon(asked.wait())
        if fault == "ignore_upgrade":
            await until(lambda: emulator.handshakes == 1, "the upgrade request has arrived")
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert emulator.requests == []


async def test_cancelling_a_wait_for_room_leaves_nothing(emulator: Emulator) -> None:
    stall_in_mid_answer(emulator)
    limits = trunkline.PoolLimits(max_connections=1)
    async with client_of(emulator, lanes=False, limits=limits) as client:
        async with client.conversation(model="echo").send("one two three") as stream:
            await first_text(stream)
            chat = client.conversation(model="echo")
            waiting = asyncio.create_task(ask(chat, "hello"))
            await until(lambda: client.metrics.turns == 2, "the second turn waits for room")
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert client.metrics.turns == 2
    assert len(emulator.requests) == 1


async def test_a_cancelled_wait_before_a_retry_loses_nothing(emulator: Emulator) -> None:
    """The service requests a delay; cancelled waits in the meantime do not restart it."""
    retry_after_s = runs_briefly(0.3)
    headers = {"retry-after": f"{retry_after_s}"}
    emulator.faults.add("reject", status=429, code="rate_limit_exceeded", headers=headers)
    async with client_of(emulator) as client:
        async with client.conversation(model="echo").send("hello there") as stream:
            await soon(_poll(stream, every_s=retry_after_s / 10))
        assert stream.response.output_text == "hello there"
        assert stream.metrics.attempts == 2
        assert len(stream.metrics.recoveries) == 1
        assert client.metrics.recoveries.total() == 1


async def test_a_cancelled_wait_while_another_connection_is_dialled_loses_nothing(emulator: Emulator) -> None:
    delay_s = runs_briefly(0.3)
    keys = 0

    async def key() -> str:
        nonlocal keys
        keys += 1
        if keys > 1:
            await asyncio.sleep(delay_s)  # simulates a slow handshake
        return "sk-emulator"

    emulator.faults.add("drop", event=2)
    async with client_of(emulator, api_key=key) as client:
        async with client.conversation(model="echo").send("hello there") as stream:
            await soon(_poll(stream, every_s=delay_s / 10))
        assert stream.response.output_text == "hello there"
        assert stream.metrics.attempts == 2


async def _poll(stream: trunkline.ResponseStream, every_s: float) -> None:
    while not stream.is_ended:
        try:
            await asyncio.wait_for(anext(stream), every_s)
        except (TimeoutError, StopAsyncIteration) as end:
            if isinstance(end, trunkline.TrunklineError):
                raise


# State and repr.


async def test_heard_is_for_conversations(client: trunkline.Client) -> None:
    stream = await read(client.stream(model="echo", input="hello", key="k"))
    with pytest.raises(trunkline.UsageError, match="Conversation"):
        stream.heard("he")


async def test_its_repr_shows_its_state_and_no_content(chat: trunkline.Conversation) -> None:
    stream = chat.send("top secret")
    shown = [repr(stream)]
    async with stream:
        await first_text(stream)
        shown.append(repr(stream))
        await stream.finish()
    shown.append(repr(stream))
    assert shown == [f"<ResponseStream: {state}>" for state in ("new", "open", "ended")]


async def test_events_do_not_show_their_content(chat: trunkline.Conversation) -> None:
    async with chat.send("top secret") as stream:
        events = [event async for event in stream]
    assert DELTA in [event.type for event in events]
    assert "secret" not in repr(events)


async def test_a_waiting_reader_ends_when_another_task_leaves_the_stream(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    stall_in_mid_answer(emulator)
    async with chat.send("one two three") as stream:
        await first_text(stream)
        rest = asyncio.ensure_future(_all_of(stream))
        await until(lambda: stream.received_text.count(" ") >= 1, "the reader waits for more")
        stream.close()
        await soon(rest)


async def _all_of(stream: trunkline.ResponseStream) -> None:
    async for _ in stream:
        pass


async def test_waiting_is_the_number_of_unread_events(
    emulator: Emulator, chat: trunkline.Conversation
) -> None:
    gate = emulator.faults.hold(event=9)
    async with chat.send("one two three four") as stream:
        assert stream.waiting == 0
        await anext(stream)
        await until(lambda: stream.waiting == 7, "the events before the gate are buffered")
        for unread in range(6, -1, -1):
            await anext(stream)
            assert stream.waiting == unread
        gate.open()
        await stream.finish()
    assert stream.waiting == 0


# With a function that receives the events.


async def test_a_function_receives_every_event_in_order(client: trunkline.Client) -> None:
    async with client.conversation(model="mixed").send("hello there") as stream:
        expected = [event.type async for event in stream]
    heard: list[trunkline.ServerEvent] = []
    async with client.conversation(model="mixed").send("hello there") as stream:
        response = await stream.finish(heard.append)
    assert [event.type for event in heard] == expected
    deltas = [event.delta for event in heard if isinstance(event, OutputTextDelta)]
    assert "".join(deltas) == response.output_text == stream.received_text


async def test_text_that_arrives_during_finish_resumes_no_task(emulator: Emulator) -> None:
    gate = hold_after_first_word(emulator)
    async with client_of(emulator) as client:
        tasks = []

        def hear(event: trunkline.ServerEvent) -> None:
            if isinstance(event, OutputTextDelta):
                tasks.append(asyncio.current_task())
                gate.open()  # the other words arrive during the wait

        async with client.conversation(model="words-20").send("go") as stream:
            response = await stream.finish(hear)
        assert response.output_text == stream.received_text
        assert len(tasks) == 20
        assert tasks[1:] == [None] * 19


async def test_a_function_is_called_in_the_context_of_the_waiting_task(emulator: Emulator) -> None:
    emulator.pace = Pace(0.0, 500)
    who: ContextVar[str] = ContextVar("who", default="default")
    async with client_of(emulator) as client:
        heard = set()
        async with client.conversation(model="words-20").send("go") as stream:
            who.set("me")
            await stream.finish(lambda event: heard.add(who.get()))
        assert heard == {"me"}


@pytest.mark.parametrize("word", [1, 3])
async def test_an_exception_of_a_function_is_raised_by_finish_and_leaves_the_turn(
    emulator: Emulator, word: int
) -> None:
    emulator.pace = Pace(0.0, 100)
    async with client_of(emulator) as client:
        chat = client.conversation(model="words-20")
        heard: list[str] = []

        def hear(event: trunkline.ServerEvent) -> None:
            if isinstance(event, OutputTextDelta):
                heard.append(event.delta)
                if len(heard) == word:
                    raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"):
            async with chat.send("go") as stream:
                await stream.finish(hear)
        assert len(heard) == word
        assert texts(chat.items) == ["user: go", "assistant: " + "".join(heard)]
        assert stream.metrics.outcome == "left"


async def test_a_function_may_leave_the_stream(emulator: Emulator) -> None:
    emulator.pace = Pace(0.0, 200)
    async with client_of(emulator) as client:
        chat = client.conversation(model="words-20")

        def hear(event: trunkline.ServerEvent) -> None:
            if isinstance(event, OutputTextDelta):
                stream.close()

        async with chat.send("go") as stream:
            with pytest.raises(trunkline.UsageError, match="no response"):
                await soon(stream.finish(hear))
        assert texts(chat.items) == ["user: go", "assistant: " + stream.received_text]


async def test_after_a_function_the_rest_can_be_read(emulator: Emulator) -> None:
    gate = emulator.faults.hold(event=8)
    async with client_of(emulator) as client:
        heard: list[str] = []

        def hear(event: trunkline.ServerEvent) -> None:
            if isinstance(event, OutputTextDelta):
                heard.append(event.delta)

        async with client.conversation(model="words-20").send("go") as stream:
            hearing = asyncio.create_task(stream.finish(hear))
            await until(lambda: len(heard) == 3, "three words are read")
            hearing.cancel()
            await asyncio.wait([hearing])
            gate.open()
            heard += [piece async for piece in stream.text()]
        assert "".join(heard) == stream.response.output_text == stream.received_text


@pytest.mark.parametrize("kind", ["async", "returns an awaitable", "at times"])
async def test_an_awaitable_of_a_function_is_awaited_before_the_next_event(
    emulator: Emulator, kind: str
) -> None:
    emulator.pace = Pace(0.0, 200)
    async with client_of(emulator) as client:
        heard: list[str] = []
        inside = 0

        async def note(event: trunkline.ServerEvent) -> None:
            nonlocal inside
            inside += 1
            assert inside == 1
            await asyncio.sleep(0.002)  # simulates playback
            heard.append(event.delta if isinstance(event, OutputTextDelta) else "")
            inside -= 1

        def at_times(event: trunkline.ServerEvent) -> object:
            if isinstance(event, OutputTextDelta) and len(heard) % 3:
                return note(event)
            heard.append(event.delta if isinstance(event, OutputTextDelta) else "")
            return None

        hooks: dict[str, Callable[[trunkline.ServerEvent], object]] = {
            "async": note,
            "returns an awaitable": lambda event: note(event),
            "at times": at_times,
        }
        async with client.conversation(model="words-20").send("go") as stream:
            response = await soon(stream.finish(hooks[kind]))
        assert "".join(heard) == response.output_text == stream.received_text


async def test_an_exception_of_an_async_function_is_raised_and_leaves_the_turn(emulator: Emulator) -> None:
    emulator.pace = Pace(0.0, 200)

    async def broken(event: trunkline.ServerEvent) -> None:
        if isinstance(event, OutputTextDelta):
            raise ValueError("mine")

    async with client_of(emulator) as client:
        for hook in (broken, lambda event: broken(event)):
            chat = client.conversation(model="words-20")
            with pytest.raises(ValueError, match="mine"):
                async with chat.send("go") as stream:
                    await stream.finish(hook)
            assert texts(chat.items) == ["user: go", "assistant: " + stream.received_text]


async def test_a_function_receives_the_events_over_http_too(emulator: Emulator) -> None:
    emulator.pace = Pace(0.0, 500)
    async with client_of(emulator, transport="http") as client:
        heard: list[trunkline.ServerEvent] = []
        async with client.conversation(model="words-20").send("go") as stream:
            response = await stream.finish(heard.append)
        deltas = [event.delta for event in heard if isinstance(event, OutputTextDelta)]
        assert "".join(deltas) == response.output_text


async def test_a_stream_that_was_read_by_a_function_leaves_no_cycle(client: trunkline.Client) -> None:
    async with client.conversation(model="words-20").send("go") as stream:
        await stream.finish(lambda event: None)
    gone = weakref.ref(stream)
    gc.disable()
    try:
        del stream
        assert gone() is None
    finally:
        gc.enable()


# A reader resumes inside the callback that read the socket, and may do anything there.


async def test_a_reader_may_close_the_client(emulator: Emulator) -> None:
    gate = hold_after_first_word(emulator)
    emulator.faults.add("stall", event=7)
    client = client_of(emulator)
    async with client.conversation(model="words-20").send("go") as stream:
        await first_text(stream)
        gate.open()
        await anext(stream)
        await soon(client.close())
        with pytest.raises((trunkline.ClientClosed, trunkline.ConnectionLost)):
            await soon(stream.finish())
    assert client.connections == 0


async def test_a_reader_may_start_the_next_turn_at_once(emulator: Emulator) -> None:
    emulator.pace = Pace(0.0, 500)
    async with client_of(emulator) as client:
        chat = client.conversation(model="words-20")
        for _ in range(10):
            async with chat.send("go") as stream:
                await first_text(stream)
                await anext(stream)
        emulator.pace = Pace()
        assert_kept(emulator, chat, (await ask(chat, "and now?")).response)


async def test_a_function_may_close_the_socket_of_its_own_answer(emulator: Emulator) -> None:
    gate = hold_after_first_word(emulator)
    limits = trunkline.PoolLimits(close_abandoned=True)
    async with client_of(emulator, limits=limits) as client:
        chat = client.conversation(model="words-20")

        def hear(event: trunkline.ServerEvent) -> None:
            if isinstance(event, OutputTextDelta):
                gate.open()
                if asyncio.current_task() is None:
                    stream.close()

        async with chat.send("go") as stream:
            with pytest.raises(trunkline.UsageError):
                await soon(stream.finish(hear))
        await until(lambda: not emulator.live_connections, "the socket is closed")
        assert_kept(emulator, chat, (await ask(chat, "and now?")).response)
