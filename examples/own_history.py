"""History kept by the application: give all items and a key, and only new items are sent.

Run it with OPENAI_API_KEY set, or without a key: `trunkline emulate python examples/own_history.py`.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import trunkline

MODEL = os.environ.get("MODEL", "gpt-6-astra")


class Session:
    """A session as frameworks have it: a list of messages, and an id."""

    def __init__(self, client: trunkline.Client, name: str) -> None:
        self._client = client
        self._name = name
        self._messages: list[dict[str, Any]] = []

    async def ask(self, text: str) -> None:
        """Run one turn, and print the answer and the number of items sent."""
        self._messages.append({"role": "user", "content": text})
        async with self._client.stream(model=MODEL, input=self._messages, key=self._name) as stream:
            response = await stream.finish()
        self._messages.append({"role": "assistant", "content": response.output_text})
        sent = f"{stream.metrics.items_sent} of {len(self._messages) - 1} items sent"
        print(f"{self._name}: {response.output_text} ({sent})")


async def main() -> None:
    async with trunkline.Client() as client:
        sessions = [Session(client, name) for name in ("ada", "bob")]
        for text in ("Hello!", "And now?", "Goodbye!"):
            await asyncio.gather(*(session.ask(text) for session in sessions))


if __name__ == "__main__":
    asyncio.run(main())
