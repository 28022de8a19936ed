"""Callers over HTTP that cost little: they count deltas in the bytes of a stream, and decode its end."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import Any

from msgspec import json

from clients.base import MODEL, Seed
from load.order import Order, text_of
from load.proxy import KEY

_DELTA = b'"response.output_text.delta"'
_STAMP = re.compile(rb'"delta":"(\d{6,}) "')
_END = b"0\r\n\r\n"
_HEAD = (
    "POST /v1/responses HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer %s\r\n"
    "content-type: application/json\r\ncontent-length: %d\r\n\r\n"
)


@dataclass
class Heard:
    """Counts of all callers.

    Attributes:
        deltas: the number of deltas.
        delays_ms: the delays since the server's stamps, while `measures`.
        measures: delays are kept.
    """

    deltas: int = 0
    delays_ms: list[float] = field(default_factory=list)
    measures: bool = False

    def take(self, data: bytes) -> None:
        """Count what has arrived."""
        self.deltas += data.count(_DELTA)
        if self.measures:
            now = time.monotonic_ns()
            self.delays_ms += [(now - int(stamp)) / 1e6 for stamp in _STAMP.findall(data)]


class Caller:
    """One conversation over one connection: the whole history with each turn.

    Args:
        port: the port of the proxy.
        heard: the counts.
        seed: the beginning of the conversation.
        name: told in each message, so that no two conversations are equal.
    """

    def __init__(self, port: int, heard: Heard, seed: Seed, name: str) -> None:
        self._port = port
        self._heard = heard
        self._fixed = {"model": MODEL, "stream": True, "instructions": seed.instructions}
        self._items: list[Any] = [
            {**item, "content": f"{name}: {item['content']}"} for item in seed.messages()
        ]
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, order: Order) -> None:
        """One turn, to its end. Its answer is added to the history."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        reader, writer = self._streams
        self._items.append({"type": "message", "role": "user", "content": text_of(order)})
        body = json.encode({**self._fixed, "input": self._items})
        writer.write((_HEAD % (KEY, len(body))).encode() + body)
        answer = bytearray()
        while not answer.endswith(_END):
            data = await reader.read(2**18)
            if not data:
                raise RuntimeError("RuntimeError: the proxy closed the connection")
            self._heard.take(data)
            answer += data
            if len(answer) > 2**22:  # the end is enough
                del answer[: -(2**21)]
        self._keep(bytes(answer))

    def _keep(self, answer: bytes) -> None:
        start = answer.rfind(b"data: ", 0, answer.rfind(b'"response.completed"'))
        if start < 0:
            raise RuntimeError(f"RuntimeError: the answer has no end: {answer[-300:]!r}")
        event, _, _ = answer[start + 6 :].partition(b"\n")
        self._items += json.decode(event)["response"]["output"]

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
