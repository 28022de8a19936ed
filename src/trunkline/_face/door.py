"""Door: where the calls of one client come in, and what becomes of each.

A call for a response is answered over a WebSocket, or goes elsewhere: to the HTTP transport of its client.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Mapping
from typing import Final

from .._network.background import running_loop
from .._network.gateways import KEY_HEADER, hashed_key, name_of
from .._observe.metrics import PoolCounters, PoolMetrics, PoolState, total_metrics, total_state
from .._protocol.fields import adds_acting_tools
from .._protocol.json import decode
from ..errors import TrunklineError
from .answering import answer
from .call import Call, KeyFunction, base_of
from .memory import Memory
from .outcome import Answer, Elsewhere
from .pools import pools
from .refusals import invalid_request
from .upstream import Settings, Upstream

ELSEWHERE: Final = Elsewhere()


class Door:
    """The entrance for the calls of one client.

    Args:
        settings: the settings of its sockets and turns.
        key: computes the keys of conversations from headers and fields.
        tenancy: names the callers that share a memory, where headers change; see `Pools.upstream`.
        is_open: calls may be answered over a WebSocket.

    Attributes:
        is_open: the same.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        key: KeyFunction | None = None,
        tenancy: Hashable = None,
        is_open: bool = True,
    ) -> None:
        self._settings = settings
        self._key = key
        self._tenancy = tenancy
        self.is_open: bool = is_open
        self._upstreams: weakref.WeakSet[Upstream] = weakref.WeakSet()
        self._counters: list[PoolCounters] = []
        self._pools = pools()

    async def take(self, call: Call) -> Answer | Elsewhere:
        """Answer a call, or send it elsewhere. Cancelling leaves the answer.

        Raises:
            Broken: the connection broke before the answer began.
        """
        if not self.is_open or running_loop() is None or not call.is_create:
            return ELSEWHERE
        self._begin_in_child()
        try:
            key = self._key_of(call)
            upstream = pools().upstream(call.url, call.upgrade_headers(), self._settings, self._tenancy)
        except _Refused as refused:
            return invalid_request(str(refused), KEY_HEADER)
        except (TrunklineError, ValueError, RecursionError):
            return ELSEWHERE  # the service names the fault
        if self not in upstream.users:
            upstream.users.add(self)
            self._upstreams.add(upstream)
            self._counters.append(upstream.counters)
        return await answer(upstream, call, key, self._settings)

    def acts(self, call: Call) -> bool:
        """Whether a call for a response may have side effects. ``False`` if it cannot be read."""
        assert call.body is not None
        try:
            wanted, body = self._memory_of(call).peek(call.body)
        except (TrunklineError, ValueError, RecursionError):
            return False
        # Few requests have such items: their histories are not searched.
        has_tools = b"additional_tools" in call.body
        return wanted.fields.acts or (has_tools and any(adds_acting_tools(item) for item in body.items))

    def knows(self, call: Call, response_id: str) -> bool:
        """Whether a response was delivered to callers that share the memory of a call."""
        return self._memory_of(call).lineage.knows(response_id)

    def outline(self, call: Call) -> bytes:
        """The body of a call without the items that it has from an earlier one that was taken.

        They need no second check by a caller of the same memory. The rest may be no JSON.
        """
        assert call.body is not None
        try:
            return self._memory_of(call).outline(call.body)
        except (TrunklineError, ValueError):
            return call.body

    def _memory_of(self, call: Call) -> Memory:
        return pools().upstream(call.url, call.upgrade_headers(), self._settings, self._tenancy).memory

    def hashed_key(self, call: Call) -> str | None:
        """The value of `KEY_HEADER` for a call that goes elsewhere; ``None`` unless that is a gateway.

        The key of the application itself goes to no server.
        """
        if not call.is_create or not pools().gateways.has(call.url):
            return None
        key = call.keys[0] if call.keys else self._computed_key(call) if self.is_open else None
        name = name_of(key)
        return None if name is None else hashed_key(name, dict(call.headers))

    def answered(self, call: Call, headers: Mapping[str, str]) -> None:
        """A call was answered elsewhere, with these headers."""
        pools().gateways.note(call.url, headers)

    def deleted(self, call: Call) -> None:
        """A response was deleted: it is not continued any more."""
        response_id = call.deleted
        if response_id is not None and running_loop() is not None:
            for memory in pools().memories(base_of(call.url)):
                memory.lineage.forget(response_id)

    @property
    def metrics(self) -> PoolMetrics:
        """The counters of the sockets that its calls used; other clients may share them."""
        return total_metrics([counters.snapshot() for counters in self._counters])

    def state(self) -> PoolState:
        """The sockets that its calls used, at this moment; other clients may share them."""
        return total_state([upstream.state() for upstream in self._upstreams])

    async def close(self) -> None:
        """Close the sockets that no other client uses. Idempotent."""
        self._begin_in_child()
        alone = []
        for upstream in list(self._upstreams):
            upstream.users.discard(self)
            if not upstream.users:
                alone.append(upstream)
        self._upstreams.clear()
        if alone:
            await pools().close(alone)

    def _begin_in_child(self) -> None:
        """Forget the sockets of the parent of a forked process."""
        if self._pools is not pools():
            self._pools = pools()
            self._upstreams = weakref.WeakSet()
            self._counters = []

    def _key_of(self, call: Call) -> Hashable:
        keys = call.keys
        if len(keys) > 1:
            raise _Refused(f"{KEY_HEADER} is given {len(keys)} times; give it once")
        if keys:
            return ("header", keys[0])
        found = self._computed_key(call)
        return None if found is None else ("function", found)

    def _computed_key(self, call: Call) -> Hashable:
        if self._key is None:
            return None
        assert call.body is not None
        fields = decode(call.body)
        return self._key(dict(call.headers), fields if isinstance(fields, dict) else {})


class _Refused(Exception):
    """The call is wrong in itself."""


__all__ = ["Door"]
