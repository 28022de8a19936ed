"""Requests for responses over HTTP: admitted, and answered over warm sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from .._face.call import Call, Header, Timeouts
from .._face.outcome import Broken, Elsewhere
from .._network.gateways import KEY_HEADER
from .._network.world import World
from .admission import check_model
from .asgi import Disconnected, Receive, Send, send_whole
from .body import Bodies
from .caller import Caller
from .failures import answer_to
from .forwarding import forwarded
from .life import Cut, Life
from .refusal import Refused
from .screening import check_ids, outlined, value_of
from .streamed import Streamed
from .upward import upward_headers

_READ_S: Final = 600.0
"""The silence of an answer. Callers with a shorter limit of their own leave earlier."""


class Responses:
    """The resource ``/responses``.

    Args:
        bodies: the memory for bodies.
        life: the stage of the process.
        world: the clock and its timers.
        unread_s: the time in which callers must take what was written, in seconds.
    """

    def __init__(self, bodies: Bodies, life: Life, world: World, unread_s: float) -> None:
        self._bodies = bodies
        self._life = life
        self._world = world
        self._unread_s = unread_s

    async def create(
        self, caller: Caller, headers: Sequence[Header], query: str, receive: Receive, send: Send
    ) -> None:
        """Answer one request for a response.

        Raises:
            Refused: it is not passed on.
            Disconnected: the caller has gone.
            Cut: the drain has no time for it.
        """
        coding, call = dict(headers).get("content-encoding", ""), None
        try:
            with self._life.until_cut(), self._bodies.hold(caller.name) as hold:
                body = await self._bodies.read(receive, coding, hold)
                with taken(caller, self._world):
                    call, is_stream = admitted(caller, headers, query, body)
                    work = asyncio.ensure_future(self._answer(caller, call, send, is_stream=is_stream))
                    await _unless_gone(work, receive)
        except Cut:
            raise Cut(acts=call is not None and caller.door.acts(call)) from None

    async def _answer(self, caller: Caller, call: Call, send: Send, *, is_stream: bool) -> None:
        streamed = Streamed(send, self._world, self._unread_s)
        begins = is_stream and caller.door.acts(call)
        if begins:
            # A balancer repeats a request without an answer. One that may act must not run twice.
            await streamed.begin()
        try:
            outcome = await caller.door.take(call)
            if isinstance(outcome, Elsewhere):
                outcome = await forwarded(caller, call, outcome)
        except Broken as broken:
            outcome = answer_to(broken)
        if isinstance(outcome.body, bytes) and not begins:
            await send_whole(send, outcome, closes=not self._life.takes_work)
        else:
            await streamed.write(outcome)


class taken:  # noqa: N801 - a context manager
    """One turn of a caller's allowance.

    Raises:
        Refused: the caller has to wait.
    """

    def __init__(self, caller: Caller, world: World) -> None:
        self._caller = caller
        self._world = world

    def __enter__(self) -> None:
        wait_s = self._caller.allowance.take(self._world.clock())
        if wait_s and self._caller.allowance.is_suspended:
            raise Refused(
                503,
                f"the limit of {self._caller.name} is shared with other replicas, and the shared limits are "
                "not available; try again",
                code="shared_limits_unavailable",
                retry_after_s=wait_s,
            )
        if wait_s:
            raise Refused(
                429,
                f"the limit of {self._caller.name or 'this gateway'} is reached; try again in {wait_s:.3g} s",
                code="rate_limit_exceeded",
                retry_after_s=wait_s,
            )

    def __exit__(self, *_: object) -> None:
        self._caller.allowance.give_back()


def admitted(
    caller: Caller,
    headers: Sequence[Header],
    query: str,
    body: bytes,
    *,
    generate: bool = True,
) -> tuple[Call, bool]:
    """The call upward for a request, and whether it asks for a stream of events.

    Args:
        caller: the caller.
        headers: the header fields of the request, with names in lower case.
        query: its query.
        body: its body, decompressed.
        generate: ``False`` for a warm-up.

    Raises:
        Refused: the request is not passed on.
    """
    up = upward_headers(headers, caller.credentials)
    # Each query and each value of these headers has sockets of its own.
    url = caller.url("/responses", "" if caller.is_shared else query)
    caller.check_features(up)
    keys = [(name, value) for name, value in headers if name == KEY_HEADER]
    call = Call("POST", url, [*up, *keys], body, generate=generate)
    # What an earlier body of the same memory began with was checked then.
    sent, outline, members = outlined(
        body, lambda given: caller.door.outline(replace(call, body=given)), stores=caller.allows_store
    )
    if caller.tenant is not None:
        check_model(caller.tenant, value_of(members, "model"))
    if caller.is_shared:
        check_ids(outline, members, lambda response_id: caller.door.knows(call, response_id))
    is_stream = bytes(members.get("stream", b"")) == b"true"
    limit_s = (caller.first_output_s if is_stream else None) or _READ_S
    return replace(call, body=sent, timeouts=Timeouts(None, limit_s)), is_stream


async def _unless_gone(work: asyncio.Future[None], receive: Receive) -> None:
    """Wait for the work, or cancel it when the caller has gone.

    Raises:
        Disconnected: the caller has gone.
    """
    watch = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watch.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
    if work.cancelled():
        raise Disconnected
    work.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


__all__ = ["Responses", "admitted", "taken"]
