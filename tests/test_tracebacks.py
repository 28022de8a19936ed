"""Frames of exceptions show neither keys nor content, as error reporters render their local variables."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from rich.pretty import pretty_repr

import trunkline
from trunkline import Deadlines, Policy
from trunkline.emulator import Emulator
from trunkline.tracebacks import discreet, of_application, without_frames

from .proxy import Proxy
from .scripted import answer, call, created, talking
from .talk import ask, client_of, user

KEY = "sk-key-of-the-caller"
WORDS = "words-of-the-caller"
PASSWORD = "password-of-the-proxy"
SECRETS = (KEY, WORDS, PASSWORD)
HERE = str(Path(__file__).parent)
ONCE = Policy(max_attempts=1)
BRIEF = Deadlines(connect=0.3, first_event=5.0)


# What a reporter shows.


def rendered(value: object, depth: int = 0) -> Iterator[str]:
    """The printed forms of a value. Reporters print the parts of collections one by one."""
    yield repr(value)
    yield pretty_repr(value, max_string=10, max_length=5)
    if depth > 4 or isinstance(value, str | bytes):
        return
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, Sequence | set | frozenset):
        for part in value:
            yield from rendered(part, depth + 1)


def frames_of(error: BaseException | None, seen: set[int]) -> Iterator[FrameType]:
    """All frames outside of the tests, of an exception, its causes, its contexts and its groups."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    trace = error.__traceback__
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(HERE):
            yield trace.tb_frame
        trace = trace.tb_next
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        yield from frames_of(other, seen)


def shown_by(error: BaseException) -> list[str]:
    """The local variables with a secret."""
    return [
        f"{Path(frame.f_code.co_filename).name} {frame.f_code.co_qualname}: {name}"
        for frame in frames_of(error, set())
        for name, value in frame.f_locals.items()
        if any(secret in form for form in rendered(value) for secret in SECRETS)
    ]


def messages_of(error: BaseException) -> str:
    """The messages and notes of an exception and its causes."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    return " ".join(f"{each!r} {each} {getattr(each, '__notes__', [])}" for each in chain)


# Servers and what goes wrong there.


def calls(url: str, transport: str, **options: Any) -> trunkline.Client:
    """A client with its key in each argument that may hold one."""
    return trunkline.Client(
        **{
            "base_url": f"{url}?api-key={KEY}",
            "api_key": KEY,
            "headers": {"x-team-key": KEY},
            "transport": transport,
            "policy": ONCE,
            **options,
        }
    )


async def say(client: trunkline.Client) -> None:
    """A turn with the words in each part of the request."""
    chat = client.conversation(model="echo", instructions=WORDS, items=[user(WORDS)], user=WORDS)
    await ask(chat, WORDS, metadata={"of": WORDS})


@asynccontextmanager
async def answering(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]],
) -> AsyncIterator[str]:
    """A server that does this with each connection."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def hang_up_after_the_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(2**16)


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(2**16)
    writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()


async def speak_no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(2**16)
    writer.write(b"SMTP ready\r\n\r\n")
    await writer.drain()


SERVERS = {"hangs up": hang_up, "cuts": hang_up_after_the_head, "refuses": refuse, "no HTTP": speak_no_http}
TRANSPORTS = ("websocket", "http", "auto")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("serve", SERVERS.values(), ids=SERVERS)
async def test_a_failed_connection_shows_no_secret(serve: Any, scheme: str, transport: str) -> None:
    async with answering(serve) as url:
        url = url.replace("http:", f"{scheme}:")
        async with calls(url, transport, deadlines=BRIEF) as client:
            with pytest.raises(trunkline.TurnError) as failure:
                await say(client)
    assert shown_by(failure.value) == []
    assert KEY not in messages_of(failure.value)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_refused_port_shows_no_secret(transport: str) -> None:
    async with answering(hang_up) as url:
        pass
    async with calls(url, transport, deadlines=BRIEF) as client:
        with pytest.raises(trunkline.ConnectFailed) as failure:
            await say(client)
        assert shown_by(failure.value) == []
        with pytest.raises(trunkline.TurnError) as cold:
            await client.warm(model="echo")
        assert shown_by(cold.value) == []


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scheme", ["http", "socks5", "socks4"])
@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway"])
async def test_a_proxy_that_refuses_shows_no_secret(scheme: str, status: str, transport: str) -> None:
    proxy = Proxy()
    proxy.status, proxy.socks_reply = status, 5
    await proxy.start()
    through = f"{scheme}://caller:{PASSWORD}@127.0.0.1:{proxy.port}"
    try:
        async with calls("http://service.test/v1", transport, proxy=through, deadlines=BRIEF) as client:
            with pytest.raises(trunkline.TurnError) as failure:
                await say(client)
    finally:
        await proxy.stop()
    assert shown_by(failure.value) == []
    assert not any(secret in messages_of(failure.value) for secret in SECRETS)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_proxy_variable_that_is_wrong_shows_no_secret(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"ftp://caller:{PASSWORD}@127.0.0.1:1")
    async with calls("http://service.test/v1", transport) as client:
        with pytest.raises(trunkline.ConnectFailed) as failure:
            await say(client)
    assert shown_by(failure.value) == []
    assert PASSWORD not in messages_of(failure.value)


