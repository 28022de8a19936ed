"""The same turns over HTTP: events, figures, exceptions, and the connections underneath."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import trunkline
from trunkline import ConnectFailed, ConnectionLost, Policy, ProtocolViolation, ResponseRefused
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from ..talk import ask, assert_kept, client_of, first_text, hold_after_first_word, record_of, types_of
from ..waiting import soon, until

ONCE = Policy(max_attempts=1)


@pytest.fixture
async def http(emulator: Emulator) -> AsyncIterator[trunkline.Client]:
    """A client that goes over HTTP only."""
    async with client_of(emulator, transport="http") as client:
        yield client


# A server that answers with exactly these bytes.


class Exchange:
    """One connection to it: the requests it brought, as head and body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> tuple[str, Any]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        lengths = (
            int(line.split(":")[1])
            for line in head.split("\r\n")
            if line.lower().startswith("content-length")
        )
        length = next(lengths, 0)
        return head, json.loads(await self.reader.readexactly(length)) if length else None

    def answer(
        self,
        body: bytes,
        *,
        status: str = "200 OK",
        headers: str = "",
        whole: bool = True,
        kind: str | None = "text/event-stream",
    ) -> None:
        if not status.startswith("200"):
            kind = "text/html"
        type_line = f"Content-Type: {kind}\r\n" if kind is not None else ""
        head = f"HTTP/1.1 {status}\r\n{type_line}Transfer-Encoding: chunked\r\n{headers}\r\n"
        self.writer.write(head.encode())
        self.chunk(body)
        if whole:
            self.writer.write(b"0\r\n\r\n")

    def chunk(self, body: bytes) -> None:
        self.writer.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")


class Answers:
    """The server: each connection is handled by the test's own function."""

    def __init__(self) -> None:
        self.connections = 0
        self.heads: list[str] = []
        self.bodies: list[Any] = []
        self.base_url = ""

    async def take(self, exchange: Exchange) -> None:
        head, body = await exchange.request()
        self.heads.append(head)
        self.bodies.append(body)


Script = Callable[[Answers, Exchange], Any]


@asynccontextmanager
async def answering(script: Script) -> AsyncIterator[Answers]:
    answers = Answers()
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers.connections += 1
        writers.append(writer)
        exchange = Exchange(reader, writer)
        try:
            while True:
                await answers.take(exchange)
                await script(answers, exchange)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    answers.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield answers
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


def response(number: int, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"id": f"resp_{number}", "status": status, "model": "m", "output": [], "store": False, **more}


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


def answer_of(number: int, text: str = "Hello.") -> bytes:
    delta = {"type": "response.output_text.delta", "delta": text, "item_id": "i", "output_index": 0}
    done = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
    return sse(
        {"type": "response.created", "response": response(number, "in_progress")},
        delta | {"content_index": 0},
        {"type": "response.completed", "response": response(number, output=[done])},
    )


def client_to(answers: Answers, **options: Any) -> trunkline.Client:
    return trunkline.Client(base_url=answers.base_url, api_key="sk-x", transport="http", **options)


async def read(stream: trunkline.ResponseStream, heard: asyncio.Event) -> None:
    """Read to the end, and tell that something was heard."""
    async with stream:
        async for _ in stream:
            heard.set()


# The same turns.


@pytest.mark.parametrize("model", ["echo", "reason", "messages-2", "mixed"])
async def test_events_are_those_of_the_socket(
    emulator: Emulator, client: trunkline.Client, http: trunkline.Client, model: str
) -> None:
    seen = []
    for each in (client, http):
        async with each.conversation(model=model).send("hello there") as stream:
            seen.append(await types_of(stream))
        assert record_of(emulator, stream).output == stream.response.output
    assert seen[0] == seen[1]


async def test_figures_are_told_as_over_the_socket(http: trunkline.Client) -> None:
    chat = http.conversation(model="echo")
    metrics = (await ask(chat, "hello")).metrics
    assert (metrics.transport, metrics.lane, metrics.connection) == ("http", None, None)
    assert (metrics.outcome, metrics.attempts, metrics.mode) == ("answered", 1, "full")
    assert metrics.bytes_received > metrics.bytes_sent > 0
    assert metrics.first_event_s is not None
    assert metrics.ttft_s is not None
    assert metrics.total_s is not None
    assert metrics.first_event_s <= metrics.ttft_s <= metrics.total_s
    assert metrics.usage is not None


