"""Requests for responses over HTTP: admitted, answered over warm sockets, and written as events.

A stream gets a harmless event after `BEAT_S` without one: balancers and clients end silent connections, and
clients' watchdogs count events, not comments.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from .._face.call import Call, Header, Timeouts
from .._face.outcome import Answer, Break, Broken, Elsewhere
from .._face.outcome import Chunks as Body
from .._face.sse import KEEP_ALIVE
from .._network.gateways import KEY_HEADER
from .._network.world import Timer, World
from .._protocol.json import encode
from ..errors import SlowConsumer
from .admission import check_model
from .asgi import Disconnected, Receive, Send, send_whole, start_of
from .body import Bodies
from .caller import Caller
from .life import Life
from .refusal import Refused
from .screening import check_ids, check_strictly, members_of, value_of, without_store
from .upward import chunks_of, headers_down, upward_headers

BEAT_S: Final = 15.0
"""The silence after which a stream gets a harmless event."""
BEAT: Final = b'event: keepalive\ndata: {"type":"keepalive"}\n\n'
UNBUFFERED: Final[Header] = ("x-accel-buffering", "no")
"""For nginx: pass each event on at once."""
_EVENTS: Final = "text/event-stream"
_ENDS_OF_EVENTS: Final = (b"\n\n", b"\r\n\r\n")
_READ_S: Final = 600.0
"""The silence of an answer. Callers with a shorter limit of their own leave earlier."""
_STATUS: Final = {
    Break.CONNECT: 503,
    Break.CONNECT_TIMEOUT: 503,
    Break.READ_TIMEOUT: 504,
    Break.PROTOCOL: 502,
}


class Responses:
    """The resource ``/responses``.

    Args:
        bodies: the memory for bodies.
        life: the stage of the process.
        world: the clock and its timers.
    """

    def __init__(self, bodies: Bodies, life: Life, world: World) -> None:
        self._bodies = bodies
        self._life = life
        self._world = world

    async def create(
        self, caller: Caller, headers: Sequence[Header], query: str, receive: Receive, send: Send
    ) -> None:
        """Answer one request for a response.

        Raises:
            Refused: it is not passed on.
            Disconnected: the caller has gone.
        """
        coding = dict(headers).get("content-encoding", "")
        with self._bodies.hold(caller.name) as hold:
            body = await self._bodies.read(receive, coding, hold)
            with taken(caller, self._world):
                self._life.begin()
                try:
                    members = members_of(body)
                    call = admitted(caller, headers, query, body, members)
                    is_stream = is_streamed(members)
                    work = asyncio.ensure_future(self._answer(caller, call, send, is_stream=is_stream))
                    await _unless_gone(work, receive)
                finally:
                    self._life.end()

    async def _answer(self, caller: Caller, call: Call, send: Send, *, is_stream: bool) -> None:
        begun = is_stream and caller.door.acts(call)
        if begun:
            # A balancer repeats a request without an answer. One that may act must not run twice.
            await send(start_of(200, (("content-type", f"{_EVENTS}; charset=utf-8"), UNBUFFERED)))
        try:
            outcome = await caller.door.take(call)
            if isinstance(outcome, Elsewhere):
                outcome = await forwarded(caller, call, outcome.body)
        except Broken as broken:
            outcome = answer_to(broken)
        if begun:
            await self._continue(outcome, send)
        elif isinstance(outcome.body, bytes):
            await send_whole(send, outcome, closes=not self._life.takes_work)
        else:
            await self._stream(outcome, send)

    async def _continue(self, answer: Answer, send: Send) -> None:
        """Send an answer whose head was sent before it was known."""
        if isinstance(answer.body, bytes) and answer.status < 400:
            await send({"type": "http.response.body", "body": answer.body})
            return
        if answer.status >= 400:
            document = answer.body if isinstance(answer.body, bytes) else await _whole(answer.body)
            event = error_event(answer, document)
            frame = b"event: error\ndata: %b\n\n" % encode(event)
            await send({"type": "http.response.body", "body": frame})
            return
        await self._stream(answer, send, has_begun=True)

    async def _stream(self, answer: Answer, send: Send, *, has_begun: bool = False) -> None:
        assert not isinstance(answer.body, bytes)
        is_stream = dict(answer.headers).get("content-type", "").startswith(_EVENTS)
        headers = [*answer.headers, UNBUFFERED] if is_stream else list(answer.headers)
        if not has_begun:
            await send(start_of(answer.status, headers))
        beat = Beat(send, self._world) if is_stream else None
        try:
            try:
                async with aclosing(aiter(answer.body)) as chunks:  # type: ignore[type-var]
                    async for chunk in chunks:
                        if beat is not None:
                            beat.skip(chunk)
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except Broken as broken:
                if beat is None or beat.is_within_event:
                    raise
                await send({"type": "http.response.body", "body": event_of(broken), "more_body": True})
        finally:
            if beat is not None:
                beat.end()
            await answer.body.aclose()
        await send({"type": "http.response.body", "body": b""})


class taken:  # noqa: N801 - a context manager
    """One turn of a caller's allowance.

    Raises:
        Refused: the caller has to wait.
    """

    def __init__(self, caller: Caller, world: World) -> None:
        self._caller = caller
        self._world = world

    def __enter__(self) -> None:
        wait_s = self._caller.allowance.take(self._world.clock())
        if wait_s:
            raise Refused(
                429,
                f"the limit of {self._caller.name or 'this gateway'} is reached; try again in {wait_s:.3g} s",
                code="rate_limit_exceeded",
                retry_after_s=wait_s,
            )

    def __exit__(self, *_: object) -> None:
        self._caller.allowance.give_back()


class Beat:
    """Sends a harmless event when nothing was sent for `BEAT_S`, and a comment before the first event.

    The openai SDK's helper for streams expects ``response.created`` as the first event.

    Attributes:
        is_within_event: the last chunk ended within an event, as those of an upstream over HTTP may: only the
            rest of the event may follow.
    """

    def __init__(self, send: Send, world: World) -> None:
        self.is_within_event: bool = False
        self._sign = KEEP_ALIVE
        self._send = send
        self._world = world
        self._sent_at = world.clock()
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer = world.call_later(BEAT_S, self._look)

    def skip(self, chunk: bytes) -> None:
        """A chunk is sent now."""
        self._sent_at = self._world.clock()
        self.is_within_event = not chunk.endswith(_ENDS_OF_EVENTS)
        if chunk != KEEP_ALIVE:
            self._sign = BEAT

    def end(self) -> None:
        """Send no more."""
        self._timer.cancel()

    def _look(self) -> None:
        silent_s = self._world.clock() - self._sent_at
        if silent_s >= BEAT_S:
            self._sent_at = self._world.clock()
            silent_s = 0.0
            is_read = self._task is None or self._task.done()  # one that is not read is enough
            if is_read and not self.is_within_event:
                self._task = asyncio.ensure_future(self._beat())
        self._timer = self._world.call_later(BEAT_S - silent_s, self._look)

    async def _beat(self) -> None:
        await self._send({"type": "http.response.body", "body": self._sign, "more_body": True})


def admitted(
    caller: Caller,
    headers: Sequence[Header],
    query: str,
    body: bytes,
    members: Mapping[str, Raw],
    *,
    generate: bool = True,
) -> Call:
    """The call upward for a request.

    Args:
        caller: the caller.
        headers: the header fields of the request, with names in lower case.
        query: its query.
        body: its body, decompressed.
        members: the members of the body: a long one is not decoded twice.
        generate: ``False`` for a warm-up.

    Raises:
        Refused: the request is not passed on.
    """
    if caller.tenant is not None:
        check_model(caller.tenant, value_of(members, "model"))
    up = upward_headers(headers, caller.credentials)
    # Each query and each value of these headers has sockets of its own.
    url = caller.url("/responses", "" if caller.is_shared else query)
    caller.check_features(up)
    limit_s = (caller.first_output_s if is_streamed(members) else None) or _READ_S
    keys = [(name, value) for name, value in headers if name == KEY_HEADER]
    call = Call("POST", url, [*up, *keys], body, Timeouts(None, limit_s), generate)
    if caller.is_shared:
        check_ids(body, members, lambda response_id: caller.door.knows(call, response_id))
    if not caller.allows_store:
        call = replace(call, body=without_store(body, members))
    return call


def is_streamed(members: Mapping[str, Raw]) -> bool:
    """Whether a request asks for a stream of events."""
    return bytes(members.get("stream", b"")) == b"true"


def error_event(answer: Answer, document: bytes) -> dict[str, Any]:
    """The ``error`` event for an HTTP answer that is an error.

    Args:
        answer: the answer.
        document: its body.
    """
    try:
        error = msgspec.json.decode(document)["error"]
    except (ValueError, KeyError, TypeError):
        error = {"type": "server_error", "code": None, "message": f"the upstream answered {answer.status}"}
    if isinstance(error, dict):
        named = {name: value for name, value in answer.headers if name in ("retry-after", "x-request-id")}
        if named:
            error = {**error, "headers": named}
    return {"type": "error", "status": answer.status, "error": error}


async def forwarded(caller: Caller, call: Call, body: bytes | None) -> Answer:
    """The answer of the upstream over HTTP.

    Args:
        caller: the caller.
        call: its call.
        body: another body for the call.

    Raises:
        Refused: the body could be read in two ways, or the call cannot be made over HTTP.
        Broken: the upstream failed.
    """
    if not call.generate:
        raise Refused(503, "a warm-up needs a WebSocket upstream, and there is none", retry_after_s=1.0)
    body = call.body if body is None else body
    assert body is not None
    check_strictly(body)
    headers = [(name, value) for name, value in call.headers if name != KEY_HEADER]
    response = await caller.upward.send("POST", call.url, headers, body)
    return Answer(response.status_code, tuple(headers_down(response)), Chunks(chunks_of(response)))


async def _whole(body: Body) -> bytes:
    try:
        return b"".join([chunk async for chunk in body])
    finally:
        await body.aclose()


class Chunks:
    """The body of an answer as it comes."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def aclose(self) -> None:
        """Do without the rest. Idempotent."""
        close: Callable[[], object] | None = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()  # type: ignore[misc]


