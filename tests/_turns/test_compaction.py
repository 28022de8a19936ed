"""Compaction of a history: `Conversation.compact`, and compaction inside of responses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

import trunkline
from trunkline import (
    ClientClosed,
    ConfigurationError,
    ConnectionLost,
    ConversationBusy,
    DeadlineExceeded,
    Deadlines,
    Policy,
    ProtocolViolation,
    ResponseRefused,
    UsageError,
)
from trunkline.emulator import Emulator

from ..talk import WEATHER, ask, assert_kept, assistant, client_of, user
from ..waiting import soon, until

COMPACTION = [{"type": "compaction", "compact_threshold": 30}]


def kinds(items: list[dict[str, Any]]) -> list[str]:
    return [item.get("role") or item["type"] for item in items]


# With the emulator.


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("model", ["echo", "reason"])
async def test_the_next_turn_sends_the_window_and_later_turns_are_deltas(
    model: str, transport: Any, emulator: Emulator
) -> None:
    async with client_of(emulator, transport=transport) as client:
        chat = client.conversation(model=model, instructions="Be brief.")
        for words in ("one", "two"):
            await ask(chat, words)
        answer = await chat.compact()
        assert answer["usage"]["input_tokens"] > 0
        assert kinds(chat.items) == ["user", "user", "compaction"]
        modes = []
        for words in ("three", "four"):
            stream = await ask(chat, words)
            modes.append((stream.metrics.mode, stream.metrics.items_sent))
            assert_kept(emulator, chat, stream.response)
        assert modes == [("full", 4), ("delta", 1)]


async def test_instructions_are_left_out_and_settings_of_the_cache_are_sent(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(
        model="echo", instructions="Be brief.", tools=[WEATHER], temperature=0.5, prompt_cache_key="caller 7"
    )
    await ask(chat, "one")
    await chat.compact()
    body = emulator.requests[-1].body or {}
    assert body.keys() == {"model", "input", "prompt_cache_key"}
    assert kinds(body["input"]) == ["user", "assistant"]
    assert not any("id" in item for item in body["input"])


async def test_a_compacted_conversation_can_be_saved_and_forked(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="echo")
    await ask(chat, "one")
    await chat.compact()
    for other in (client.conversation(saved=json.loads(json.dumps(chat.save()))), chat.fork()):
        stream = await ask(other, "two")
        assert stream.metrics.mode == "full"
        assert_kept(emulator, other, stream.response)


async def test_what_cannot_be_compacted(client: trunkline.Client) -> None:
    with pytest.raises(UsageError, match="empty"):
        await client.conversation(model="echo").compact()
    with pytest.raises(ConfigurationError, match="context_management"):
        await client.conversation(model="echo", items=[user("one")], conversation="conv_1").compact()
    call = {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{}"}
    with pytest.raises(ConfigurationError, match="call_1"):
        await client.conversation(model="echo", items=[user("one"), call]).compact()


async def test_the_service_may_compact_inside_of_a_response(
    emulator: Emulator, client: trunkline.Client
) -> None:
    chat = client.conversation(model="reason", context_management=COMPACTION)
    modes = []
    for words in ("one " * 10, "two " * 10, "three"):
        stream = await ask(chat, words)
        modes.append(stream.metrics.mode)
    assert modes == ["full", "delta", "delta"]
    assert "compaction" in kinds(chat.items)
    restored = client.conversation(saved=chat.save())
    assert (await ask(restored, "four")).metrics.mode == "delta"


async def test_an_application_need_not_keep_the_compaction_that_it_asked_for(
    emulator: Emulator, client: trunkline.Client
) -> None:
    history: list[dict[str, Any]] = []
    modes = []
    for fields in ({"context_management": COMPACTION}, {"context_management": COMPACTION}, {}):
        history.append(user("one " * 20))
        async with client.stream(model="echo", input=history, key="k", extra_fields=fields) as stream:
            response = await stream.finish()
        history.append(assistant(response.output_text))
        modes.append(stream.metrics.mode)
    # Without the field the model is to see all of the history.
    assert modes == ["full", "delta", "full"]


# With a server that answers as the test says.

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def answering(
    *answers: Answer, **options: Any
) -> AsyncIterator[tuple[trunkline.Conversation, list[str]]]:
    """A conversation of one exchange; the paths of the requests."""
    waiting, paths = list(answers), list[str]()

    async def serve(request: web.Request) -> web.StreamResponse:
        paths.append(request.path)
        return await (waiting.pop(0) if len(waiting) > 1 else waiting[0])(request)

    app = web.Application()
    app.router.add_post("/v1/responses/compact", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base_url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        async with trunkline.Client(base_url=base_url, api_key="k", proxy="", **options) as client:
            yield client.conversation(model="m", items=[user("one"), assistant("two")]), paths
    finally:
        await runner.cleanup()


def of(value: Any, status: int = 200, **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        return web.json_response(value, status=status, headers=headers)

    return answer


async def cut(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def silent(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    return web.Response()


WINDOW = of({"id": "resp_1", "output": [{"type": "compaction", "id": "cmp_1", "encrypted_content": "x"}]})
BUSY = of({"error": {"message": "busy", "code": "overloaded"}}, 503, **{"retry-after": "0"})
SOON = Policy(backoff_s=0.01)


@pytest.mark.parametrize("failure", [BUSY, cut], ids=["busy", "cut"])
async def test_what_may_pass_is_retried(failure: Answer) -> None:
    async with answering(failure, failure, WINDOW, policy=SOON) as (chat, paths):
        await soon(chat.compact())
        assert chat.items == [{"type": "compaction", "encrypted_content": "x"}]
        assert paths == ["/v1/responses/compact"] * 3


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (BUSY, ResponseRefused, "busy"),
        (of({"error": {"message": "bad model"}}, 400), ResponseRefused, "bad model"),
        (of({"error": {"message": "no route"}}, 404), ResponseRefused, r"no route; .*replace\(\)"),
        (of("", 405), ResponseRefused, "may not offer compaction"),
        (cut, ConnectionLost, "lost"),
        (of({"id": "resp_1"}), ProtocolViolation, "no output items"),
        (of({"output": []}), ProtocolViolation, "no output items"),
        (of({"output": ["x"]}), ProtocolViolation, "no output items"),
        (of(["x"]), ProtocolViolation, "no output items"),
        (silent, DeadlineExceeded, "first_output"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_a_failure_leaves_the_history_as_it_was(
    answer: Answer, error: type[trunkline.TurnError], words: str
) -> None:
    policy, deadlines = Policy(max_attempts=1), Deadlines(first_output=0.5)
    async with answering(answer, policy=policy, deadlines=deadlines) as (chat, paths):
        before = chat.items
        with pytest.raises(error, match=words) as failed:
            await soon(chat.compact())
        assert failed.value.sent or error is ConnectionLost
        assert chat.items == before
        assert len(paths) == 1


async def test_without_a_limit_the_deadline_of_the_turn_counts() -> None:
    async with answering(silent, policy=Policy(max_attempts=1)) as (chat, _):
        with pytest.raises(DeadlineExceeded, match="total"):
            await soon(chat.compact(deadlines=Deadlines(first_output=None, total=0.3)))


async def test_a_server_that_cannot_be_reached(emulator: Emulator) -> None:
    async with client_of(emulator, policy=Policy(waits=False)) as client:
        chat = client.conversation(model="echo", items=[user("one")])
        await emulator.stop()
        with pytest.raises(trunkline.ConnectFailed):
            await soon(chat.compact())


async def test_a_compaction_that_runs_is_a_turn_of_its_conversation() -> None:
    async with answering(silent) as (chat, paths):
        running = asyncio.create_task(chat.compact())
        await until(lambda: bool(paths), "the request has arrived")
        for call in (lambda: chat.send("three"), lambda: chat.replace([user("one")])):
            with pytest.raises(ConversationBusy):
                call()
        before = chat.items
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert chat.items == before
        chat.replace([user("one")])


async def test_a_correction_of_what_was_heard_wins(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one two three")
        running = asyncio.create_task(chat.compact())
        await asyncio.sleep(0)
        chat.heard("You")
        with pytest.raises(UsageError, match="call compact"):
            await soon(running)
        assert kinds(chat.items) == ["user", "assistant"]
        stream = await ask(chat, "four")
        assert_kept(emulator, chat, stream.response)


async def test_a_closed_client_compacts_nothing() -> None:
    async with answering(WINDOW) as (chat, paths):
        pass
    with pytest.raises(ClientClosed):
        await chat.compact()
    assert paths == []
