"""The openai SDK with the drop-in: the same code as `openai_http`, with another HTTP client."""

from __future__ import annotations

from openai import AsyncOpenAI

import trunkline.openai
from clients.base import API_KEY
from clients.openai_http import OpenaiHttp


class OpenaiDropin(OpenaiHttp):
    """One client; the whole history each turn."""

    async def open(self, url: str) -> None:
        http = trunkline.openai.async_http_client(lanes=True)
        self._client = AsyncOpenAI(base_url=url, api_key=API_KEY, http_client=http)

    async def warm(self, sockets: int) -> None:
        await self._client.responses.create(model="bench", input="Hello!")


class OpenaiDropinChained(OpenaiDropin):
    """One client; chained by `previous_response_id`."""

    chains = True
