from __future__ import annotations

import asyncio
import gzip
import random
import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from trunkline.gateway.asgi import Disconnected, Receive
from trunkline.gateway.body import Bodies
from trunkline.gateway.configuration import Bounds
from trunkline.gateway.refusal import Refused

TEXT = b'{"input":"%b"}' % (b"hello " * 1000)
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "br": brotli.compress,
}


def receiving(*parts: bytes, more: bool = False) -> Receive:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": True} for part in parts[:-1]
    ]
    messages.append({"type": "http.request", "body": parts[-1], "more_body": more})

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    return receive


@pytest.mark.parametrize("coding", CODINGS)
async def test_each_coding_is_read(coding: str) -> None:
    raw = CODINGS[coding](TEXT)
    half = len(raw) // 2
    assert await read(Bounds(), receiving(raw[:half], raw[half:]), coding.upper()) == TEXT


@pytest.mark.parametrize("coding", [coding for coding in CODINGS if coding not in ("", "identity")])
async def test_a_broken_body_is_refused(coding: str) -> None:
    for raw in (CODINGS[coding](TEXT)[:-6], b"no such thing"):
        with pytest.raises(Refused, match=f"not valid {coding}"):
            await read(Bounds(), receiving(raw), coding)


@pytest.mark.parametrize("coding", CODINGS)
async def test_the_limit_counts_decoded_bytes(coding: str) -> None:
    raw = CODINGS[coding](b" " * 1_000_001)
    with pytest.raises(Refused, match="larger than 1000000 bytes") as refused:
        await read(Bounds(body_bytes=1_000_000), receiving(raw), coding)
    assert refused.value.status == 413
    exact = CODINGS[coding](b" " * 1_000_000)
    assert len(await read(Bounds(body_bytes=1_000_000), receiving(exact), coding)) == 1_000_000


async def test_large_bodies_are_decompressed_beside_the_loop() -> None:
    text = random.Random(1).randbytes(200_000)
    assert await read(Bounds(), receiving(gzip.compress(text)), "gzip") == text


async def test_a_body_that_does_not_come_is_refused() -> None:
    with pytest.raises(Refused, match=r"did not arrive within 0\.01 s") as refused:
        await read(Bounds(body_s=0.01), receiving(b"a", more=True), "")
    assert refused.value.status == 408


async def test_a_caller_that_leaves_amid_its_body() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(Disconnected):
        await read(Bounds(), receive, "")


async def test_an_unknown_coding_is_refused() -> None:
    with pytest.raises(Refused, match="use br, deflate, gzip, identity, zstd, or none"):
        await read(Bounds(), receiving(b""), "lzma")


def test_the_memory_for_bodies_is_bounded() -> None:
    bodies = Bodies(Bounds(bodies_bytes=10))
    with bodies.hold("") as one, bodies.hold("") as other:
        one.set(6)
        with pytest.raises(Refused, match="no memory left") as refused:
            other.set(5)
        assert (refused.value.status, refused.value.retry_after_s) == (503, 1.0)
        other.set(4)
        one.set(1)
        other.set(9)
    bodies.take(10, "")


def test_one_tenant_leaves_memory_for_others() -> None:
    bodies = Bodies(Bounds(bodies_bytes=10, tenant_bytes=6))
    bodies.take(6, "a")
    with pytest.raises(Refused, match="the requests of a would hold more than 6 bytes") as refused:
        bodies.take(1, "a")
    assert refused.value.status == 429
    bodies.take(4, "b")
    bodies.give_back(6, "a")
    bodies.take(6, "a")


async def test_a_body_is_counted_while_it_arrives() -> None:
    bodies = Bodies(Bounds(bodies_bytes=10))
    bodies.take(5, "")
    with pytest.raises(Refused, match="no memory left"), bodies.hold("") as hold:
        await bodies.read(receiving(b"123456", more=True), "", hold)
    bodies.take(5, "")


async def test_a_body_is_counted_as_it_is_decompressed() -> None:
    bodies = Bodies(Bounds(bodies_bytes=1000))
    with pytest.raises(Refused, match="no memory left"), bodies.hold("") as hold:
        await bodies.read(receiving(gzip.compress(b" " * 1001)), "gzip", hold)
    bodies.take(1000, "")


async def read(bounds: Bounds, receive: Receive, coding: str) -> bytes:
    bodies = Bodies(bounds)
    with bodies.hold("") as hold:
        return await bodies.read(receive, coding, hold)
