"""Calls that go to the upstream over HTTP, because no WebSocket can carry them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from .._face.call import Call
from .._face.outcome import Answer
from .._network.gateways import KEY_HEADER
from .caller import Caller
from .refusal import Refused
from .screening import check_strictly
from .upward import chunks_of, headers_down


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
