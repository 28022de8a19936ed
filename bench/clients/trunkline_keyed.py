"""trunkline, with a history that the application keeps: all items and a key, each turn."""

from __future__ import annotations

import copy
from itertools import count

from msgspec import json

from clients.base import MODEL, Heard, Seed, Talk, Told, next_order
from clients.trunkline_conversation import TrunklineConversation
from trunkline import Client as Trunkline
from trunkline import Response
from trunkline.events import OutputTextDelta


class KeyedTalk(Talk):
    """A list of items and a key."""

    def __init__(self, client: Trunkline, key: str, seed: Seed) -> None:
        self._client = client
        self._key = key
        self._history = seed.messages()
        self._tools = seed.definitions()
        self._instructions = seed.instructions

    def say(self, text: str) -> None:
        self._history.append({"type": "message", "role": "user", "content": text})

    def renew(self) -> None:
        self._history = json.decode(json.encode(self._history))
        self._tools = copy.deepcopy(self._tools)

    async def ask(self, heard: Heard | None = None, limit: int = 0) -> Told:
        deltas = 0
        stream = self._client.stream(
            model=MODEL,
            input=self._history,
            instructions=self._instructions,
            tools=self._tools,
            key=self._key,
        )
        async with stream:
            async for event in stream:
                if type(event) is OutputTextDelta:
                    deltas += 1
                    if heard is not None:
                        heard(event.delta)
                    if deltas == limit:
                        text = stream.received_text
                        self._history.append({"type": "message", "role": "assistant", "content": text})
                        return Told(deltas)
        return self._ended(deltas, stream.response)

    def _ended(self, deltas: int, response: Response) -> Told:
        self._history += response.output
        return Told(deltas, calls=response.tool_calls)

    async def work(self) -> Told:
        told = await self.ask()
        responses = 1
        while told.calls:
            for call in told.calls:
                output = next_order(json.decode(call["arguments"])["left"])
                item = {"type": "function_call_output", "call_id": call["call_id"], "output": output}
                self._history.append(item)
            told = await self.ask()
            responses += 1
        return Told(told.deltas, responses)


class TrunklineKeyed(TrunklineConversation):
    """One client; each conversation is a key."""

    async def open(self, url: str) -> None:
        await super().open(url)
        self._keys = count()

    async def talk(self, seed: Seed) -> Talk:
        return KeyedTalk(self._client, f"key-{next(self._keys)}", seed)
