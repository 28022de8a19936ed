"""Bodies of requests: read in bounded time and memory, and decompressed."""

from __future__ import annotations

import asyncio
from collections import Counter
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
    """Memory for the bodies and frames of all requests that arrive, wait or are answered.

    Args:
        bounds: the bounds.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._held = 0
        self._held_by: Counter[str] = Counter()

    def take(self, size: int, tenant: str) -> None:
        """Reserve memory until `give_back`.

        Args:
            size: the number of bytes.
            tenant: the name of the tenant; empty where there are none.

        Raises:
            Refused: none is left, for the tenant or at all.
        """
        if tenant and self._held_by[tenant] + size > self._bounds.tenant_bytes:
            raise Refused(
                429,
                f"the requests of {tenant} would hold more than {self._bounds.tenant_bytes} bytes; try again "
                "when some have ended",
                code="rate_limit_exceeded",
                retry_after_s=1.0,
            )
        if self._held + size > self._bounds.bodies_bytes:
            raise Refused(503, "the gateway has no memory left for this request", retry_after_s=1.0)
        self._held += size
        self._held_by[tenant] += size

    def give_back(self, size: int, tenant: str) -> None:
        """Release memory."""
        self._held -= size
        self._held_by[tenant] -= size
        if not self._held_by[tenant]:
            del self._held_by[tenant]

    @contextmanager
    def hold(self, tenant: str) -> Iterator[Hold]:
        """Memory for one body, given back at the end of the block."""
        hold = Hold(self, tenant)
        try:
            yield hold
        finally:
            hold.set(0)

    async def read(self, receive: Receive, coding: str, hold: Hold) -> bytes:
        """Read and decompress a body.

        Args:
            receive: the callable of ASGI.
            coding: the header ``Content-Encoding``.
            hold: the memory for it.

        Raises:
            Refused: it is too large, too slow, or in an unknown or broken coding; or no memory is left.
            Disconnected: the caller has gone.
        """
        coding = coding.strip().lower()
        if coding not in CODINGS:
            names = ", ".join(sorted(CODINGS - {""}))
            raise Refused(415, f"Content-Encoding {coding!r} is not supported; use {names}, or none")
        limit = self._bounds.body_bytes
        try:
            async with asyncio.timeout(self._bounds.body_s):
                raw = await _whole(receive, limit, hold)
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
        hold.set(len(body))
        return body


class Hold:
    """The memory of one body.

    Args:
        bodies: the memory of all.
        tenant: the name of its tenant.
    """

    def __init__(self, bodies: Bodies, tenant: str) -> None:
        self._bodies = bodies
        self._tenant = tenant
        self._size = 0

    def set(self, size: int) -> None:
        """Hold so many bytes, instead of those before.

        Raises:
            Refused: no memory is left.
        """
        if size > self._size:
            self._bodies.take(size - self._size, self._tenant)
        elif size < self._size:
            self._bodies.give_back(self._size - size, self._tenant)
        self._size = size


async def _whole(receive: Receive, limit: int, hold: Hold) -> bytes:
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
        hold.set(size)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _too_large(limit: int) -> Refused:
    return Refused(413, f"the body is larger than {limit} bytes")


__all__ = ["Bodies", "Hold"]