async def test_turns_are_chained_by_their_stored_ids(emulator: Emulator, http: trunkline.Client) -> None:
    chat = http.conversation(model="echo")
    first = await ask(chat, "one")
    second = await ask(chat, "two")
    assert (second.metrics.mode, second.metrics.items_sent) == ("delta", 1)
    assert record_of(emulator, second).previous_response_id == first.response.id
    assert_kept(emulator, chat, second.response)


async def test_without_the_store_everything_is_sent_each_time(
    emulator: Emulator, http: trunkline.Client
) -> None:
    chat = http.conversation(model="reason", store=False)
    for words in ("one", "two", "three"):
        stream = await ask(chat, words)
        assert stream.metrics.mode == "full"
        assert record_of(emulator, stream).previous_response_id is None
        assert_kept(emulator, chat, stream.response)


async def test_tools_run_over_http(emulator: Emulator, http: trunkline.Client) -> None:
    def get_weather(city: str) -> str:
        return f"{city} is sunny"

    chat = http.conversation(model="tools", tools=[get_weather])
    answer = await chat.run("the weather in Oslo?")
    assert "Oslo is sunny" in answer.output_text
    assert_kept(emulator, chat, answer)


async def test_a_chain_goes_on_from_the_socket_over_http_and_back(emulator: Emulator) -> None:
    async with client_of(emulator) as first, client_of(emulator, transport="http") as second:
        chat = first.conversation(model="echo")
        await ask(chat, "one")
        moved = second.conversation(model="echo", items=chat.items)
        stream = await ask(moved, "two")
        assert_kept(emulator, moved, stream.response)


async def test_many_turns_run_at_once_each_on_a_connection_of_its_own(
    emulator: Emulator, http: trunkline.Client
) -> None:
    emulator.pace = Pace(0.05, None)
    chats = [http.conversation(model="echo") for _ in range(20)]
    streams = await asyncio.gather(*(ask(chat, f"I am {n}") for n, chat in enumerate(chats)))
    assert [stream.response.output_text for stream in streams] == [f"I am {n}" for n in range(20)]


# The request.


async def test_a_request_is_a_stream_asked_for_with_the_fields_given() -> None:
    async def script(answers: Answers, exchange: Exchange) -> None:
        exchange.answer(answer_of(1))

    async with answering(script) as answers, client_to(answers, organization="org", project="p") as client:
        chat = client.conversation(model="m", instructions="Be brief.", metadata={"a": "b"})
        await ask(chat, "hello")
    (body,) = answers.bodies
    assert body["stream"] is True
    assert {"type", "stream_id", "generate"}.isdisjoint(body)
    assert (body["model"], body["instructions"], body["metadata"]) == ("m", "Be brief.", {"a": "b"})
    head = answers.heads[0].lower()
    assert head.startswith("post /v1/responses http/1.1")
    for line in ("authorization: bearer sk-x", "openai-organization: org", "openai-project: p"):
        assert line in head


async def test_turns_one_after_the_other_use_one_connection() -> None:
    async def script(answers: Answers, exchange: Exchange) -> None:
        exchange.answer(answer_of(len(answers.bodies)))

    async with answering(script) as answers, client_to(answers) as client:
        chat = client.conversation(model="m")
        for _ in range(4):
            await ask(chat, "hello")
    assert (len(answers.bodies), answers.connections) == (4, 1)


# Warm connections.


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
async def test_warming_opens_the_connections_that_turns_use(status: str) -> None:
    async def script(answers: Answers, exchange: Exchange) -> None:
        if answers.heads[-1].startswith("GET"):
            exchange.answer(b"{}", status=status, kind="application/json")
        else:
            exchange.answer(answer_of(1))

    async with answering(script) as answers, client_to(answers) as client:
        await client.warm(model="echo", connections=2)
        assert [head.splitlines()[0] for head in answers.heads] == ["GET /v1/models HTTP/1.1"] * 2
        await asyncio.gather(*(ask(client.conversation(model="echo"), "hello") for _ in range(2)))
        assert answers.connections == 2


