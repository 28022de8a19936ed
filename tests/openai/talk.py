"""The openai SDK with the drop-in, and without it, against an emulator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx2
from openai import APIConnectionError, AsyncOpenAI

import trunkline.openai
from trunkline.emulator import Emulator

JSON = dict[str, Any]
BROKEN = (APIConnectionError, httpx2.RemoteProtocolError)
"""What the SDK raises where a stream breaks: its newest versions, and the oldest."""


def plain(emulator: Emulator, **options: Any) -> AsyncOpenAI:
    """The SDK as it is."""
    given: JSON = {
        "base_url": emulator.base_url,
        "api_key": emulator.api_key or "sk-any",
        "max_retries": 0,
        **options,
    }
    return AsyncOpenAI(**given)


def dropin(emulator: Emulator, *, of_transport: JSON | None = None, **options: Any) -> AsyncOpenAI:
    """The SDK with the drop-in, with lanes."""
    http = trunkline.openai.async_http_client(**{"lanes": True, **(of_transport or {})})
    return plain(emulator, http_client=http, **options)


def transport_of(client: AsyncOpenAI) -> trunkline.openai.AsyncTransport:
    """The transport of a client made by `dropin`."""
    http: httpx2.AsyncClient = client._client
    transport = http._transport
    assert isinstance(transport, trunkline.openai.AsyncTransport)
    return transport


def user(text: str) -> JSON:
    return {"role": "user", "content": text}


def sent_back(output: Sequence[Any]) -> list[JSON]:
    """The output of a response as the documentation of the SDK sends it back: with ids and all fields."""
    return [item.model_dump(exclude_none=True) for item in output]


class Modes:
    """Sends requests, and notes how each was sent.

    Attributes:
        client: the client.
        seen: the mode of each request; ``http`` for one that went to the HTTP transport.
    """

    def __init__(self, client: AsyncOpenAI) -> None:
        self.client = client
        self.seen: list[str] = []

    async def create(self, **body: Any) -> Any:
        """A response, not streamed."""
        raw = await self.client.responses.with_raw_response.create(**{"model": "echo", **body})
        self.seen.append(raw.headers.get("x-trunkline-mode", "http"))
        return raw.parse()

    async def stream(self, **body: Any) -> Any:
        """A response that was streamed."""
        async with self.client.responses.stream(**{"model": "echo", **body}) as stream:
            async for _ in stream:
                pass
            self.seen.append(stream._response.headers.get("x-trunkline-mode", "http"))
            return await stream.get_final_response()
