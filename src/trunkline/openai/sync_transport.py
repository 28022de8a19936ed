"""Transport for synchronous clients."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from functools import cache
from queue import SimpleQueue
from types import ModuleType
from typing import Any, Final, Unpack

import httpx2

from .._face.outcome import Broken, Chunks, Elsewhere
from .._observe.metrics import PoolMetrics, PoolState
from .exchange import (
    answered_elsewhere,
    call_of,
    exception_of,
    failed_elsewhere,
    forwarded,
    may_be_create,
    response_of,
    whole,
)
from .inner import InnerTransports
from .loop_thread import LoopThread, leave, thread_of
from .options import Options, door_of

_END: Final = b""


class Transport(httpx2.BaseTransport):
    """The same as `AsyncTransport` for ``httpx2.Client(transport=…)``, or for that of httpx.

    All transports of a process share one event loop, in a thread of its own. May be used from several
    threads.

    Args:
        httpx: as for `AsyncTransport`.
        inner: as for `AsyncTransport`; a synchronous transport.
        options: see `Options`.

    Raises:
        ConfigurationError: an option is wrong.
    """

    def __init__(self, httpx: ModuleType = httpx2, *, inner: Any = None, **options: Unpack[Options]) -> None:
        self._httpx = httpx
        self._door = door_of(options, has_inner=inner is not None)
        self._inner = InnerTransports(httpx, "HTTPTransport", inner, options)

    @property
    def metrics(self) -> PoolMetrics:
        """The counters of its sockets, which other transports may share."""
        return self._door.metrics

    def state(self) -> PoolState:
        """Its sockets, lanes and running turns at this moment."""
        return self._door.state()

    def handle_request(self, request: Any) -> Any:
        """Answer a request."""
        call = call_of(request, request.read() if may_be_create(request) else None)
        outcome: Any = Elsewhere()
        if call.is_create and self._door.is_open:
            thread = thread_of(self)
            try:
                outcome = thread.run(self._door.take(call))
            except Broken as broken:
                raise exception_of(self._httpx, broken, request) from broken
        if isinstance(outcome, Elsewhere):
            return self._forward(call, request, outcome)
        stream = None
        if not isinstance(outcome.body, bytes):
            stream = _stream_class(self._httpx)(_Pump(thread, outcome.body), self._httpx, request)
        return response_of(self._httpx, outcome, stream)

    def _forward(self, call: Any, request: Any, elsewhere: Elsewhere) -> Any:
        inner = self._inner.for_url(call.url)
        key = self._door.hashed_key(call)
        try:
            response = inner.handle_request(forwarded(self._httpx, request, elsewhere, key))
            self._door.answered(call, response.headers)
            if elsewhere.is_read_at_once:
                with closing(response):
                    content = b"".join(response.stream)
                response = whole(self._httpx, response, content)
        except self._httpx.TransportError as error:
            return failed_elsewhere(self._httpx, elsewhere, error)
        if call.deleted is not None and response.status_code < 300:
            thread_of(self).run(self._delete(call))
        return answered_elsewhere(elsewhere, response)

    async def _delete(self, call: Any) -> None:
        self._door.deleted(call)

    def close(self) -> None:
        """Close the HTTP connections, and the sockets that no other transport uses."""
        leave(self, self._door.close)
        for transport in self._inner.taken():
            transport.close()


class _Pump:
    """Carries the pieces of an answer from the loop to the thread of the caller.

    Args:
        thread: the thread of the loop.
        chunks: the pieces.
    """

    def __init__(self, thread: LoopThread, chunks: Chunks) -> None:
        self._thread = thread
        self._chunks = chunks
        self._queue: SimpleQueue[bytes | Exception] = SimpleQueue()
        self._running: Future[None] = thread.begin(self._fill())
        self._process = os.getpid()

    async def _fill(self) -> None:
        try:
            async for chunk in self._chunks:
                self._queue.put(chunk)
        except Exception as error:
            self._queue.put(error)
        finally:
            await self._chunks.aclose()
            self._queue.put(_END)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            arrived = [self._queue.get()]
            # What has arrived meanwhile goes with it: each piece costs the client a step.
            while not self._queue.empty():
                arrived.append(self._queue.get())
            chunk = b"".join(each for each in arrived if isinstance(each, bytes))
            if chunk:
                yield chunk
            for each in arrived:
                if isinstance(each, Exception):
                    raise each
            if arrived[-1] == _END:
                return

    def close(self) -> None:
        """Leave the answer. Idempotent."""
        if self._process == os.getpid():  # in a forked child the loop is that of the parent
            self._running.cancel()


@cache
def _stream_class(httpx: ModuleType) -> Any:
    """The class of streamed bodies for a library, which checks their type."""

    class Stream(httpx.SyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, pump: _Pump, httpx: ModuleType, request: Any) -> None:
            self._pump = pump
            self._httpx = httpx
            self._request = request

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self._pump
            except Broken as broken:
                raise exception_of(self._httpx, broken, self._request) from broken

        def close(self) -> None:
            self._pump.close()

        def __del__(self) -> None:
            self._pump.close()

    return Stream


__all__ = ["Transport"]