async def test_warming_fails_as_a_turn_would(emulator: Emulator) -> None:
    async def silent(answers: Answers, exchange: Exchange) -> None:
        await exchange.reader.read()

    async def cut(answers: Answers, exchange: Exchange) -> None:
        exchange.writer.transport.abort()

    limited = trunkline.Deadlines(connect=0.05)
    async with answering(silent) as answers, client_to(answers, deadlines=limited) as client:
        with pytest.raises(trunkline.DeadlineExceeded):
            await soon(client.warm(model="echo"))
    async with answering(cut) as answers, client_to(answers) as client:
        with pytest.raises(ConnectionLost):
            await soon(client.warm(model="echo"))
    await emulator.stop()
    async with client_of(emulator, transport="http") as client:
        with pytest.raises(ConnectFailed):
            await soon(client.warm(model="echo"))


async def test_a_stream_may_end_a_little_later_than_its_answer() -> None:
    answered = asyncio.Event()

    async def script(answers: Answers, exchange: Exchange) -> None:
        exchange.answer(answer_of(len(answers.bodies)), whole=False)
        await answered.wait()
        exchange.writer.write(b"0\r\n\r\n")

    async with answering(script) as answers, client_to(answers) as client:
        chat = client.conversation(model="m")
        await ask(chat, "hello")
        answered.set()
        await until(lambda: client.state().http == 0, "the stream has ended")
        await ask(chat, "hello")
    assert (len(answers.bodies), answers.connections) == (2, 1)


async def test_a_server_that_keeps_a_finished_stream_open_holds_nobody_up() -> None:
    async def script(answers: Answers, exchange: Exchange) -> None:
        exchange.answer(answer_of(len(answers.bodies)), whole=False)

    async with answering(script) as answers, client_to(answers) as client:
        chat = client.conversation(model="m")
        for _ in range(2):
            await soon(ask(chat, "hello"), within_s=5)


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    async def script(answers: Answers, exchange: Exchange) -> None:
        exchange.answer(
            b"", status="307 Temporary Redirect", headers=f"Location: {answers.base_url}/other\r\n"
        )

    async with answering(script) as answers, client_to(answers) as client:
        with pytest.raises(ResponseRefused) as refusal:
            await ask(client.conversation(model="m"), "hello")
    assert refusal.value.status == 307
    assert len(answers.bodies) == 1


# What fails.


async def test_a_refusal_has_its_facts(emulator: Emulator, http: trunkline.Client) -> None:
    with pytest.raises(ResponseRefused) as refusal:
        await ask(http.conversation(model="echo", temperature=7), "hello")
    error = refusal.value
    assert (error.status, error.param, error.error_type) == (400, "temperature", "invalid_request_error")
    assert (error.sent, error.started, error.output_seen) == (True, False, False)
    assert error.request_id is not None


async def test_retry_after_is_read_from_the_headers(emulator: Emulator) -> None:
    emulator.faults.add("reject", status=429, code="rate_limit_exceeded", headers={"retry-after": "7"})
    async with client_of(emulator, transport="http", policy=ONCE) as client:
        with pytest.raises(ResponseRefused) as refusal:
            await ask(client.conversation(model="echo"), "hello")
    assert (refusal.value.status, refusal.value.retry_after_s) == (429, 7.0)


@pytest.mark.parametrize(
    "body", [b"<html>Bad gateway</html>", b"[1]", b"", b'{"error": "down"}', b"x" * 300_000]
)
async def test_an_error_page_is_a_refusal_with_its_status(body: bytes) -> None:
    async def script(answers: Answers, exchange: Exchange) -> None:
        exchange.answer(body or b" ", status="502 Bad Gateway")

    async with answering(script) as answers, client_to(answers, policy=ONCE) as client:
        with pytest.raises(ResponseRefused) as refusal:
            await ask(client.conversation(model="m"), "hello")
    assert refusal.value.status == 502
    assert len(str(refusal.value)) < 500


async def test_nobody_there_is_a_failed_connection(emulator: Emulator) -> None:
    policy = Policy(max_attempts=1, waits=False)
    async with client_of(emulator, transport="http", policy=policy) as client:
        await emulator.stop()
        with pytest.raises(ConnectFailed) as failure:
            await ask(client.conversation(model="echo"), "hello")
    assert failure.value.sent is False


