"""Bodies of requests: read in bounded time and memory, and decompressed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from .asgi import Disconnected, Receive
from .compression import CODINGS, decompressed
from .configuration import Bounds
from .refusal import Refused

_IN_A_THREAD: Final = 2**16
"""The compressed size above which decompressing would stop the event loop for long."""


class Bodies:
    """Memory for the bodies of all requests that are read or answered.

    Args:
        bounds: the bounds.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._held = 0

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Memory for a body of this size.

        Raises:
            Refused: none is left.
        """
        self.take(size)
        try:
            yield
        finally:
            self.give_back(size)

    def take(self, size: int) -> None:
        """Reserve memory until `give_back`.

        Raises:
            Refused: none is left.
        """
        if self._held + size > self._bounds.bodies_bytes:
            raise Refused(503, "the gateway has no memory left for this request", retry_after_s=1.0)
        self._held += size

    def give_back(self, size: int) -> None:
        """Release memory."""
        self._held -= size

    async def read(self, receive: Receive, coding: str) -> bytes:
        """Read and decompress a body.

        Args:
            receive: the callable of ASGI.
            coding: the header ``Content-Encoding``.

        Raises:
            Refused: it is too large, too slow, or in an unknown or broken coding.
            Disconnected: the caller has gone.
        """
        coding = coding.strip().lower()
        if coding not in CODINGS:
            names = ", ".join(sorted(CODINGS - {""}))
            raise Refused(415, f"Content-Encoding {coding!r} is not supported; use {names}, or none")
        limit = self._bounds.body_bytes
        try:
            async with asyncio.timeout(self._bounds.body_s):
                raw = await _whole(receive, limit)
        except TimeoutError:
            raise Refused(408, f"the body did not arrive within {self._bounds.body_s:g} s") from None
        try:
            if len(raw) > _IN_A_THREAD and coding:
                body = await asyncio.to_thread(decompressed, coding, raw, limit + 1)
            else:
                body = decompressed(coding, raw, limit + 1)
        except ValueError:
            raise Refused(400, f"the body is not valid {coding}") from None
        if len(body) > limit:
            raise _too_large(limit)
        return body


async def _whole(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _too_large(limit: int) -> Refused:
    return Refused(413, f"the body is larger than {limit} bytes")


__all__ = ["Bodies"]
