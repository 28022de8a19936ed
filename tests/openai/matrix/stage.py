"""One case of the matrix: a conversation of the SDK that meets a fault in its second request."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Protocol

import httpx2
from openai import APIStatusError, AsyncOpenAI, OpenAI

import trunkline.openai
from trunkline.emulator import Emulator, Fault, Gate, Prompt, Step, words

from ...waiting import TIME_SCALE
from ..talk import JSON, sent_back, user
from .table import Case, Outcome, Phase, Shape, Way

READ_S = 1.5 * TIME_SCALE
"""The read timeout where the server falls silent. The repeated request has to meet it as well."""
PATIENCE_S = 20 * TIME_SCALE
MODEL = "words-8"
FAILING = "failing"
_PLACES: dict[Phase, JSON] = {
    Phase.BEFORE: {"event": 2},
    Phase.AMID: {"event": 8, "event_type": "response.output_text.delta"},
}
_HELD_AT = 7
"""The event before the fault amid output. It is held until the caller has text."""
_MCP: JSON = {"type": "mcp", "server_label": "wiki", "server_url": "https://mcp.example.com"}


@cache
def _tls() -> ssl.SSLContext:
    """Shared by all cases, because loading the authorities takes longer than a case."""
    return ssl.create_default_context()


@dataclass
class Asked:
    """One call of the SDK, and what came of it.

    Attributes:
        held: the items of the caller, with the new one.
        outcome: what the caller saw.
        response: the response.
        text: the text of a stream, as its deltas.
        gate: opened with the first text.
    """

    held: list[JSON]
    outcome: Outcome = field(default_factory=Outcome)
    response: Any = None
    text: str = ""
    gate: Gate | None = None

    def take(self, event: Any) -> None:
        """Take an event of a stream."""
        if event.type == "response.output_text.delta":
            self.text += event.delta
            if self.gate is not None:
                self.gate.open()
        elif event.type in ("response.completed", "response.failed", "response.incomplete"):
            self.response = event.response


class Sdk(Protocol):
    """A client of the SDK that counts its attempts."""

    tries: int

    async def call(self, asked: Asked, body: JSON) -> None:
        """Make a call. Raises what the SDK raises."""
        ...


class Async:
    """The asynchronous client."""

    def __init__(self, client: AsyncOpenAI, http: httpx2.AsyncClient) -> None:
        self.tries = 0
        self._client = client
        http.event_hooks = {"request": [self._count]}

    async def _count(self, request: object) -> None:
        self.tries += 1

    async def call(self, asked: Asked, body: JSON) -> None:
        found: Any = await self._client.responses.create(**body)
        if body.get("stream"):
            async with found as stream:
                async for event in stream:
                    asked.take(event)
        else:
            asked.response = found


class Sync:
    """The synchronous client, in another thread."""

    def __init__(self, client: OpenAI, http: httpx2.Client) -> None:
        self.tries = 0
        self._client = client
        http.event_hooks = {"request": [self._count]}

    def _count(self, request: object) -> None:
        self.tries += 1

    async def call(self, asked: Asked, body: JSON) -> None:
        await asyncio.to_thread(self._call, asked, body)

    def _call(self, asked: Asked, body: JSON) -> None:
        found: Any = self._client.responses.create(**body)
        if body.get("stream"):
            with found as stream:
                for event in stream:
                    asked.take(event)
        else:
            asked.response = found


class Stage:
    """An emulator, a client of the SDK, and the conversation of a case.

    Args:
        case: the case.

    Attributes:
        emulator: the emulator.
        asked: the calls: before the fault (except at the upgrade), with it, and after it.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.emulator = Emulator()
        self.emulator.add_model(FAILING, self._fail)
        self.asked: list[Asked] = []

    @property
    def struck(self) -> Asked:
        """The call that met the fault."""
        return self.asked[-2]

    @property
    def has_struck(self) -> bool:
        """Whether the fault occurred."""
        wanted = {fault.action for fault in self.case.row.faults}
        return wanted <= {fired.action for fired in self.emulator.faults.fired}

    async def play(self) -> None:
        """Play the case."""
        async with self.emulator, self._sdk() as sdk:
            if self.case.row.phase is not Phase.UPGRADE:
                await self._ask(sdk, "before")
            gate = None
            if self.case.row.phase is Phase.AMID:
                gate = self.emulator.faults.hold(event=_HELD_AT)
            for fault in self._faults():
                self.emulator.faults.add(fault)
            more: JSON = {"stream": self.case.shape is Shape.STREAM}
            if self.case.row.model is not None:
                more["model"] = FAILING
            await self._ask(sdk, "with it", gate, **more)
            self.emulator.faults.clear()
            await self._ask(sdk, "after")

    async def _ask(self, sdk: Sdk, text: str, gate: Gate | None = None, **more: Any) -> None:
        held = [*self.asked[-1].held] if self.asked else []
        if self.asked and self.asked[-1].response is not None:
            held += sent_back(self.asked[-1].response.output)
        asked = Asked([*held, user(text)], gate=gate)
        self.asked.append(asked)
        row = self.case.row
        body = {"model": MODEL, "input": asked.held, "store": row.is_stored} | more
        if row.acts:
            body["tools"] = [_MCP]
        tries, requests = sdk.tries, len(self.emulator.requests)
        try:
            await sdk.call(asked, body)
            status = asked.response.status if asked.response is not None else "error event"
            outcome = Outcome(status=status if status != "completed" else None)
        except Exception as error:
            cause = error.__cause__
            outcome = Outcome(
                type(error).__name__,
                error.status_code if isinstance(error, APIStatusError) else None,
                type(cause).__name__ if isinstance(cause, httpx2.TransportError) else None,
            )
        asked.outcome = replace(
            outcome, tries=sdk.tries - tries, requests=len(self.emulator.requests) - requests
        )

    def _faults(self) -> list[Fault]:
        times = None if self.case.lasts else 1
        place = _PLACES.get(self.case.row.phase, {})
        return [
            replace(fault, times=times, **({} if fault.event_type else place))
            for fault in self.case.row.faults
        ]

    def _fail(self, prompt: Prompt) -> list[Step]:
        step = self.case.row.model
        assert step is not None
        is_amid = self.case.row.phase is Phase.AMID
        return [replace(step, deltas=words("one two three four five six") if is_amid else ())]

    @asynccontextmanager
    async def _sdk(self) -> AsyncIterator[Sdk]:
        case, emulator = self.case, self.emulator
        read_s = READ_S if case.row.is_silence else PATIENCE_S
        given: JSON = {
            "base_url": emulator.base_url,
            "api_key": emulator.api_key,
            "max_retries": 1,
            "timeout": httpx2.Timeout(PATIENCE_S, read=read_s, connect=read_s),
        }
        is_plain = case.way is Way.HTTP
        options: JSON = {"lanes": True, "ssl_context": _tls()}
        if case.is_sync:
            http = httpx2.Client(verify=_tls()) if is_plain else trunkline.openai.http_client(**options)
            client = OpenAI(http_client=http, **given)
            yield Sync(client, http)
            await asyncio.to_thread(client.close)
        else:
            http_async = (
                httpx2.AsyncClient(verify=_tls())
                if is_plain
                else trunkline.openai.async_http_client(**options)
            )
            async with AsyncOpenAI(http_client=http_async, **given) as async_client:
                yield Async(async_client, http_async)