@pytest.mark.parametrize("is_read", [True, False])
async def test_a_stream_that_ends_too_early_is_a_lost_connection(is_read: bool) -> None:
    heard = asyncio.Event()

    async def script(answers: Answers, exchange: Exchange) -> None:
        events = answer_of(1).split(b"\n\n")
        exchange.answer(b"\n\n".join([*events[:2], b""]), whole=False)
        if is_read:
            await heard.wait()
        exchange.writer.write(b"0\r\n\r\n")

    async with answering(script) as answers, client_to(answers, policy=ONCE) as client:
        stream = client.conversation(model="m").send("hello")
        with pytest.raises(ConnectionLost) as loss:
            await read(stream, heard)
    assert (loss.value.sent, loss.value.started, loss.value.output_seen) == (True, True, is_read)


async def test_what_is_no_json_is_a_violation_that_was_sent() -> None:
    async def script(answers: Answers, exchange: Exchange) -> None:
        exchange.answer(b"data: {nonsense\n\n")

    async with answering(script) as answers, client_to(answers, policy=ONCE) as client:
        with pytest.raises(ProtocolViolation) as violation:
            await ask(client.conversation(model="m"), "hello")
    assert violation.value.sent is True


async def test_comments_pings_and_done_are_no_events() -> None:
    async def script(answers: Answers, exchange: Exchange) -> None:
        exchange.answer(b": ping\n\ndata: [DONE]\n\n" + answer_of(1) + b"data: [DONE]\n\n")

    async with answering(script) as answers, client_to(answers) as client:
        stream = await ask(client.conversation(model="m"), "hello")
    assert stream.response.output_text == "Hello."


async def test_large_events_pass(emulator: Emulator, http: trunkline.Client) -> None:
    emulator.faults.add("oversize", event_type="response.output_text.delta", size_bytes=5_000_000)
    assert (await ask(http.conversation(model="echo"), "hello")).response.output_text == "hello"


async def test_a_request_that_acts_is_not_sent_again_when_its_answer_cannot_be_read(
    emulator: Emulator,
) -> None:
    emulator.faults.add("corrupt", event=1)
    acting: Any = [{"type": "mcp", "server_label": "s", "server_url": "https://mcp.example"}]
    async with client_of(emulator, transport="http") as client:
        with pytest.raises(ProtocolViolation):
            await ask(client.conversation(model="echo", tools=acting), "hello")
    assert len(emulator.responses) == 1


WHOLE = {"id": "resp_1", "object": "response", "status": "completed", "model": "m"}
TEXT = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]}


@pytest.mark.parametrize("kind", [None, "", "application/json", "text/plain; charset=utf-8"])
async def test_events_are_read_whatever_their_content_type(kind: str | None) -> None:
    async def script(answers: Answers, exchange: Exchange) -> None:
        exchange.answer(answer_of(1), kind=kind)

    async with answering(script) as answers, client_to(answers) as client:
        assert (await ask(client.conversation(model="m"), "hello")).response.output_text == "Hello."
    assert len(answers.bodies) == 1


async def test_an_answer_may_end_without_a_blank_line() -> None:
    async def script(answers: Answers, exchange: Exchange) -> None:
        exchange.answer(answer_of(1).rstrip())

    async with answering(script) as answers, client_to(answers) as client:
        assert (await ask(client.conversation(model="m"), "hello")).response.output_text == "Hello."
    assert len(answers.bodies) == 1


async def test_a_whole_response_instead_of_events_is_an_answer() -> None:
    async def script(answers: Answers, exchange: Exchange) -> None:
        exchange.answer(json.dumps({**WHOLE, "output": [TEXT]}).encode(), kind="application/json")

    async with answering(script) as answers, client_to(answers) as client:
        chat = client.conversation(model="m")
        assert (await ask(chat, "hello")).response.output_text == "Hello."
    assert len(answers.bodies) == 1
    assert chat.items[-1]["role"] == "assistant"


@pytest.mark.parametrize(
    ("body", "words", "code"),
    [
        (b'{"error": {"message": "no credit", "code": "c"}}', "no credit", "c"),
        (b'data: {"error": {"message": "no credit", "code": "c"}}\n\n', "no credit", "c"),
        (b'event: error\ndata: {"message": "no credit", "code": "c"}\n\n', "no credit", "c"),
        (b"event: error\ndata: no credit\n\n", "no credit", None),
        (b"<html><title>Sign in</title></html>", "Sign in", None),
        (b"upstream died", "upstream died", None),
    ],
)
async def test_an_error_with_status_200_is_a_refusal_after_one_request(
    body: bytes, words: str, code: str | None
) -> None:
    async def script(answers: Answers, exchange: Exchange) -> None:
        exchange.answer(body)

    async with answering(script) as answers, client_to(answers) as client:
        with pytest.raises(ResponseRefused, match=words) as refusal:
            await ask(client.conversation(model="m"), "hello")
    assert (refusal.value.code, refusal.value.sent, refusal.value.started) == (code, True, False)
    assert len(answers.bodies) == 1


