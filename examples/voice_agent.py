"""Voice agent with barge-in. A stand-in plays the speech, slower than the text arrives.

Run it with OPENAI_API_KEY set, or without a key: `trunkline emulate python examples/voice_agent.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

import trunkline

MODEL = os.environ.get("MODEL", "gpt-6-astra")


class Speaker:
    """Plays text word by word.

    Attributes:
        heard: the text that was played.
    """

    def __init__(self) -> None:
        self._words: asyncio.Queue[str] = asyncio.Queue()
        self.heard = ""

    def say(self, text: str) -> None:
        """Queue a piece of text."""
        self._words.put_nowait(text)

    async def play(self) -> None:
        """Play queued text until cancelled."""
        while True:
            word = await self._words.get()
            await asyncio.sleep(0.02)
            print(word, end="", flush=True)
            self.heard += word
            self._words.task_done()

    async def finished(self) -> None:
        """Wait until all queued text was played."""
        await self._words.join()


async def answer(chat: trunkline.Conversation, words: str, interrupted_after_s: float | None = None) -> None:
    """Speak the model's answer. If the caller interrupts, keep only the heard part in the history."""
    print(f"caller: {words}\nagent:  ", end="")
    speaker = Speaker()
    playing = asyncio.create_task(speaker.play())
    stream = chat.send(words)
    try:
        async with asyncio.timeout(interrupted_after_s), stream:  # stands in for the voice of the caller
            async for text in stream.text():
                speaker.say(text)
            await speaker.finished()
    except TimeoutError:
        print(" --", end="")
    finally:
        playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await playing
    stream.heard(speaker.heard)
    print()


async def main() -> None:
    async with trunkline.Client() as client:
        await client.warm(model=MODEL)
        chat = client.conversation(model=MODEL, instructions="You are heard, not read. Be brief.")
        await answer(chat, "Hello!")
        await answer(
            chat, "Count slowly: one, two, three, four, five, six, seven, eight.", interrupted_after_s=0.15
        )
        await answer(chat, "Thank you, that is enough.")
        for item in chat.items:
            print(item)


if __name__ == "__main__":
    asyncio.run(main())
