"""Reading of the answer to a request over HTTP, as the frames that a socket would bring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING

from .._protocol.document import document_frame
from .._protocol.sse import MAX_EVENT_BYTES, BodyForm, EventParser
from ..errors import ProtocolViolation

if TYPE_CHECKING:
    import httpx2

MAX_ERROR_BYTES = 64 * 2**10
READ_ON_S = 1.0
"""Time limit for the end of the stream after the final event, so that the connection can be used again."""


async def read_events(
    response: httpx2.Response, deliver: Callable[[bytes], bool], on_keep_alive: Callable[[], None]
) -> None:
    """Deliver the events of a streamed answer, to the end of the stream.

    Args:
        response: the answer, with its body unread. It is not closed.
        deliver: takes one frame; returns True for the final one. Later events are dropped.
        on_keep_alive: called for comments, and for events without data.

    Raises:
        TimeoutError: the stream did not end within ``READ_ON_S`` after the final event.
        ProtocolViolation: an event is too large.
    """
    if response.status_code != HTTPStatus.OK:
        content = await _beginning(response)
        deliver(document_frame(content, response.status_code, response.headers))
        return
    parser, comments, is_complete = EventParser(), 0, False
    async with asyncio.timeout(None) as limit:
        try:
            async for chunk in _chunks(response):
                if is_complete:
                    continue
                for frame in parser.feed(chunk):
                    if deliver(frame):
                        is_complete = True
                        limit.reschedule(asyncio.get_running_loop().time() + READ_ON_S)
                        break
                if parser.comments != comments:
                    comments = parser.comments
                    on_keep_alive()
        except Exception:
            # The connection broke. What has arrived is as whole as after an orderly end.
            if is_complete or not any(map(deliver, parser.end())):
                raise
            return
    if is_complete or any(map(deliver, parser.end())):
        return
    if parser.form is BodyForm.DOCUMENT and parser.document:
        deliver(document_frame(parser.document, response.status_code, response.headers))


async def read_document(response: httpx2.Response) -> bytes:
    """Read the body of an answer that is no stream; of a refusal, its beginning.

    Raises:
        ProtocolViolation: the body is too large.
    """
    if response.status_code != HTTPStatus.OK:
        return await _beginning(response)
    content = await _beginning(response, MAX_EVENT_BYTES)
    if len(content) > MAX_EVENT_BYTES:
        raise ProtocolViolation(f"received more than {MAX_EVENT_BYTES} bytes in one answer", sent=True)
    return content


def _chunks(response: httpx2.Response) -> AsyncIterator[bytes]:
    # Almost no server compresses events, and the decoders of httpx2 cost as much as the parser.
    return response.aiter_bytes() if "content-encoding" in response.headers else response.aiter_raw()


async def _beginning(response: httpx2.Response, limit_bytes: int = MAX_ERROR_BYTES) -> bytes:
    """The beginning of a body, by default of a refusal."""
    content = bytearray()
    async with aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            content += chunk
            if len(content) > limit_bytes:
                break
    return bytes(content)


__all__ = ["read_document", "read_events"]
