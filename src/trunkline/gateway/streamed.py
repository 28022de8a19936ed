"""Streamed answers: events written to a caller over HTTP.

A stream gets a harmless event after `BEAT_S` without one: balancers and clients end silent connections, and
clients' watchdogs count events, not comments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Final

from .._face.call import Header
from .._face.outcome import Answer, Broken, Chunks
from .._face.sse import KEEP_ALIVE
from .._network.world import World
from .asgi import Send, start_of
from .failures import error_event, event_of, event_of_error
from .heartbeat import Heartbeat

BEAT_S: Final = 15.0
"""The silence after which a stream gets a harmless event."""
BEAT: Final = b'event: keepalive\ndata: {"type":"keepalive"}\n\n'
_UNBUFFERED: Final[Header] = ("x-accel-buffering", "no")
"""For nginx: pass each event on at once."""
EVENTS: Final = "text/event-stream"
ENDS_OF_EVENTS: Final = (b"\n\n", b"\r\n\r\n")


class Streamed:
    """One answer that is written as it comes.

    Args:
        send: the callable of ASGI.
        world: the clock and its timers.
        unread_s: the time in which the caller must take what was written, in seconds.
    """

    def __init__(self, send: Send, world: World, unread_s: float) -> None:
        self._send = send
        self._world = world
        self._unread_s = unread_s
        self._has_begun = False

    async def begin(self) -> None:
        """Send the head of a stream of events before its answer is known."""
        self._has_begun = True
        await self._send(start_of(200, (("content-type", f"{EVENTS}; charset=utf-8"), _UNBUFFERED)))

    async def write(self, answer: Answer) -> None:
        """Write an answer to its end. A caller that does not take it cancels the running task.

        Raises:
            Broken: the answer broke where no event can say so.
        """
        if self._has_begun and answer.status >= 400:
            document = answer.body if isinstance(answer.body, bytes) else await _whole(answer.body)
            frame = event_of_error(error_event(answer, document))
            await self._send({"type": "http.response.body", "body": frame})
        elif isinstance(answer.body, bytes):
            await self._send({"type": "http.response.body", "body": answer.body})
        else:
            await self._stream(answer, answer.body)

    async def _stream(self, answer: Answer, body: Chunks) -> None:
        is_events = dict(answer.headers).get("content-type", "").startswith(EVENTS)
        if not self._has_begun:
            headers = [*answer.headers, _UNBUFFERED] if is_events else list(answer.headers)
            await self._send(start_of(answer.status, headers))
        signs, task = Signs(self._send), asyncio.current_task()
        assert task is not None
        heartbeat = Heartbeat(
            self._world,
            BEAT_S,
            signs.sign if is_events else lambda: None,
            patience_s=self._unread_s,
            give_up=task.cancel,
        )
        send = self._send
        try:
            try:
                async with aclosing(aiter(body)) as chunks:  # type: ignore[type-var]
                    async for chunk in chunks:
                        signs.follow(chunk)
                        heartbeat.begin_write()
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                        heartbeat.end_write()
            except Broken as broken:
                if not is_events or signs.is_within_event:
                    raise
                await send({"type": "http.response.body", "body": event_of(broken), "more_body": True})
        finally:
            heartbeat.end()
            await body.aclose()
        await send({"type": "http.response.body", "body": b""})


class Signs:
    """The signs of life that a stream of events may have at a moment.

    Before the first event it is a comment: the openai SDK's helper for streams expects ``response.created``
    as the first event.

    Args:
        send: the callable of ASGI.

    Attributes:
        is_within_event: the last chunk ended within an event, as those of an upstream over HTTP may: only the
            rest of the event may follow.
    """

    def __init__(self, send: Send) -> None:
        self.is_within_event: bool = False
        self._send = send
        self._sign = KEEP_ALIVE

    def follow(self, chunk: bytes) -> None:
        """A chunk is sent now."""
        self.is_within_event = not chunk.endswith(ENDS_OF_EVENTS)
        if chunk != KEEP_ALIVE:
            self._sign = BEAT

    def sign(self) -> Coroutine[None, None, None] | None:
        """The write of a sign; ``None`` within an event."""
        return None if self.is_within_event else self._write()

    async def _write(self) -> None:
        await self._send({"type": "http.response.body", "body": self._sign, "more_body": True})


async def _whole(body: Chunks) -> bytes:
    try:
        return b"".join([chunk async for chunk in body])
    finally:
        await body.aclose()


__all__ = ["BEAT", "BEAT_S", "ENDS_OF_EVENTS", "EVENTS", "Signs", "Streamed"]
