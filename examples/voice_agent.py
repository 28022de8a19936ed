"""A voice agent that can be interrupted. Speech is played by a stand-in that is slower than the text.

Run it against OpenAI with OPENAI_API_KEY set, or against `trunkline emulate` with the variables it prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

import trunkline

MODEL = os.environ.get("MODEL", "gpt-6-astra")


class Speaker:
    """Plays text word by word, and knows what was heard of it."""

    def __init__(self) -> None:
        self._words: asyncio.Queue[str] = asyncio.Queue()
        self.heard = ""

    def say(self, text: str) -> None:
        """Queue a piece of text."""
        self._words.put_nowait(text)

    async def play(self) -> None:
        """Play what is queued, for ever."""
        while True:
            word = await self._words.get()
            await asyncio.sleep(0.02)
            print(word, end="", flush=True)
            self.heard += word
            self._words.task_done()

    async def finished(self) -> None:
        """Wait until all that is queued has been heard."""
        await self._words.join()


async def answer(chat: trunkline.Conversation, words: str, interrupted_after_s: float | None = None) -> None:
    """Speak the model's answer. When the caller speaks into it, keep in the history what was heard."""
    print(f"caller: {words}\nagent:  ", end="")
    speaker = Speaker()
    playing = asyncio.create_task(speaker.play())
    stream = chat.send(words)
    try:
        async with asyncio.timeout(interrupted_after_s), stream:  # stands for the caller's voice
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
