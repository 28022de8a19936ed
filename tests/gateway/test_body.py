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
    assert await Bodies(Bounds()).read(receiving(raw[:half], raw[half:]), coding.upper()) == TEXT


@pytest.mark.parametrize("coding", [coding for coding in CODINGS if coding not in ("", "identity")])
async def test_a_broken_body_is_refused(coding: str) -> None:
    for raw in (CODINGS[coding](TEXT)[:-6], b"no such thing"):
        with pytest.raises(Refused, match=f"not valid {coding}"):
            await Bodies(Bounds()).read(receiving(raw), coding)


@pytest.mark.parametrize("coding", CODINGS)
async def test_the_limit_counts_decoded_bytes(coding: str) -> None:
    raw = CODINGS[coding](b" " * 1_000_001)
    with pytest.raises(Refused, match="larger than 1000000 bytes") as refused:
        await Bodies(Bounds(body_bytes=1_000_000)).read(receiving(raw), coding)
    assert refused.value.status == 413
    exact = CODINGS[coding](b" " * 1_000_000)
    assert len(await Bodies(Bounds(body_bytes=1_000_000)).read(receiving(exact), coding)) == 1_000_000


async def test_large_bodies_are_decompressed_beside_the_loop() -> None:
    text = random.Random(1).randbytes(200_000)
    assert await Bodies(Bounds()).read(receiving(gzip.compress(text)), "gzip") == text


async def test_a_body_that_does_not_come_is_refused() -> None:
    with pytest.raises(Refused, match=r"did not arrive within 0\.01 s") as refused:
        await Bodies(Bounds(body_s=0.01)).read(receiving(b"a", more=True), "")
    assert refused.value.status == 408


async def test_a_caller_that_leaves_amid_its_body() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(Disconnected):
        await Bodies(Bounds()).read(receive, "")


async def test_an_unknown_coding_is_refused() -> None:
    with pytest.raises(Refused, match="use br, deflate, gzip, identity, zstd, or none"):
        await Bodies(Bounds()).read(receiving(b""), "lzma")


def test_the_memory_for_bodies_is_bounded() -> None:
    bodies = Bodies(Bounds(bodies_bytes=10))
    with bodies.room(6):
        with pytest.raises(Refused, match="no memory left"), bodies.room(5):
            pass
        with bodies.room(4):
            pass
    with bodies.room(10):
        pass