# The HTTP client is imported when it is needed.

IMPORTS = """
import asyncio, errno, os, sys, threading
import trunkline

threads, failures = [], [OSError(errno.EMFILE, os.strerror(errno.EMFILE))]

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("httpx2", "httpcore2", "h11", "anyio"):
            threads.append(threading.current_thread().name)
            if failures:
                raise failures.pop()

sys.meta_path.insert(0, Finder())

async def main():
    client = trunkline.Client(base_url=sys.argv[1], api_key=sys.argv[2], transport="http",
                              policy=trunkline.Policy(max_attempts=1))
    async with client:
        chat = client.conversation(model="echo")
        try:
            await chat.run("hello")
        except trunkline.ConnectFailed as error:
            print(error, error.sent)
        print((await chat.run("hello")).output_text, set(threads))

asyncio.run(main())
"""


async def test_the_http_client_is_imported_in_a_thread_and_a_failure_of_that_reaches_its_turn(
    emulator: Emulator,
) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", IMPORTS, emulator.base_url, str(emulator.api_key), stdout=subprocess.PIPE
    )
    output, _ = await soon(child.communicate(), within_s=30)
    failure, answer = output.decode().splitlines()
    assert failure == "the HTTP client cannot be prepared: Too many open files False"
    assert answer == "hello {'trunkline http'}"


# Leaving.


async def test_leaving_closes_the_connection_and_the_service_stops(
    emulator: Emulator, http: trunkline.Client
) -> None:
    emulator.pace = Pace(0.0, 100)
    chat = http.conversation(model="words-1000000")
    async with chat.send("hello") as stream:
        heard = await first_text(stream)
    (record,) = emulator.responses.values()
    await until(lambda: record.status == "cancelled", "the service has stopped")
    assert chat.items[-1]["content"] == heard or heard in str(chat.items[-1]["content"])
    stream = await ask(chat, "and now?", model="echo")
    assert_kept(emulator, chat, stream.response)


async def test_cancelling_the_reader_leaves_nothing(emulator: Emulator, http: trunkline.Client) -> None:
    emulator.faults.add("stall", event=1)
    asking = asyncio.create_task(ask(http.conversation(model="echo"), "hello"))
    await until(lambda: bool(emulator.responses), "the request is there")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    (record,) = emulator.responses.values()
    await until(lambda: record.status == "cancelled", "the service has stopped")


async def test_closing_the_client_ends_what_runs_with_a_typed_error(emulator: Emulator) -> None:
    emulator.faults.add("stall", event=9)
    client = client_of(emulator, transport="http")
    asking = asyncio.create_task(ask(client.conversation(model="words-40"), "hello"))
    await until(lambda: bool(emulator.faults.fired), "it is in the middle of an answer")
    await soon(client.close(within_s=60))
    with pytest.raises(trunkline.TrunklineError):
        await soon(asking)


async def test_a_closed_client_asks_nothing(emulator: Emulator) -> None:
    client = client_of(emulator, transport="http")
    chat = client.conversation(model="echo")
    await client.close()
    with pytest.raises(trunkline.ClientClosed):
        await ask(chat, "hello")
    assert chat.items == []
    assert not emulator.requests


async def test_a_running_answer_cannot_be_steered_over_http(
    emulator: Emulator, http: trunkline.Client
) -> None:
    emulator.faults.add("stall", event=6)
    async with http.conversation(model="words-40").send("hello") as stream:
        await first_text(stream)
        with pytest.raises(trunkline.UsageError, match="WebSocket"):
            await stream.steer("faster")


async def test_a_reader_that_is_too_slow_loses_its_stream(emulator: Emulator) -> None:
    async with client_of(emulator, transport="http", max_buffered_events=10) as client:
        gate = hold_after_first_word(emulator)
        async with client.conversation(model="words-100").send("hello") as stream:
            await first_text(stream)
            gate.open()
            await until(lambda: client.state().http == 0, "its buffer is full")
            with pytest.raises(trunkline.SlowConsumer):
                await stream.finish()
        assert (await ask(client.conversation(model="echo"), "hello")).response.output_text == "hello"
