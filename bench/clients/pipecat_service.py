"""pipecat: a pipeline of its `OpenAIResponsesLLMService` (WebSocket) and its context aggregators."""

from __future__ import annotations

import asyncio
from typing import Any

from loguru import logger
from pipecat.adapters.schemas.function_schema import FunctionSchema
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMMessagesAppendFrame,
    LLMTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.runner import PipelineRunner
from pipecat.pipeline.task import PipelineTask
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.openai.responses.llm import OpenAIResponsesLLMService

from clients.base import API_KEY, MODEL, Client, Heard, Seed, Talk, Told, next_order, tool_definition

logger.remove()


class _Listener(FrameProcessor):  # type: ignore[misc,unused-ignore]
    """Takes the text, in place of the speech synthesis."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: Heard | None = None
        self.limit = 0
        self.deltas = 0
        self.responses = 0
        self.done = asyncio.Event()

    async def process_frame(self, frame: Any, direction: Any) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMTextFrame):
            self.deltas += 1
            if self.heard is not None:
                self.heard(frame.text)
            if self.deltas == self.limit:
                self.done.set()
        elif isinstance(frame, LLMFullResponseEndFrame):
            self.responses += 1
            if self.deltas:
                self.done.set()
        await self.push_frame(frame, direction)


class PipecatTalk(Talk):
    """A pipeline."""

    def __init__(self, url: str, seed: Seed) -> None:
        self._service: Any = OpenAIResponsesLLMService(
            api_key=API_KEY,
            base_url=url,
            ws_url=url.replace("http", "ws", 1) + "/responses",
            settings=OpenAIResponsesLLMService.Settings(model=MODEL, system_instruction=seed.instructions),
        )
        functions = [_function(index) for index in range(seed.tools)]
        for function in functions:
            self._service.register_function(function.name, _call)
        messages: list[Any] = [{"role": role, "content": text} for role, text in seed.turns()]
        tools: Any = ToolsSchema(standard_tools=functions) if functions else None
        self._context: Any = LLMContext(messages=messages, tools=tools) if tools else LLMContext(messages)
        self._listener: Any = _Listener()
        self._new = ""

    async def start(self) -> None:
        """Run the pipeline."""
        pair = LLMContextAggregatorPair(self._context)
        stages: list[Any] = [pair.user(), self._service, self._listener, pair.assistant()]
        self._task: Any = PipelineTask(Pipeline(stages), idle_timeout_secs=None)
        self._running = asyncio.create_task(PipelineRunner(handle_sigint=False).run(self._task))

    def say(self, text: str) -> None:
        self._new = text

    async def ask(self, heard: Heard | None = None, limit: int = 0) -> Told:
        listener = self._listener
        listener.heard, listener.limit, listener.deltas, listener.responses = heard, limit, 0, 0
        listener.done.clear()
        said: list[Any] = [{"role": "user", "content": self._new}]
        await self._task.queue_frame(LLMMessagesAppendFrame(messages=said, run_llm=True))
        await listener.done.wait()
        if limit:
            await self._task.queue_frame(InterruptionFrame())
        return Told(listener.deltas, listener.responses)

    async def work(self) -> Told:
        return await self.ask()  # which executes tools

    async def close(self) -> None:
        await self._task.cancel()
        await self._running


def _function(index: int) -> Any:
    definition = tool_definition(index)
    parameters = definition["parameters"]
    return FunctionSchema(
        name=definition["name"],
        description=definition["description"],
        properties=parameters["properties"],
        required=parameters["required"],
    )


async def _call(params: Any) -> None:
    await params.result_callback(next_order(params.arguments["left"]))


class Pipecat(Client):
    """A pipeline for each conversation."""

    speed = 2_500

    async def open(self, url: str) -> None:
        self._url = url
        self._talks: list[PipecatTalk] = []

    async def talk(self, seed: Seed) -> Talk:
        talk = PipecatTalk(self._url, seed)
        await talk.start()
        self._talks.append(talk)
        return talk

    async def close(self) -> None:
        for talk in self._talks:
            await talk.close()
