from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from typing import Any

import pytest

import trunkline
from trunkline import Deadlines, Policy, PoolLimits
from trunkline.emulator import Emulator, assert_context

from .memory import kept_bytes
from .talk import WEATHER, ask, client_of, first_text, hold_after_first_word, read, record_of, texts, user
from .waiting import runs_briefly, soon, until

KEY = "sk-very-secret-key"


# Credentials, headers and URL.


async def test_settings_come_from_the_environment(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", emulator.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-emulator")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-7")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-7")
    async with trunkline.Client() as client:
        await ask(client.conversation(model="echo"), "hello")
    headers = {name.lower(): value for name, value in emulator.connections[0].headers.items()}
    assert headers["authorization"] == "Bearer sk-emulator"
    assert (headers["openai-organization"], headers["openai-project"]) == ("org-7", "proj-7")


async def test_without_a_key_the_error_says_what_to_give(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(trunkline.ConfigurationError, match="OPENAI_API_KEY") as missing:
        trunkline.Client()
    assert missing.value.argument == "api_key"


@pytest.mark.parametrize("key", [f"{KEY}\n", "", " ", "sk-ключ"])
async def test_a_key_that_cannot_be_a_header_is_refused_at_once_and_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(trunkline.ConfigurationError) as refused:
        trunkline.Client(api_key=key)
    assert refused.value.argument == "api_key"
    assert KEY not in str(refused.value)


async def test_an_invalid_header_is_refused_at_once() -> None:
    with pytest.raises(trunkline.ConfigurationError) as refused:
        trunkline.Client(api_key=KEY, headers={"x-team": "voice\r\n"})
    assert refused.value.argument == "headers"


async def test_headers_may_replace_the_key(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    headers = {"api-key": "sk-emulator", "x-team": "voice"}
    async with client_of(emulator, api_key=None, headers=headers) as client:
        await ask(client.conversation(model="echo"), "hello")
    seen = {name.lower(): value for name, value in emulator.connections[0].headers.items()}
    assert (seen["api-key"], seen["x-team"], "authorization" in seen) == ("sk-emulator", "voice", False)


async def test_a_key_function_is_called_at_each_dial(emulator: Emulator) -> None:
    asked = 0

    async def key() -> str:
        nonlocal asked
        asked += 1
        return "sk-emulator"

    async with client_of(emulator, api_key=key) as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        await ask(chat, "two")
        assert asked == 1
        await emulator.drop_connections()
        await until(lambda: client.connections == 0, "the client has noticed")
        await ask(chat, "three")
        assert asked == 2


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_key_function_may_be_synchronous(emulator: Emulator, transport: str) -> None:
    asked = 0

    def key() -> str:
        nonlocal asked
        asked += 1
        return "sk-emulator"

    async with client_of(emulator, api_key=key, transport=transport) as client:
        await ask(client.conversation(model="echo"), "hello")
    assert asked == 1


async def test_a_key_function_that_raises_fails_the_turn_with_its_cause(emulator: Emulator) -> None:
    async def key() -> str:
        raise LookupError("the vault is shut")

    policy = Policy(max_attempts=1)
    async with client_of(emulator, api_key=key, policy=policy, transport="websocket") as client:
        with pytest.raises(trunkline.ConnectFailed, match="LookupError") as failed:
            await ask(client.conversation(model="echo"), "hello")
    assert isinstance(failed.value.__cause__, LookupError)


async def test_a_timeout_error_of_the_key_function_is_not_reported_as_a_deadline(
    emulator: Emulator,
) -> None:
    async def key() -> str:
        raise TimeoutError("the vault does not answer")

    policy = Policy(max_attempts=1)
    async with client_of(emulator, api_key=key, policy=policy, transport="websocket") as client:
        with pytest.raises(trunkline.ConnectFailed, match="TimeoutError") as failed:
            await ask(client.conversation(model="echo"), "hello")
    assert isinstance(failed.value.__cause__, TimeoutError)


async def test_a_refused_key_raises_the_status_and_is_not_shown(emulator: Emulator) -> None:
    async with client_of(emulator, api_key=KEY, transport="websocket") as client:
        with pytest.raises(trunkline.UpgradeRefused) as refused:
            await ask(client.conversation(model="echo"), "hello")
    assert refused.value.status == 401
    assert KEY not in "".join(traceback.format_exception(refused.value))


async def test_a_gateway_sees_the_model_in_the_url(emulator: Emulator, client: trunkline.Client) -> None:
    await ask(client.conversation(model="echo"), "hello")
    await ask(client.conversation(model="reason"), "hello")
    assert [connection.query["model"] for connection in emulator.connections] == ["echo", "reason"]


async def test_lanes_are_off_by_default_for_other_endpoints(emulator: Emulator) -> None:
    async with client_of(emulator, lanes=None) as client:
        await ask(client.conversation(model="echo"), "hello")
    assert emulator.requests[0].lane is None
    assert "stream_id" not in (emulator.requests[0].body or {})


# Event loop and closing.


async def test_a_client_belongs_to_one_event_loop(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="echo")
    await ask(chat, "hello")

    async def elsewhere() -> list[type[BaseException]]:
        found: list[type[BaseException]] = []
        for act in (
            lambda: ask(chat, "again"),
            lambda: client.warm(model="echo"),
            lambda: read(client.stream(model="echo", input="x", key="k")),
            client.__aenter__,
            client.close,
        ):
            with pytest.raises(trunkline.WrongEventLoop, match="one client for each loop") as refused:
                await act()
            found.append(refused.type)
        return found

    assert len(await asyncio.to_thread(asyncio.run, elsewhere())) == 5
    assert (await ask(chat, "still here")).response.output_text == "still here"


async def test_a_client_may_be_created_without_an_event_loop(emulator: Emulator) -> None:
    made: list[trunkline.Client] = []
    thread = threading.Thread(target=lambda: made.append(client_of(emulator)))
    thread.start()
    thread.join()
    async with made[0] as client:
        await ask(client.conversation(model="echo"), "hello")


async def test_closing_ends_open_streams_with_a_typed_error(emulator: Emulator) -> None:
    """One stream is in mid-answer, one is before its first output, and one waits for a connection."""
    emulator.faults.add("stall", event=7, request=1)
    emulator.faults.add("stall", event=2, request=2)
    emulator.faults.add("ignore_upgrade", connection=2)
    async with client_of(emulator, limits=PoolLimits(max_in_flight=2)) as client:
        chats = [client.conversation(model="echo") for _ in range(3)]
        tasks = []
        for number, chat in enumerate(chats, 1):
            tasks.append(asyncio.create_task(ask(chat, "one two three")))
            await until(lambda n=number: len(emulator.faults.fired) == n, "the turn has met its fault")  # type: ignore[misc]
        await until(lambda: client.metrics.turns == 3, "all turns have started")
        await soon(client.close())
        errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(errors[0], trunkline.ConnectionLost | trunkline.ClientClosed)
    assert [type(error) for error in errors[1:]] == [trunkline.ClientClosed] * 2
    assert texts(chats[0].items)[0] == "user: one two three"
    assert [chat.items for chat in chats[1:]] == [[], []]


async def test_closing_ends_turns_that_wait_for_room(emulator: Emulator) -> None:
    emulator.faults.add("stall", event=7)
    async with client_of(emulator, lanes=False, limits=PoolLimits(max_connections=1)) as client:
        stream = client.conversation(model="echo").send("one two three")
        async with stream:
            await first_text(stream)
            waiting = asyncio.create_task(ask(client.conversation(model="echo"), "hello"))
            await until(lambda: client.metrics.turns == 2, "the other turn waits")
            await client.close()
            with pytest.raises(trunkline.ClientClosed):
                await waiting


async def test_closing_ends_turns_that_wait_for_a_retry(emulator: Emulator) -> None:
    emulator.faults.add("reject", status=503, headers={"retry-after": "4"})
    async with client_of(emulator) as client:
        chat = client.conversation(model="echo")
        waiting = asyncio.create_task(ask(chat, "hello"))
        await until(lambda: bool(emulator.faults.fired), "the request is refused")
        await client.close()
        with pytest.raises(trunkline.ClientClosed):
            await soon(waiting)
        assert chat.items == []


async def test_a_closed_client_refuses_turns_and_leaves_histories_unchanged(emulator: Emulator) -> None:
    hooks: list[trunkline.TurnMetrics] = []
    client = client_of(emulator, hooks=trunkline.Hooks(turn_finished=hooks.append))
    chat = client.conversation(model="echo")
    await ask(chat, "hello")
    items = chat.items
    await client.close()
    await client.close()
    for act in (lambda: ask(chat, "again"), lambda: client.warm(model="echo")):
        with pytest.raises(trunkline.ClientClosed, match="closed"):
            await act()
    assert chat.items == items
    assert [(metrics.outcome, metrics.error) for metrics in hooks] == [
        ("answered", None),
        ("failed", "ClientClosed"),
    ]


async def test_leaving_the_block_closes_every_socket(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        await client.warm(model="echo", connections=3)
        assert len(emulator.live_connections) == client.connections == 3
    assert client.connections == 0
    await until(lambda: not emulator.live_connections, "the server has noticed")
    assert [connection.close_code for connection in emulator.connections] == [1000] * 3


async def test_a_cancelled_close_can_be_repeated(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade")
    client = client_of(emulator)
    waiting = asyncio.create_task(client.warm(model="echo"))
    await until(lambda: emulator.handshakes == 1, "the client is dialling")
    closing = asyncio.create_task(client.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await soon(client.close())
    with pytest.raises(trunkline.TurnError):
        await waiting


# Warming.


async def test_a_turn_uses_the_connection_that_warm_opened(
    emulator: Emulator, client: trunkline.Client
) -> None:
    await client.warm(model="echo")
    assert (emulator.handshakes, emulator.requests) == (1, [])
    stream = await ask(client.conversation(model="echo"), "hello")
    assert (stream.metrics.connection, emulator.handshakes) == (1, 1)


async def test_warm_opens_only_the_missing_connections(emulator: Emulator, client: trunkline.Client) -> None:
    await client.warm(model="echo", connections=2)
    await client.warm(model="echo", connections=3)
    await client.warm(model="echo")
    assert (emulator.handshakes, client.connections) == (3, 3)


async def test_warm_raises_a_refused_upgrade(emulator: Emulator) -> None:
    emulator.faults.add("refuse_upgrade", status=403)
    async with client_of(emulator, transport="websocket") as client:
        with pytest.raises(trunkline.UpgradeRefused):
            await client.warm(model="echo")


async def test_warm_is_bounded_by_the_connect_deadline(emulator: Emulator) -> None:
    emulator.faults.add("ignore_upgrade")
    deadlines = Deadlines(connect=runs_briefly(0.1))
    async with client_of(emulator, deadlines=deadlines) as client:
        with pytest.raises(trunkline.DeadlineExceeded) as late:
            await soon(client.warm(model="echo"))
    assert late.value.phase == "connect"


# Histories that the application keeps.


async def test_a_key_chains_turns_and_only_new_items_are_sent(
    emulator: Emulator, client: trunkline.Client
) -> None:
    history: list[dict[str, Any]] = []
    modes = []
    for words in ("one", "two", "three"):
        history.append(user(words))
        stream = await read(client.stream(model="echo", input=history, key="k", instructions="Be brief."))
        assert_context(record_of(emulator, stream).effective_context, history)
        history += stream.response.output
        modes.append((stream.metrics.mode, stream.metrics.items_sent))
    assert modes == [("full", 1), ("delta", 1), ("delta", 1)]


async def test_an_edit_in_place_is_seen(emulator: Emulator, client: trunkline.Client) -> None:
    history = [user("one")]
    stream = await read(client.stream(model="echo", input=history, key="k"))
    history += [*stream.response.output, user("two")]
    history[0]["content"] = "edited"
    stream = await read(client.stream(model="echo", input=history, key="k"))
    assert stream.metrics.mode == "full"
    assert_context(record_of(emulator, stream).effective_context, history)
    history += [*stream.response.output, user("three")]
    history[-2]["content"][0]["text"] = "cut short"
    stream = await read(client.stream(model="echo", input=history, key="k"))
    assert stream.metrics.mode == "full"
    assert_context(record_of(emulator, stream).effective_context, history)


async def test_tools_edited_in_place_are_sent_with_the_edit(
    emulator: Emulator, client: trunkline.Client
) -> None:
    tools = [{**WEATHER}]
    await read(client.stream(model="echo", input="one", key="k", tools=tools))
    tools[0]["description"] = "Edited."
    await read(client.stream(model="echo", input="one", key="k", tools=tools))
    await read(client.stream(model="echo", input="one", key="k"))
    sent = [(request.body or {}).get("tools") for request in emulator.requests]
    assert sent == [[WEATHER], tools, None]


async def test_two_keys_with_equal_histories_never_share_a_parent(
    emulator: Emulator, client: trunkline.Client
) -> None:
    for words in ([user("one")], [user("one"), {"role": "assistant", "content": "one"}, user("two")]):
        streams = [await read(client.stream(model="echo", input=words, key=key)) for key in ("a", "b")]
    parents = {record_of(emulator, stream).previous_response_id for stream in streams}
    assert len(parents) == 2
    assert None not in parents


async def test_turns_of_one_key_may_run_concurrently(emulator: Emulator, client: trunkline.Client) -> None:
    first = await read(client.stream(model="echo", input=[user("one")], key="k"))
    base = [user("one"), *first.response.output]
    inputs = [[*base, user(f"branch {number}")] for number in range(8)]
    streams = await asyncio.gather(
        *(read(client.stream(model="echo", input=given, key="k")) for given in inputs)
    )
    for stream, given in zip(streams, inputs, strict=True):
        assert_context(record_of(emulator, stream).effective_context, given)
        assert stream.response.output_text == given[-1]["content"]


async def test_a_forgotten_key_starts_with_a_full_request(
    emulator: Emulator, client: trunkline.Client
) -> None:
    history = [user("one")]
    stream = await read(client.stream(model="echo", input=history, key="k"))
    client.forget("k")
    client.forget("never heard of")
    history += [*stream.response.output, user("two")]
    assert (await read(client.stream(model="echo", input=history, key="k"))).metrics.mode == "full"


async def test_keys_are_bounded_and_the_least_recently_used_is_dropped(
    emulator: Emulator,
) -> None:
    histories = {key: [user(f"I am {key}")] for key in "abc"}
    client = client_of(emulator, limits=PoolLimits(max_keys=2))

    async def turn(key: str) -> str:
        stream = await read(client.stream(model="echo", input=histories[key], key=key))
        assert_context(record_of(emulator, stream).effective_context, histories[key])
        histories[key] += [*stream.response.output, user("on")]
        return stream.metrics.mode

    async with client:
        assert [await turn(key) for key in "ab"] == ["full", "full"]
        assert await turn("a") == "delta"
        assert await turn("c") == "full"  # and b is dropped
        assert [await turn(key) for key in "ac"] == ["delta", "delta"]
        assert await turn("b") == "full"


async def test_a_wrong_history_is_refused_and_the_key_keeps_its_parent(
    emulator: Emulator, client: trunkline.Client
) -> None:
    history = [user("one")]
    stream = await read(client.stream(model="echo", input=history, key="k"))
    history += [*stream.response.output, user("two")]
    with pytest.raises(trunkline.ConfigurationError, match=r"input\[3\]"):
        client.stream(model="echo", input=[*history, {"content": "of nobody"}], key="k")
    stream = await read(client.stream(model="echo", input=history, key="k"))
    assert stream.metrics.mode == "delta"
    assert_context(record_of(emulator, stream).effective_context, history)


# Secrets.


async def test_no_key_and_no_content_in_reprs_errors_and_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "4111-1111"
    async with (
        Emulator(api_key=KEY) as emulator,
        client_of(emulator, policy=Policy(backoff_s=0.001)) as client,
    ):
        chat = client.conversation(model="echo", instructions=secret, metadata={"card": secret})
        shown: list[object] = [client, chat]
        errors: list[BaseException] = []
        for action in ("drop", "reset", "close", "corrupt", "truncate", "stall", "connection_limit", "fail"):
            gate = hold_after_first_word(emulator)
            emulator.faults.add(action, event=7)
            deadlines = Deadlines(between_events=runs_briefly(0.3))
            async with chat.send(f"{secret} one two three four", deadlines=deadlines) as stream:
                await first_text(stream)
                shown += [stream, stream.metrics]
                gate.open()
                with pytest.raises(trunkline.TurnError) as failed:
                    await stream.finish()
            errors.append(failed.value)
            emulator.faults.clear()
        stream = await ask(chat, secret)
        shown += [stream, stream.response, stream.metrics, client.metrics, chat, client]
        texts_shown = [repr(one) for one in shown]
        texts_shown += ["".join(traceback.format_exception(error, chain=True)) for error in errors]
        texts_shown += [repr(error.__dict__) for error in errors]
    for text in [*texts_shown, caplog.text]:
        lines = [line for line in text.splitlines() if secret in line or KEY in line]
        assert lines == []


# Settings of one turn and of the client.


@pytest.mark.parametrize("given", [5, None, {"role", "content"}])
async def test_a_history_that_is_no_list_is_refused(client: trunkline.Client, given: Any) -> None:
    with pytest.raises(trunkline.ConfigurationError, match=r"input is .*: give a string, an item"):
        client.stream(model="echo", input=given, key="k")


async def test_a_keyed_turn_may_have_its_own_policy(emulator: Emulator) -> None:
    async with client_of(emulator) as client:
        emulator.faults.add("reject", request=1, status=503)
        with pytest.raises(trunkline.ResponseRefused):
            await read(client.stream(model="echo", input="x", key="k", policy=Policy(waits=False)))
        assert len(emulator.requests) == 1


async def test_a_client_shows_its_url_and_deadlines(emulator: Emulator) -> None:
    deadlines = Deadlines(first_event=7.0)
    async with client_of(emulator, deadlines=deadlines) as client:
        assert client.url == f"{emulator.base_url}/responses"
        assert client.deadlines == deadlines


async def test_conversations_with_equal_fields_share_one_encoding(emulator: Emulator) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city."""
        return city

    brief, long = "Be brief. " * 10_000, "Be long. " * 10_000
    async with client_of(emulator) as client:

        def conversation(instructions: str) -> trunkline.Conversation:
            return client.conversation(model="echo", instructions=instructions, tools=[get_weather])

        first = conversation(brief)
        assert kept_bytes(lambda: conversation(brief)) < len(brief) / 2
        assert kept_bytes(lambda: conversation(long)) > len(long)
        for chat, instructions in ((first, brief), (conversation(long), long), (conversation(brief), brief)):
            await ask(chat, "hello")
            assert [*emulator.responses.values()][-1].instructions == instructions
