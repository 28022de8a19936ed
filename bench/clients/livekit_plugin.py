"""livekit-plugins-openai: `responses.LLM(use_websocket=True)`.

One LLM for each conversation, because the LLM holds the chain.
"""

from __future__ import annotations

import json
from typing import Any

from livekit.agents import llm, utils
from livekit.plugins.openai import responses

from clients.base import API_KEY, MODEL, Client, Heard, Seed, Talk, Told, next_order, tool_function


class LivekitTalk(Talk):
    """A `ChatContext` and its LLM."""

    def __init__(self, url: str, seed: Seed) -> None:
        role: Any
        self.model: Any = responses.LLM(model=MODEL, base_url=f"{url}/responses", api_key=API_KEY)
        self._tools: list[Any] = [llm.function_tool(tool_function(index)) for index in range(seed.tools)]
        self._context: Any = llm.ChatContext.empty()
        self._context.add_message(role="system", content=seed.instructions)
        for role, text in seed.turns():
            self._context.add_message(role=role, content=text)

    def say(self, text: str) -> None:
        self._context.add_message(role="user", content=text)

    def renew(self) -> None:
        self._context = llm.ChatContext.from_dict(self._context.to_dict())

    async def ask(self, heard: Heard | None = None, limit: int = 0) -> Told:
        deltas, texts, calls = 0, [], []
        async with self.model.chat(chat_ctx=self._context, tools=self._tools) as stream:
            async for chunk in stream:
                delta = chunk.delta
                if delta is None:
                    continue
                if delta.content:
                    deltas += 1
                    texts.append(delta.content)
                    if heard is not None:
                        heard(delta.content)
                    if deltas == limit:
                        break
                calls += delta.tool_calls
        if texts:
            self._context.add_message(role="assistant", content="".join(texts))
        return Told(deltas, calls=calls)

    async def work(self) -> Told:
        told = await self.ask()
        responses = 1
        while told.calls:
            for call in told.calls:
                self._answer(call)
            told = await self.ask()
            responses += 1
        return Told(told.deltas, responses)

    def _answer(self, call: Any) -> None:
        output = next_order(json.loads(call.arguments)["left"])
        made = llm.FunctionCall(call_id=call.call_id, name=call.name, arguments=call.arguments)
        answered = llm.FunctionCallOutput(call_id=call.call_id, name=call.name, output=output, is_error=False)
        self._context.items += [made, answered]

    async def close(self) -> None:
        await self.model.aclose()


class Livekit(Client):
    """One HTTP session for all conversations, as in an agent's worker."""

    speed = 25_000

    async def open(self, url: str) -> None:
        self._url = url
        self._sessions: Any = utils.http_context.open()
        await self._sessions.__aenter__()
        # A worker's process has one call, and at most 50 sockets per host; many conversations need more.
        connector: Any = utils.http_context.http_session().connector
        connector._limit = connector._limit_per_host = 0
        self._ready: list[Any] = []
        self._talks: list[Any] = []

    async def talk(self, seed: Seed) -> Talk:
        talk = LivekitTalk(self._url, seed)
        if self._ready:
            talk.model = self._ready.pop()
        self._talks.append(talk)
        return talk

    async def warm(self, sockets: int) -> None:
        model: Any = responses.LLM(model=MODEL, base_url=f"{self._url}/responses", api_key=API_KEY)
        model.prewarm()
        self._ready.append(model)

    async def close(self) -> None:
        for talk in self._talks:
            await talk.close()
        await self._sessions.__aexit__(None, None, None)
