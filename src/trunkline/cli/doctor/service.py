"""The doctor's service checks: upgrade, key, lanes, warm-up, first token over WebSocket and HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import monotonic

from ..._network import websocket
from ..._network.endpoint import OPENAI_HOST, Endpoint
from ..._network.websocket import WebSocket
from ..._protocol.decoding import decode
from ..._protocol.events import ErrorEvent, EventKind, ReceivedEvent
from ...client import Client
from ...conversation import Conversation
from ...errors import ConnectionLost, ProtocolViolation, UpgradeRefused
from ...options import Policy
from .findings import Finding, Found, Verdict, advice_for, examine, skipped
from .gateway import GATEWAY, UPSTREAM, is_gateway, readiness, upstream

WEBSOCKET_TURN = "first token, WebSocket"
HTTP_TURN = "first token, HTTP"

_WORDS = "Say the word ready."
_LANES = ("doctor-1", "doctor-2")
_NO_SOCKET = "needs WebSocket"
_ONE_AT_A_TIME = "Each turn needs its own socket: Client(lanes=False), the default except for api.openai.com."


@dataclass(frozen=True, slots=True)
class Service:
    """The endpoint to check and the settings of its checks."""

    base_url: str = field(repr=False)
    api_key: str = field(repr=False)
    model: str
    headers: dict[str, str] = field(repr=False)
    within_s: float


async def service(asked: Service) -> AsyncIterator[Finding]:
    """Check the service over WebSocket and HTTP."""
    desk = _Desk(asked)
    key_is_good = True
    async for finding in desk.upgraded():
        key_is_good = key_is_good and (finding.name, finding.verdict) != ("key", Verdict.FAILED)
        yield finding
    async for finding in desk.over_websocket():
        yield finding
    if key_is_good:
        yield await examine(HTTP_TURN, desk.http, within_s=asked.within_s, needed=False)
    else:
        yield skipped(HTTP_TURN, "the key was refused")
    if key_is_good and desk.is_gateway:
        yield await examine(UPSTREAM, desk.upstream, within_s=asked.within_s, needed=False)


class _Desk:
    """The checks, and the results that later ones depend on."""

    def __init__(self, asked: Service) -> None:
        self._asked = asked
        self._endpoint = Endpoint.of(asked.base_url)
        self._has_socket = False
        self._has_lanes = False
        self._is_gateway = False
        self._refusal: UpgradeRefused | None = None

    async def upgraded(self) -> AsyncIterator[Finding]:
        """Check the upgrade, the key and the lanes."""
        yield await examine("upgrade", self._upgrade, within_s=self._asked.within_s)
        if self._is_gateway:
            url = self._endpoint.http_url
            yield await examine(GATEWAY, lambda: readiness(url), within_s=self._asked.within_s, needed=False)
        if self._refusal is not None:
            advice = advice_for(self._refusal)
            yield Finding("key", Verdict.FAILED, str(self._refusal), None, advice)
        elif self._has_socket:
            yield Finding("key", Verdict.OK, "accepted at the upgrade")
        else:
            yield skipped("key", _NO_SOCKET)
        if self._has_socket:
            yield await examine("lanes", self._lanes, within_s=self._asked.within_s, needed=False)
        else:
            yield skipped("lanes", _NO_SOCKET)

    async def over_websocket(self) -> AsyncIterator[Finding]:
        """Check a conversation over WebSocket."""
        if not self._has_socket:
            for name in ("warm-up", WEBSOCKET_TURN):
                yield skipped(name, _NO_SOCKET)
            return
        within_s = self._asked.within_s
        async with self._client("websocket") as client:
            chat = client.conversation(model=self._asked.model, store=False)
            yield await examine(
                "warm-up", lambda: self._warm_up(client, chat), within_s=within_s, needed=False
            )
            yield await examine(WEBSOCKET_TURN, lambda: _answer(chat), within_s=within_s)

    async def http(self) -> Found:
        """Check a turn over HTTP."""
        import httpx2  # noqa: F401 - imported here, so that the measured time excludes the import

        async with self._client("http") as client:
            return await _answer(client.conversation(model=self._asked.model, store=False))

    @property
    def is_gateway(self) -> bool:
        """Whether the upgrade was answered by a trunkline gateway."""
        return self._is_gateway

    async def upstream(self) -> Found:
        """Check how a gateway sends a turn upstream."""
        request = {"model": self._asked.model, "input": _WORDS, "store": False}
        return await upstream(self._endpoint.http_url, self._asked.headers, request)

    async def _upgrade(self) -> Found:
        try:
            socket = await self._dial(_Inbox())
        except UpgradeRefused as error:
            self._is_gateway = is_gateway(error.headers)
            if error.status not in (401, 403):
                raise
            self._refusal = error
            return Found("not checked: the key was refused", verdict=Verdict.SKIPPED)
        await _ended(socket)
        self._has_socket = True
        self._is_gateway = socket.is_gateway
        return Found("the server speaks WebSocket")

    async def _lanes(self) -> Found:
        """Send two concurrent requests on two lanes; their events must carry the lane."""
        inbox = _Inbox()
        socket = await self._dial(inbox)
        try:
            for lane in _LANES:
                socket.send(self._request(lane))
            waiting = set(_LANES)
            while waiting:
                event = decode(await inbox.next())
                if event.stream_id not in _LANES:
                    return Found(_without_lanes(event), _ONE_AT_A_TIME, Verdict.WARNING)
                if event.kind.is_terminal or event.kind is EventKind.ERROR:
                    waiting.discard(event.stream_id)
        finally:
            await _ended(socket)
        self._has_lanes = True
        hint = ": enable it with Client(lanes=True)"
        if self._is_gateway:
            hint = " to the gateway; Client uses lanes without being told"
        elif self._endpoint.host == OPENAI_HOST:
            hint = ""
        return Found(f"turns can share a socket{hint}")

    async def _warm_up(self, client: Client, chat: Conversation) -> Found:
        await client.warm(model=self._asked.model)
        began = monotonic()
        await chat.warm()
        return Found("the service can process a prompt before its first turn", seconds=monotonic() - began)

    def _request(self, lane: str) -> bytes:
        request = {"type": "response.create", "model": self._asked.model, "input": _WORDS, "store": False}
        return json.dumps({**request, "generate": False, "stream_id": lane}).encode()

    async def _dial(self, inbox: _Inbox) -> WebSocket:
        url = self._endpoint.websocket_url_for(self._asked.model)
        return await websocket.dial(url, headers=self._asked.headers, receiver=inbox)

    def _client(self, transport: str) -> Client:
        return Client(
            base_url=self._asked.base_url,
            api_key=self._asked.api_key,
            transport="http" if transport == "http" else "websocket",
            lanes=self._has_lanes,
            policy=Policy(max_attempts=1),
        )


class _Inbox:
    """A receiver whose messages can be awaited."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[bytes | ConnectionLost | ProtocolViolation] = asyncio.Queue()

    def on_message(self, payload: bytes) -> None:
        """Store a message."""
        self._arrived.put_nowait(payload)

    def on_close(self, error: ConnectionLost | ProtocolViolation) -> None:
        """Store the end of the connection."""
        self._arrived.put_nowait(error)

    async def next(self) -> bytes:
        """Return the next message, or raise the error that ended the connection."""
        arrived = await self._arrived.get()
        if isinstance(arrived, bytes):
            return arrived
        raise arrived


async def _ended(socket: WebSocket) -> None:
    socket.close()
    socket.abort()
    await socket.wait_closed()


async def _answer(chat: Conversation) -> Found:
    async with chat.send(_WORDS) as stream:
        response = await stream.finish()
    metrics = stream.metrics
    if metrics.first_output_s is None:
        return Found(f"no output: the response is {response.status}", verdict=Verdict.WARNING)
    first_s = metrics.ttft_s if metrics.ttft_s is not None else metrics.first_output_s
    sent = "the new items" if metrics.mode == "delta" else "the whole context"
    return Found(
        f"{metrics.bytes_sent} bytes sent, {sent}; complete after {metrics.total_s:.2f} s", seconds=first_s
    )


def _without_lanes(event: ReceivedEvent) -> str:
    if isinstance(event, ErrorEvent):
        return f"the service refused a request with a stream_id: {event.code or event.status or 'no code'}"
    return "events carry no stream_id"
