"""Calls that go to the upstream over HTTP, because no WebSocket can carry them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from http import HTTPStatus

import httpx2

from .._face.call import Call
from .._face.outcome import Answer, Broken, Elsewhere, Reader
from .._face.refusals import SHOULD_RETRY, UNKNOWN_STATUSES
from .._network.gateways import KEY_HEADER
from .caller import Caller
from .failures import answer_to
from .refusal import Refused
from .screening import check_strictly
from .upward import chunks_of, headers_down


async def forwarded(caller: Caller, call: Call, elsewhere: Elsewhere) -> Answer:
    """The answer of the upstream over HTTP.

    The caller must not repeat a request that may have side effects and whose answer was lost. So its answer
    is read whole, unless it is a stream: the loss is then a status.

    With a shared key, the response is recorded as one over a WebSocket is: the tenant was given it here.

    Args:
        caller: the caller.
        call: its call.
        elsewhere: how the call goes there, and the recording of its response.

    Raises:
        Refused: the body could be read in two ways, or the call cannot be made over HTTP.
        Broken: the upstream failed.
    """
    if not call.generate:
        raise Refused(503, "a warm-up needs a WebSocket upstream, and there is none", retry_after_s=1.0)
    body = call.body if elsewhere.body is None else elsewhere.body
    assert body is not None
    check_strictly(body)
    headers = [(name, value) for name, value in call.headers if name != KEY_HEADER]
    try:
        response = await caller.upward.send("POST", call.url, headers, body)
        chunks = _chunks(caller, elsewhere, response)
        read = b"".join([chunk async for chunk in chunks]) if elsewhere.is_read_at_once else Chunks(chunks)
    except Broken as broken:
        if not elsewhere.acts:
            raise
        return answer_to(broken, acts=True)
    status, found = response.status_code, headers_down(response)
    if elsewhere.acts and status in UNKNOWN_STATUSES and SHOULD_RETRY not in dict(found):
        found.append((SHOULD_RETRY, "false"))
    return Answer(status, tuple(found), read)


def _chunks(caller: Caller, elsewhere: Elsewhere, response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    """The body for the caller."""
    chunks, recording = chunks_of(response), elsewhere.recording
    is_read = caller.is_shared or elsewhere.body is not None
    if recording is None or not is_read or response.status_code != HTTPStatus.OK:
        return chunks
    return _recorded(chunks, recording)


async def _recorded(chunks: AsyncGenerator[bytes, None], recording: Reader) -> AsyncGenerator[bytes, None]:
    """The chunks for the caller. The response is recorded before its caller can name it."""
    async with aclosing(chunks):
        async for chunk in chunks:
            if written := recording.feed(chunk):
                yield written
    if rest := recording.end():
        yield rest


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


__all__ = ["Chunks", "forwarded"]
