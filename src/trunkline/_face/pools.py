"""Pools: the upstreams of this process, one for each event loop, URL, set of headers and settings.

Callers with equal ones share sockets, so that a program that makes a client for each request still uses them
again. Unused sockets are closed after `IDLE_S`; the memory stays longer. A forked child
begins with none, and does not touch those of its parent.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import AsyncGenerator, Coroutine, Hashable, Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final

from .._network.background import bury_the_dead, call_in
from .._network.endpoint import OPENAI_HOST
from .._network.gateways import Gateways
from .._network.world import Timer, World
from .memories import Memories
from .memory import Memory
from .upstream import Settings, Upstream

IDLE_S: Final = 600.0
MAX_LIVE: Final = 32
"""Upstreams with sockets. Beyond it, the least recently used idle one is closed."""
_SWEEP_S: Final = 60.0


class _OfLoop:
    """The upstreams of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.upstreams: OrderedDict[Hashable, Upstream] = OrderedDict()
        self.memories = Memories()
        self._timer: Timer | None = None
        self._closing: set[asyncio.Task[None]] = set()
        # `asyncio.run` closes unfinished generators before it closes the loop: the last moment for sockets.
        self._watch = self._until_the_loop_ends()
        _step(self._watch.__anext__())

    def upstream(
        self,
        url: str,
        headers: Mapping[str, str],
        settings: Settings,
        tenancy: Hashable,
        gateways: Gateways,
    ) -> Upstream:
        place = (url, _digest(headers))
        key = (*place, tenancy, settings.of_pool)
        found = self.upstreams.get(key)
        if found is None:
            memory_key = place if tenancy is None else (url, tenancy)
            memory = self.memories.of(
                memory_key,
                settings.lineage,
                settings.world.clock(),
                has_random_call_ids=f"//{OPENAI_HOST}/" in url,
            )
            found = self.upstreams[key] = Upstream(url, headers, settings, memory, gateways)
            self._make_room()
        self.upstreams.move_to_end(key)
        if self._timer is None:
            self._timer = settings.world.call_later(_SWEEP_S, lambda: self._sweep(settings.world))
        return found

    def _make_room(self) -> None:
        live = [key for key, upstream in self.upstreams.items() if upstream.is_live]
        idle = [key for key in live if not self.upstreams[key].running]
        for key in idle[: max(0, len(live) - MAX_LIVE)]:
            self._close(key)

    def _sweep(self, world: World) -> None:
        """Close the upstreams that were not used for a while, and forget what is older."""
        self._timer = None
        self.memories.trim(world.clock(), {upstream.memory for upstream in self.upstreams.values()})
        for key, upstream in list(self.upstreams.items()):
            if not upstream.running and upstream.now() - upstream.used_at > IDLE_S:
                self._close(key)
        if self.upstreams or self.memories:
            self._timer = world.call_later(_SWEEP_S, lambda: self._sweep(world))

    def _close(self, key: Hashable) -> None:
        upstream = self.upstreams.pop(key)
        task = asyncio.get_running_loop().create_task(upstream.close(), name="trunkline close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self, upstreams: list[Upstream]) -> None:
        """Close these upstreams, and wait for those that are being closed."""
        for key, upstream in list(self.upstreams.items()):
            if upstream in upstreams:
                del self.upstreams[key]
        await asyncio.gather(*(upstream.close() for upstream in upstreams), *self._closing)

    def end(self) -> None:
        """Drop all sockets now: the event loop ends or has ended."""
        upstreams, self.upstreams = self.upstreams, OrderedDict()
        for upstream in upstreams.values():
            upstream.end()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()
            with suppress(Exception):  # asyncio would report it at the exit of the program
                self.end()


class Pools:
    """The upstreams of a process.

    Attributes:
        gateways: the servers that are known to be gateways.
    """

    def __init__(self) -> None:
        self.gateways: Gateways = Gateways()
        self._lock = threading.Lock()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _OfLoop] = (
            weakref.WeakKeyDictionary()
        )

    def upstream(
        self, url: str, headers: Mapping[str, str], settings: Settings, tenancy: Hashable = None
    ) -> Upstream:
        """The upstream of the running event loop for a URL and headers.

        Args:
            url: the URL of the responses.
            headers: the headers of the upgrade.
            settings: the settings of its sockets.
            tenancy: names the callers that share a memory; by default those with equal headers.
        """
        return self._of_loop().upstream(url, headers, settings, tenancy, self.gateways)

    def memories(self, url: str) -> list[Memory]:
        """What the running event loop remembers for a URL."""
        return [memory for key, memory in self._of_loop().memories.items() if _url_of(key) == url]

    async def close(self, upstreams: Iterable[Upstream]) -> None:
        """Close the sockets of upstreams; those of another event loop end there."""
        own = self._of_loop()
        mine = [upstream for upstream in upstreams if upstream in own.upstreams.values()]
        for upstream in set(upstreams) - set(mine):
            call_in(upstream.loop, upstream.end)
        await own.close(mine)

    async def close_all(self) -> None:
        """Close all sockets of the running event loop."""
        found = self._of_loop()
        await found.close(list(found.upstreams.values()))

    def _of_loop(self) -> _OfLoop:
        loop = asyncio.get_running_loop()
        with self._lock:
            found = self._loops.get(loop)
            if found is None:
                self._end_dead()
                found = self._loops[loop] = _OfLoop(loop)
            return found

    def _end_dead(self) -> None:
        """Drop the sockets of loops that were closed without `asyncio.run`."""
        for loop, found in list(self._loops.items()):
            if loop.is_closed():
                del self._loops[loop]
                found.end()
        bury_the_dead()


def _url_of(key: Hashable) -> object:
    return key[0] if isinstance(key, tuple) else None


def _digest(headers: Mapping[str, str]) -> bytes:
    """A hash of headers, which hold keys."""
    digest = blake2b(digest_size=32, key=_SECRET)
    for name, value in sorted(headers.items()):
        digest.update(f"{len(name)} {len(value)} {name}{value}".encode("utf-8", "surrogatepass"))
    return digest.digest()


def _step(work: Coroutine[Any, Any, Any]) -> None:
    """Run a step of the generator, which does not await."""
    with suppress(StopIteration, StopAsyncIteration, RuntimeError):
        work.send(None)


_SECRET: Final = os.urandom(32)
_pools = Pools()
_inherited: list[Pools] = []


def pools() -> Pools:
    """The pools of this process."""
    return _pools


def _begin_in_child() -> None:
    global _pools
    # Kept, so that nothing is closed: the sockets are the parent's, and locks may be held for ever.
    _inherited.append(_pools)
    _pools = Pools()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)

__all__ = ["IDLE_S", "MAX_LIVE", "Pools", "pools"]
