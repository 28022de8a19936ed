"""openai-agents over its WebSocket model, with the runner's own loop and `auto_previous_response_id`.

A model processes one request at a time, so that each conversation has its own model.
"""

from __future__ import annotations

from typing import Any

import agents
from agents.models.openai_responses import OpenAIResponsesWSModel
from openai import AsyncOpenAI

from clients.base import API_KEY, MODEL, Client, Heard, Seed, Talk, Told, tool_function


class AgentTalk(Talk):
    """An agent and the id of its last response; the first turn gives the history."""

    def __init__(self, client: AsyncOpenAI, seed: Seed) -> None:
        self.model: Any = OpenAIResponsesWSModel(MODEL, openai_client=client)
        tools: list[Any] = [agents.function_tool(tool_function(index)) for index in range(seed.tools)]
        self._agent: Any = agents.Agent(
            name="bench", instructions=seed.instructions, model=self.model, tools=tools
        )
        self._items: list[Any] = seed.messages()
        self._latest: str | None = None

    def say(self, text: str) -> None:
        self._items.append({"type": "message", "role": "user", "content": text})

    async def ask(self, heard: Heard | None = None, limit: int = 0) -> Told:
        deltas = 0
        result = agents.Runner.run_streamed(
            self._agent,
            self._items,
            previous_response_id=self._latest,
            auto_previous_response_id=True,
            max_turns=1000,
        )
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                deltas += 1
                if heard is not None:
                    heard(event.data.delta)
                if deltas == limit:
                    result.cancel()
                    break
        else:
            self._latest = result.last_response_id
            self._items = []
        return Told(deltas, len(result.raw_responses))

    async def work(self) -> Told:
        return await self.ask()  # which executes tools

    async def close(self) -> None:
        await self.model.close()


class OpenaiAgents(Client):
    """One HTTP client for all conversations."""

    speed = 5_000

    async def open(self, url: str) -> None:
        agents.set_tracing_disabled(True)
        self._client = AsyncOpenAI(base_url=url, api_key=API_KEY)
        self._talks: list[AgentTalk] = []

    async def talk(self, seed: Seed) -> Talk:
        talk = AgentTalk(self._client, seed)
        self._talks.append(talk)
        return talk

    async def close(self) -> None:
        for talk in self._talks:
            await talk.close()
        await self._client.close()
