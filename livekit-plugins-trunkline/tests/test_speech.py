"""A session that listens: LiveKit asks before the caller has finished, and again when the words change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession, LanguageCode, ModelSettings, stt
from livekit.agents.stt import SpeechData, SpeechEvent, SpeechEventType, STTCapabilities
from livekit.agents.voice.io import AudioInput
from livekit.plugins import trunkline
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from .talk import check_contexts, new_items, responses


class Ears(stt.STT[Any]):
    """The speech-to-text that a session requires; `Listener.stt_node` provides the words."""

    def __init__(self) -> None:
        super().__init__(capabilities=STTCapabilities(streaming=True, interim_results=True))

    async def _recognize_impl(self, *args: Any, **options: Any) -> SpeechEvent:
        raise NotImplementedError


class Silence(AudioInput):
    """A microphone that is open."""

    def __init__(self) -> None:
        super().__init__(label="silence")

    async def __anext__(self) -> rtc.AudioFrame:
        await asyncio.Event().wait()
        raise StopAsyncIteration


class Listener(Agent):
    """An agent that receives the test's words."""

    def __init__(self) -> None:
        super().__init__(instructions="Be brief.")
        self.words: asyncio.Queue[SpeechEvent] = asyncio.Queue()

    async def stt_node(
        self, audio: AsyncIterable[rtc.AudioFrame], model_settings: ModelSettings
    ) -> AsyncIterator[SpeechEvent]:
        while True:
            yield await self.words.get()

    def hear(self, kind: SpeechEventType, text: str = "") -> None:
        said = [SpeechData(language=LanguageCode("en"), text=text)] if text else []
        self.words.put_nowait(SpeechEvent(type=kind, alternatives=said))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_drafts_of_a_turn_leave_nothing(emulator: Emulator, llm: trunkline.LLM) -> None:
    """LiveKit generates ahead of the end of a turn; drafts that do not come true are dropped unheard."""
    agent = Listener()
    async with AgentSession[Any](
        llm=llm,
        stt=Ears(),
        vad=None,
        turn_handling={"turn_detection": "stt", "preemptive_generation": {"enabled": True}},
    ) as session:
        session.input.audio = Silence()
        await session.start(agent, record=False)

        async def turn(*drafts: str) -> None:
            answered = len([item for item in session.history.messages() if item.role == "assistant"])
            asked = len(emulator.requests)
            for number, draft in enumerate(drafts, 1):
                agent.hear(SpeechEventType.PREFLIGHT_TRANSCRIPT, draft)
                await until(lambda number=number: len(emulator.requests) == asked + number)  # type: ignore[misc]
            agent.hear(SpeechEventType.FINAL_TRANSCRIPT, drafts[-1])
            agent.hear(SpeechEventType.END_OF_SPEECH)
            await until(
                lambda: len([m for m in session.history.messages() if m.role == "assistant"]) > answered
            )

        await turn("Hello there")
        emulator.pace = Pace(0.1, 100)
        await turn("How", "How are", "How are you")
        emulator.pace = Pace(0, None)
        await turn("Fine and you")
        check_contexts(emulator, session)
        heard = [item.text_content for item in session.history.messages() if item.role == "assistant"]
    assert heard == ["You said: Hello there", "You said: How are you", "You said: Fine and you"]
    assert len(emulator.requests) == 5
    assert new_items(emulator) == [2, 1, 1, 1, 1]
    made = responses(emulator)
    assert [one.previous_response_id for one in made[1:4]] == [made[0].id] * 3
    assert made[4].previous_response_id == made[3].id
