"""pydantic-ai with ``openai_transport="websocket"``, which chains by itself."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    UserPromptPart,
)
from pydantic_ai.models.openai import OpenAIResponsesModel, OpenAIResponsesModelSettings
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import UsageLimits

from clients.base import API_KEY, MODEL, Client, Heard, Seed, Talk, Told, tool_function


class PydanticTalk(Talk):
    """An agent and its messages."""

    def __init__(self, model: Any, settings: Any, seed: Seed) -> None:
        tools: list[Any] = [tool_function(index) for index in range(seed.tools)]
        self.agent: Any = Agent(model, instructions=seed.instructions, tools=tools, model_settings=settings)
        self._new = ""
        self._messages: list[Any] = [_message(role, text) for role, text in seed.turns()]

    def say(self, text: str) -> None:
        self._new = text

    def renew(self) -> None:
        dumped = ModelMessagesTypeAdapter.dump_json(self._messages)
        self._messages = ModelMessagesTypeAdapter.validate_json(dumped)

    async def ask(self, heard: Heard | None = None, limit: int = 0) -> Told:
        deltas = 0
        limits = UsageLimits(request_limit=None)
        async with self.agent.run_stream(
            self._new, message_history=self._messages, usage_limits=limits
        ) as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                deltas += 1
                if heard is not None:
                    heard(text)
                if deltas == limit:
                    return Told(deltas)
        new = result.new_messages()
        self._messages = result.all_messages()
        return Told(deltas, sum(isinstance(message, ModelResponse) for message in new))

    async def work(self) -> Told:
        return await self.ask()  # which executes tools


def _message(role: str, text: str) -> Any:
    if role == "user":
        return ModelRequest(parts=[UserPromptPart(content=text)])
    return ModelResponse(parts=[TextPart(content=text)])


class PydanticAgent(Client):
    """One model for all conversations, entered once, so that its sockets stay open."""

    speed = 2_500

    async def open(self, url: str) -> None:
        self._stack = AsyncExitStack()
        profile = OpenAIModelProfile(openai_responses_supports_websocket_stream_id=True)
        provider = OpenAIProvider(base_url=url, api_key=API_KEY)
        self._model: Any = OpenAIResponsesModel(MODEL, provider=provider, profile=profile)
        await self._stack.enter_async_context(self._model)
        self._settings = OpenAIResponsesModelSettings(openai_transport="websocket")

    async def talk(self, seed: Seed) -> Talk:
        talk = PydanticTalk(self._model, self._settings, seed)
        await self._stack.enter_async_context(talk.agent)
        return talk

    async def close(self) -> None:
        await self._stack.aclose()
