"""The openai SDK over HTTP: `responses.create(stream=True)`, with the whole history or chained by id."""

from __future__ import annotations

import json
from typing import Any

from openai import AsyncOpenAI

from clients.base import API_KEY, MODEL, Client, Heard, Seed, Talk, Told, next_order


class HttpTalk(Talk):
    """A list of items, and the id of the last response when chained."""

    def __init__(self, client: AsyncOpenAI, seed: Seed, *, chains: bool) -> None:
        self._client: Any = client
        self._chains = chains
        self._fixed: dict[str, Any] = {
            "model": MODEL,
            "instructions": seed.instructions,
            "tools": seed.definitions(),
        }
        self._items: list[Any] = seed.messages()

    def say(self, text: str) -> None:
        self._items.append({"type": "message", "role": "user", "content": text})

    def renew(self) -> None:
        self._items = json.loads(json.dumps(self._items))

    async def ask(self, heard: Heard | None = None, limit: int = 0) -> Told:
        deltas = 0
        stream = await self._client.responses.create(**self._fixed, input=self._items, stream=True)
        async with stream:
            async for event in stream:
                if event.type == "response.output_text.delta":
                    deltas += 1
                    if heard is not None:
                        heard(event.delta)
                    if deltas == limit:
                        return Told(deltas)
                elif event.type == "response.completed":
                    final = event.response
        return self._ended(deltas, final)

    def _ended(self, deltas: int, response: Any) -> Told:
        output = [item.model_dump(exclude_none=True) for item in response.output]
        if self._chains:
            self._fixed["previous_response_id"] = response.id
            self._items = []
        else:
            self._items += output
        return Told(deltas, calls=[item for item in output if item["type"] == "function_call"])

    async def work(self) -> Told:
        told = await self.ask()
        responses = 1
        while told.calls:
            for call in told.calls:
                output = next_order(json.loads(call["arguments"])["left"])
                item = {"type": "function_call_output", "call_id": call["call_id"], "output": output}
                self._items.append(item)
            told = await self.ask()
            responses += 1
        return Told(told.deltas, responses)


class OpenaiHttp(Client):
    """One client; the whole history each turn."""

    speed = 10_000
    chains = False

    async def open(self, url: str) -> None:
        self._client = AsyncOpenAI(base_url=url, api_key=API_KEY)

    async def talk(self, seed: Seed) -> Talk:
        return HttpTalk(self._client, seed, chains=self.chains)

    async def warm(self, sockets: int) -> None:
        await self._client.models.list()

    async def close(self) -> None:
        await self._client.close()


class OpenaiHttpChained(OpenaiHttp):
    """One client; chained by `previous_response_id`."""

    chains = True