async def drop(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("drop", event_type="response.output_text.delta")
    await say(client)


async def reset(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("reset", event_type="response.output_text.delta")
    await say(client)


async def reject(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("reject", status=400, code="invalid_prompt")
    await say(client)


async def fail(emulator: Emulator, client: trunkline.Client) -> None:
    await ask(client.conversation(model="fail-server_error"), WORDS)


async def corrupt(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("corrupt", event_type="response.output_text.delta")
    await say(client)


async def stall(emulator: Emulator, client: trunkline.Client) -> None:
    emulator.faults.add("stall", event=1)
    stream = client.stream(model="echo", input=WORDS, deadlines=Deadlines(first_event=0.1))
    async with stream:
        await stream.finish()


async def leave_unread(emulator: Emulator, client: trunkline.Client) -> None:
    await say(client)


async def close_before(emulator: Emulator, client: trunkline.Client) -> None:
    chat = client.conversation(model="echo", instructions=WORDS)
    await client.close()
    await ask(chat, WORDS)


async def call_tools_for_ever(emulator: Emulator, client: trunkline.Client) -> None:
    def look_up(words: str = WORDS) -> str:
        """Look something up."""
        return words

    chat = client.conversation(model="tools", instructions=WORDS, tools=[look_up])
    await chat.run(f"look up {WORDS}", max_turns=1)


async def leave_calls_open(emulator: Emulator, client: trunkline.Client) -> None:
    await ask(client.conversation(model="echo"), [user(WORDS), call(arguments=WORDS)])


FAULTS = [drop, reset, reject, fail, corrupt, stall, leave_unread, close_before, leave_calls_open]


@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("fault", [*FAULTS, call_tools_for_ever])
async def test_a_failed_turn_shows_no_secret(emulator: Emulator, transport: str, fault: Any) -> None:
    emulator.api_key = KEY
    buffer = 1 if fault is leave_unread else 100_000  # the first output is more than one event
    async with calls(emulator.base_url, transport, max_buffered_events=buffer) as client:
        with pytest.raises(trunkline.TrunklineError) as failure:
            await fault(emulator, client)
    assert shown_by(failure.value) == []
    assert KEY not in messages_of(failure.value)


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_an_event_with_impossible_fields_shows_no_secret(transport: str) -> None:
    strange = {"type": "response.output_text.delta", "delta": {WORDS: KEY}}
    async with talking(transport, [created(), strange]) as (client, _):
        with pytest.raises(trunkline.TurnError) as failure:
            await ask(client.conversation(model="echo"), WORDS)
    assert shown_by(failure.value) == []


async def test_a_refused_steer_shows_no_secret(emulator: Emulator) -> None:
    async with client_of(emulator, api_key=None if emulator.api_key is None else emulator.api_key) as client:
        stream = client.stream(model="echo", input="hello")
        with pytest.raises(trunkline.UsageError) as failure:
            await stream.steer(WORDS)
        assert shown_by(failure.value) == []
        async with stream:
            with pytest.raises(trunkline.ConfigurationError) as wrong:
                await stream.steer([{"role": "assistant", "content": WORDS}])
            assert shown_by(wrong.value) == []
            await stream.finish()
            with pytest.raises(trunkline.UsageError) as late:
                await stream.steer(WORDS)
            assert shown_by(late.value) == []


async def test_a_steer_on_a_lost_connection_shows_no_secret(emulator: Emulator) -> None:
    emulator.faults.add("drop", event_type="response.steer.created")
    emulator.faults.hold(event=6)
    client = client_of(emulator, policy=ONCE)
    async with client, client.stream(model="echo", input="hello there again") as stream:
        await anext(stream)
        steering = asyncio.create_task(stream.steer(WORDS))
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(trunkline.TrunklineError) as failure:
            await steering
    assert shown_by(failure.value) == []


@dataclass
class Reply:
    number: int


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_an_output_that_does_not_fit_its_type_shows_no_secret(transport: str) -> None:
    async with talking(transport, answer(WORDS)) as (client, _):
        stream = await ask(client.conversation(model="m"), "hello", text_format=Reply)
        for _ in range(2):
            with pytest.raises(ValueError, match="does not fit") as failure:
                stream.response.parsed  # noqa: B018
            assert shown_by(failure.value) == []


# Arguments that are refused.

WRONG: dict[str, Callable[[Any], object]] = {
    "a key with a line break": lambda client: trunkline.Client(api_key=f"{KEY}\n"),
    "a key beside a wrong argument": lambda client: trunkline.Client(api_key=KEY, lanes="yes"),  # type: ignore[arg-type]
    "a header with a line break": lambda client: trunkline.Client(api_key="k", headers={"x": f"{KEY}\n"}),
    "a proxy of an unknown scheme": lambda client: trunkline.Client(
        api_key=KEY, proxy=f"ftp://me:{PASSWORD}@proxy.test"
    ),
    "a URL with a wrong port": lambda client: trunkline.Client(
        api_key=KEY, base_url=f"https://me:{PASSWORD}@service.test:port/v1"
    ),
    "a field that is not JSON": lambda client: client.conversation(
        model="m", instructions=WORDS, metadata={"of": object()}
    ),
    "an item without a type": lambda client: client.conversation(model="m", items=[{"content": WORDS}]),
    "an input that is not JSON": lambda client: client.conversation(model="m").send(
        [{"role": "user", "content": [WORDS, {"of": object()}]}]
    ),
    "a run with a wrong limit": lambda client: client.conversation(model="m").run(WORDS, max_turns=0),
    "a tool that is not one": lambda client: client.conversation(model="m", tools=[WORDS]),
    "a tool with a bound key": lambda client: client.conversation(
        model="m", tools=[functools.partial(int, KEY)]
    ),
    "an input of a stream": lambda client: client.stream(model="m", input=[WORDS], instructions=WORDS),
    "a wrong field of a stream": lambda client: client.stream(model="m", input=WORDS, deadlines=WORDS),
    "an open call": lambda client: client.stream(model="m", input=[user(WORDS), call(arguments=WORDS)]),
    "text that was heard of nothing": lambda client: client.conversation(model="m").heard(WORDS),
    "text heard of a keyed stream": lambda client: client.stream(model="m", input=WORDS).heard(WORDS),
    "a history with a wrong item": lambda client: client.conversation(model="m").replace([{"text": WORDS}]),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_a_refused_argument_shows_no_secret(emulator: Emulator, wrong: Any) -> None:
    async with client_of(emulator) as client:
        with pytest.raises(trunkline.TrunklineError) as failure:
            wrong(client)
    assert shown_by(failure.value) == []
    assert not any(secret in messages_of(failure.value) for secret in SECRETS)


# Functions of the application.


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_failing_key_function_shows_its_own_frames_only(transport: str) -> None:
    async def key_of_the_vault() -> str:
        raise LookupError("the vault is closed")

    async with calls("http://127.0.0.1:9/v1", transport, api_key=key_of_the_vault) as client:
        for _ in range(2):
            with pytest.raises(
                trunkline.ConnectFailed, match="api_key function raised LookupError"
            ) as failure:
                await say(client)
            assert shown_by(failure.value) == []
            cause = failure.value.__cause__
            assert isinstance(cause, LookupError)
            assert cause.__traceback__ is not None
            assert cause.__traceback__.tb_frame.f_code.co_name == "key_of_the_vault"


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_a_key_function_that_returns_no_key_is_told_so(transport: str) -> None:
    async with calls("http://127.0.0.1:9/v1", transport, api_key=lambda: f"{KEY}\n") as client:
        with pytest.raises(trunkline.ConnectFailed, match="a key that cannot be sent") as failure:
            await say(client)
    assert shown_by(failure.value) == []
    assert KEY not in messages_of(failure.value)


def breaks(words: str) -> str:
    """Look something up."""
    raise LookupError


async def breaks_later(words: str) -> str:
    """Look something up."""
    await asyncio.sleep(0)
    raise LookupError


async def hangs(words: str) -> str:
    """Look something up."""
    await asyncio.Event().wait()
    return ""


def gives_no_json(words: str) -> object:
    """Look something up."""
    return {"words": words, "other": object()}


class Strict:
    """A value with a constructor that raises."""

    def __post_init__(self) -> None:
        raise LookupError


@dataclass
class Picky(Strict):
    words: str


def takes_the_picky(words: Picky) -> str:
    """Look something up."""
    return ""


TOOLS = {"words": (breaks, breaks_later, hangs, gives_no_json), "object": (takes_the_picky,)}


@pytest.mark.parametrize(
    ("tool", "words"),
    [(tool, {"words": WORDS} if kind == "object" else WORDS) for kind in TOOLS for tool in TOOLS[kind]],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_the_record_of_a_failed_tool_shows_its_own_frames_only(
    tool: Any, words: object, caplog: pytest.LogCaptureFixture
) -> None:
    made = trunkline.FunctionTool.of(tool)
    caplog.set_level(logging.INFO, "trunkline.tools")
    result = await made.call(json.dumps({"words": words}), timeout_s=0.05 if tool is hangs else 30.0)
    (record,) = caplog.records
    assert "error" in json.loads(result)
    assert record.exc_info is not None
    error = record.exc_info[1]
    assert error is not None
    assert shown_by(error) == []
    names = {frame.f_code.co_name for frame in frames_of_tests(error)}
    if tool is not gives_no_json:
        assert names & {tool.__name__, "__post_init__"}


def frames_of_tests(error: BaseException) -> Iterator[FrameType]:
    """The frames of this file in the chain of an exception."""
    chain: list[BaseException | None] = [error]
    while chain:
        each = chain.pop()
        trace = each.__traceback__ if each is not None else None
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == __file__:
                yield trace.tb_frame
            trace = trace.tb_next
        if each is not None:
            chain += [each.__cause__] if each.__cause__ is not None else [each.__context__]


# The functions themselves.


def raised(raising: Callable[[], object]) -> Exception:
    try:
        raising()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_note_takes_the_place_of_the_frames_of_this_package() -> None:
    error = raised(lambda: trunkline.Client(api_key="k", proxy=1).close())  # type: ignore[arg-type]
    assert error.__traceback__ is not None
    assert error.__traceback__.tb_next is not None

    @discreet
    def call_of_the_package() -> None:
        ssl.create_default_context().load_verify_locations("/nowhere")

    own = raised(call_of_the_package)  # not a TrunklineError: unchanged
    assert own.__traceback__ is not None
    own.__traceback__ = own.__traceback__.tb_next
    group = ExceptionGroup("both", [raised(lambda: int("x"))])
    own.__cause__ = group
    group.__context__ = own
    assert without_frames(own) is own
    assert own.__traceback__ is None
    assert [note for note in own.__notes__ if note.startswith("raised in tests.test_tracebacks, ")]
    assert group.exceptions[0].__traceback__ is None
    without_frames(own)
    assert len(own.__notes__) == 1


def test_a_traceback_that_begins_in_the_application_stays() -> None:
    error = raised(lambda: int("x"))
    trace = error.__traceback__
    assert without_frames(error).__traceback__ is trace
    assert of_application(error).__traceback__ is trace


def test_a_frame_without_a_module_is_none_of_this_package() -> None:
    error = raised(lambda: exec("1 / 0", {"__name__": None}))
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next
    assert without_frames(error).__traceback__ is not None