def answer_to(broken: Broken) -> Answer:
    """The answer for a connection that broke before its answer began."""
    status = _STATUS[broken.how]
    code = "upstream_unavailable" if status == 503 else "upstream_failed"
    return Refused(status, str(broken), code=code).answer()


def reason_of(broken: Broken) -> tuple[str, str]:
    """The code and the message of the error that ends a stream."""
    cause = broken.__cause__
    if isinstance(cause, SlowConsumer):
        return "slow_consumer", (
            f"{cause.buffered_bytes:,} bytes of the answer were not read, and bounds.unread_bytes allows "
            "fewer; read faster, or raise it"
        )
    return "upstream_failed", str(broken)


def event_of(broken: Broken) -> bytes:
    """The event that ends a stream whose connection broke after its head."""
    code, message = reason_of(broken)
    error = {"type": "error", "code": code, "message": message, "param": None}
    return b"event: error\ndata: %b\n\n" % encode(error)


async def _unless_gone(work: asyncio.Future[None], receive: Receive) -> None:
    """Wait for the work, or cancel it when the caller has gone.

    Raises:
        Disconnected: the caller has gone.
    """
    watch = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watch.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
    if work.cancelled():
        raise Disconnected
    work.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


__all__ = ["BEAT_S", "Beat", "Responses", "admitted", "reason_of", "taken"]
