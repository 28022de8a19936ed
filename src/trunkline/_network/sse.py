"""Server-sent events: the answer to a request over HTTP, as the frames that a socket would bring."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from .._protocol.error_fields import read_error
from .._protocol.events import ErrorEvent

if TYPE_CHECKING:
    import httpx2

MAX_EVENT_BYTES = 64 * 2**20
MAX_ERROR_BYTES = 64 * 2**10
MAX_TEXT = 300
"""The maximum length of the words of an error that is not JSON."""
READ_ON_S = 1.0
"""Time limit for the end of the stream after the final event, so that the connection can be used again."""


async def read_events(response: httpx2.Response, deliver: Callable[[bytes], bool]) -> None:
    """Deliver the events of a streamed answer, to the end of the stream.

    Args:
        response: the answer, with its body unread. It is not closed.
        deliver: takes one frame; returns True for the final one. Later events are dropped.

    Raises:
        TimeoutError: the stream did not end within ``READ_ON_S`` after the final event.
    """
    from httpx2 import EventSource

    # The status comes first: `EventSource` raises an SSEError for any answer of another content type, such as
    # a 429, which would hide status and headers.
    if response.status_code != HTTPStatus.OK:
        deliver(await _refusal(response))
        return
    is_complete = False
    async with asyncio.timeout(None) as limit:
        # The default limit of an event is 1 MiB, less than some final responses.
        async for event in EventSource(response, max_event_size=MAX_EVENT_BYTES):
            # Comments have no data. "[DONE]" is sent by servers that follow the Chat Completions API.
            if is_complete or not event.data or event.data == "[DONE]":
                continue
            if deliver(event.data.encode()):
                is_complete = True
                limit.reschedule(asyncio.get_running_loop().time() + READ_ON_S)


async def _refusal(response: httpx2.Response) -> bytes:
    """An HTTP error as the ``error`` event that a socket would bring."""
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_ERROR_BYTES:
            break
    error = _error_in(bytes(content))
    if not error.get("message"):
        error["message"] = f"HTTP status {response.status_code}"
    error["headers"] = dict(response.headers)
    return json.dumps({"type": ErrorEvent.type, "status": response.status_code, "error": error}).encode()


def _error_in(content: bytes) -> dict[str, Any]:
    """The error object in the body of an answer, with the code and the words wherever the server put them.

    Empty for an HTML page.
    """
    try:
        body = json.loads(content)
    except RecursionError:
        return {}
    except ValueError:
        text = content.decode(errors="replace").strip()
        return {"message": text[:MAX_TEXT]} if text and not text.startswith("<") else {}
    found = body.get("error", body) if isinstance(body, dict) else None
    error = dict(found) if isinstance(found, dict) else {}
    fields = read_error(body)
    # The server's own spelling of the code stays, a number for example.
    error.setdefault("code", fields.code)
    error["message"] = fields.message or (body if isinstance(body, str) else None)
    return error


__all__ = ["MAX_EVENT_BYTES", "read_events"]
