"""The gateway as an ASGI application, without framework and middleware.

======================================  ==============================================================
``POST …/responses``                    a turn over a warm socket
``GET …/responses`` with an upgrade     lanes over one socket
``GET /healthz``, ``GET /readyz``       whether the process runs; whether it takes new requests
anything else below the base path       passed on, for callers with a key of their own
======================================  ==============================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from .._face.call import Call, Header
from .._face.outcome import Answer, Broken
from .._face.sse import KEEP_ALIVE
from .._network.world import World
from .admission import Gate
from .asgi import (
    MARK,
    Disconnected,
    Message,
    Receive,
    Scope,
    Send,
    headers_of,
    path_of,
    query_of,
    raw_path_of,
    send_whole,
    start_of,
)
from .body import Bodies
from .caller import Caller, callers_of, own_allowance
from .configuration import Configuration, is_loopback
from .failures import answer_to, cut_short, event_of_error
from .life import CUT_S, Cut, Life
from .measures import Measures
from .refusal import Refused
from .responses import Responses
from .sockets import Sockets
from .streamed import ENDS_OF_EVENTS, EVENTS
from .upward import chunks_of, headers_down, upward_headers

if TYPE_CHECKING:
    from .ledger import Ledger

BASE: Final = "/v1"
_RESPONSES: Final = "/responses"
_SHARED: Final = "POST /v1/responses, the WebSocket at /v1/responses, and GET or DELETE of a response"


class Gateway:
    """An ASGI application.

    Args:
        configuration: the configuration.
        world: clock, chance and network.

    Attributes:
        configuration: as given.
        life: the stage of the process.
        measures: the metrics.
        callers: the tenants by name.
    """

    def __init__(self, configuration: Configuration, *, world: World | None = None) -> None:
        world = self._world = world or World()
        self.configuration: Configuration = configuration
        self.life: Life = Life(configuration.drain)
        self.measures: Measures = Measures()
        self._ledger = self._ledger_of(configuration)
        self._use(self._callers_of(configuration))
        self._gate = Gate(configuration)
        bodies = Bodies(configuration.bounds)
        self._bodies = bodies
        self._responses = Responses(bodies, self.life, world, configuration.bounds.unread_s)
        self._sockets = Sockets(configuration.bounds, bodies, self.life, world)

    def _ledger_of(self, configuration: Configuration) -> Ledger | None:
        if configuration.shared is None:
            return None
        from .ledger import Ledger  # with the extra gateway-shared

        return Ledger(configuration.shared, self.measures.lease_failed, self._world)

    def _callers_of(self, configuration: Configuration) -> Mapping[str, Caller]:
        allowance_of = own_allowance if self._ledger is None else self._ledger.allowance
        return callers_of(configuration, self.measures.hooks, self._world, allowance_of)

    def _use(self, callers: Mapping[str, Caller]) -> None:
        self.callers: Mapping[str, Caller] = callers
        self.measures.watch(self.life, callers)
        if self._ledger is not None:
            self._ledger.watch({name: caller.allowance for name, caller in callers.items()})

    async def open(self) -> None:
        """Lease shared limits ahead, so that the first turns find some."""
        if self._ledger is not None:
            await self._ledger.open()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or request."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)

    async def reconfigure(self, configuration: Configuration) -> None:
        """Use another configuration: tenants, keys, upstreams and bounds of callers.

        Tenants whose settings are equal keep their sockets. WebSockets of revoked keys are closed; running
        answers over HTTP end. ``listen``, ``admin``, ``drain``, ``bounds`` and ``shared`` need another
        process.
        """
        new = self._callers_of(configuration)
        kept = {
            name: self.callers[name]
            for name, caller in new.items()
            if name in self.callers and self.callers[name].settings == caller.settings
        }
        old = self.callers
        self._use({**new, **kept})
        self.configuration, self._gate = configuration, Gate(configuration)
        await self._sockets.revoke(self._serves_still)
        for name, caller in old.items():
            if name not in kept:
                await caller.close()

    def _serves_still(self, caller: Caller, headers: Sequence[Header]) -> bool:
        try:
            return self.callers[self._gate.tenant(headers)] is caller
        except Refused:
            return False

    async def drain(self) -> None:
        """Give notice, take no new work, and return when the last answer has ended, or time is up."""
        ending = asyncio.ensure_future(self.life.drain())
        try:
            while self.life.takes_work:
                await self.life.changed()
            closing = asyncio.ensure_future(self._sockets.drain())
            await asyncio.wait({ending, closing}, return_when=asyncio.FIRST_COMPLETED)
            await ending
            await asyncio.wait({closing}, timeout=CUT_S)
        finally:
            ending.cancel()

    async def close(self) -> None:
        """Close all sockets, inward and upward."""
        await self._sockets.close()
        for caller in self.callers.values():
            await caller.close()
        if self._ledger is not None:
            await self._ledger.close()

    # Connections.

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.open()
                await send({"type": "lifespan.startup.complete"})
            else:
                # A server of others stops accepting before this: running answers may end.
                if self.life.takes_work:
                    await self.drain()
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = _Begun(send)
        self.life.begin()
        try:
            await self._route(scope, receive, begun)
        except Refused as refused:
            if not begun.started:
                await send_whole(begun, refused.answer(), closes=not self.life.takes_work)
        except Broken as broken:
            if begun.started:
                raise  # the server cuts the connection: the answer is not complete
            await send_whole(begun, answer_to(broken))
        except Disconnected:
            self.measures.left()
        except Cut as cut:
            await self._end(begun, cut)
        finally:
            self.life.end()

    async def _end(self, begun: _Begun, cut: Cut) -> None:
        """End an answer for which the drain has no time."""
        if begun.is_complete:
            return
        refused = cut_short(is_repeatable=not (begun.has_output or cut.acts))
        try:
            async with asyncio.timeout(CUT_S / 2):
                if not begun.started:
                    await send_whole(begun, refused.answer(), closes=True)
                elif begun.may_have_event:
                    await begun({"type": "http.response.body", "body": event_of_error(refused.event())})
                else:
                    raise Broken(str(refused))  # as another answer that is not complete
        except TimeoutError:  # the caller takes nothing
            self.measures.left()

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], path_of(scope)
        if method in ("GET", "HEAD") and path in ("/healthz", "/readyz"):
            await send_whole(send, self._health(path))
            return
        self._check_place(scope)
        headers = headers_of(scope)
        creates = method == "POST" and path == BASE + _RESPONSES
        self._gate.check(headers, sends_json=creates)
        caller = self.callers[self._gate.tenant(headers)]
        if not self.life.takes_work:
            raise Refused(503, "the gateway is shutting down; try again", retry_after_s=1.0)
        if creates:
            await self._responses.create(caller, headers, query_of(scope), receive, send)
        else:
            try:
                with self.life.until_cut():
                    await self._pass_on(caller, scope, raw_path_of(scope), receive, send)
            except Cut:
                raise Cut(acts=method not in ("GET", "HEAD")) from None

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        try:
            self._check_place(scope)
            if path_of(scope) != BASE + _RESPONSES:
                raise Refused(404, f"there is no WebSocket at {scope['path']}; use {BASE}{_RESPONSES}")
            self._gate.check(headers, sends_json=False)
            caller = self.callers[self._gate.tenant(headers)]
            if not self.life.takes_work:
                raise Refused(503, "the gateway is shutting down; try again", retry_after_s=1.0)
            await self._sockets.serve(caller, headers, query_of(scope), receive, send)
        except Refused as refused:
            await _refuse_upgrade(scope, send, refused)

    def _health(self, path: str) -> Answer:
        is_well = path == "/healthz" or self.life.is_ready
        status, word = (200, b"ok") if is_well else (503, b"draining")
        return Answer(status, (("content-type", "text/plain"),), word)

    def _check_place(self, scope: Scope) -> None:
        """Without tenants, the application serves this machine alone, whichever server runs it."""
        server = scope.get("server")
        if self.configuration.tenants or not server or server[1] is None:
            return
        if not is_loopback(str(server[0])):
            raise Refused(403, "without tenants the gateway serves its own machine alone")

    async def _pass_on(self, caller: Caller, scope: Scope, path: str, receive: Receive, send: Send) -> None:
        """Pass a request for something else on to the upstream."""
        below = path.removeprefix(BASE)
        if not path.startswith(f"{BASE}/"):
            raise Refused(404, f"{path} is not served; the base URL ends in {BASE}")
        call = Call(scope["method"], caller.url(below, query_of(scope)), headers_of(scope), None)
        if caller.is_shared:
            self._check_shared(caller, call, below)
        up = upward_headers(call.headers, caller.credentials)
        response = await caller.upward.send(call.method, call.url, up, _body_of(call, receive))
        if response.is_success:
            caller.door.deleted(call)
        await send(start_of(response.status_code, headers_down(response)))
        async for chunk in chunks_of(response):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _check_shared(self, caller: Caller, call: Call, below: str) -> None:
        """With a shared key, only responses that this tenant was given are open to it."""
        parts = below.removeprefix(_RESPONSES).strip("/").split("/")
        up = upward_headers(call.headers, caller.credentials)
        create = Call("POST", caller.url(_RESPONSES, ""), up, None)
        is_own = below.startswith(f"{_RESPONSES}/") and caller.door.knows(create, parts[0])
        is_open = (call.method in ("GET", "DELETE") and len(parts) == 1) or (
            call.method == "GET" and parts[1:] == ["input_items"]
        )
        if not (is_own and is_open):
            raise Refused(404, f"{BASE}{below} is not served for this key; served are {_SHARED}")


class _Begun:
    """The callable ``send``, which follows the answer and marks it as the gateway's.

    Attributes:
        started: the head was sent.
        has_output: a part of the body was sent.
    """

    def __init__(self, send: Send) -> None:
        self.started = False
        self.has_output = False
        self._send = send
        self._is_stream = False
        self._last: Message | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the end of the body was sent."""
        return self._last is not None and not self._last.get("more_body")

    @property
    def may_have_event(self) -> bool:
        """Whether an event may follow: the answer is a stream of events, and not within one."""
        return self._is_stream and (self._last is None or self._last["body"].endswith(ENDS_OF_EVENTS))

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self._is_stream = any(
                name == b"content-type" and value.startswith(EVENTS.encode())
                for name, value in message["headers"]
            )
            message["headers"] = [*message["headers"], MARK]
            await self._send(message)
        else:
            await self._send(message)
            self._last = message  # a cancelled write has sent nothing
            self.has_output = self.has_output or message["body"] != KEEP_ALIVE


def _body_of(call: Call, receive: Receive) -> AsyncIterator[bytes] | None:
    names = {name for name, _ in call.headers}
    if "content-length" not in names and "transfer-encoding" not in names:
        return None
    return _received(receive)


async def _received(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def _refuse_upgrade(scope: Scope, send: Send, refused: Refused) -> None:
    """Answer an upgrade with a status, where the server can; otherwise it says 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    answer = refused.answer()
    assert isinstance(answer.body, bytes)
    start = start_of(answer.status, [*answer.headers, ("content-length", str(len(answer.body)))])
    headers = [*start["headers"], MARK]
    await send({**start, "headers": headers, "type": "websocket.http.response.start"})
    await send({"type": "websocket.http.response.body", "body": answer.body})


__all__ = ["BASE", "Gateway"]
