"""The end of an LLM: `aclose` in a shutdown callback of a job."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.agents import APIError, JobContext
from livekit.agents.llm import CollectedResponse
from livekit.plugins import trunkline
from livekit.plugins.trunkline import access
from trunkline.emulator import Emulator

from .talk import MODEL, ONCE, context

LONG = "one two three four five six seven eight nine ten"


def llm_of(emulator: Emulator) -> trunkline.LLM:
    return trunkline.LLM(model=MODEL, base_url=emulator.base_url, api_key=emulator.api_key or "")


async def answered(llm: trunkline.LLM, begun: asyncio.Event) -> CollectedResponse:
    """One request, read to its end. ``begun`` is set by its first text."""

    async with llm.chat(chat_ctx=context(LONG), conn_options=ONCE) as stream:
        text = ""
        async for chunk in stream:
            begun.set()
            text += (chunk.delta.content or "") if chunk.delta is not None else ""
    return CollectedResponse(text=text)


async def test_closing_lets_a_running_answer_end(emulator: Emulator) -> None:
    gate, begun, llm = emulator.faults.hold(event=6), asyncio.Event(), llm_of(emulator)
    answer = asyncio.create_task(answered(llm, begun))
    await begun.wait()
    closing = asyncio.create_task(llm.aclose())
    await asyncio.sleep(0)
    with pytest.raises(APIError, match="closed"):
        await answered(llm, asyncio.Event())
    gate.open()
    assert (await answer).text.endswith(LONG)
    await closing
    assert emulator.live_connections == []


async def test_closing_does_not_wait_for_an_answer_that_does_not_end(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "DRAIN_S", 0.05)
    emulator.faults.add("stall", event=7)
    begun, llm = asyncio.Event(), llm_of(emulator)
    answer = asyncio.create_task(answered(llm, begun))
    await begun.wait()
    await llm.aclose()
    with pytest.raises(APIError):
        await answer
    assert emulator.live_connections == []


async def test_livekit_accepts_it_as_a_shutdown_callback(emulator: Emulator) -> None:
    callbacks: list[Any] = []

    class Job(JobContext):
        def __init__(self) -> None:
            self._shutdown_callbacks = callbacks

    llm, begun = llm_of(emulator), asyncio.Event()
    await answered(llm, begun)
    Job().add_shutdown_callback(llm.aclose)
    await callbacks[0]("the room was closed")
    assert emulator.live_connections == []
