"""What deltas save: the bytes of one conversation, sent in three ways.

    pip install ".[emulator]"     # in a clone of the repository
    python examples/cost.py

It runs on an emulator in this process, so no API key is needed. The model reads the whole context in each of
the three ways, so the tokens are the same.
"""

from __future__ import annotations

import asyncio
from typing import Any

import trunkline
from trunkline.emulator import Emulator

MODEL = "words-50"
TURNS = 20
INSTRUCTIONS = "You are the receptionist of a small restaurant. You are speaking: be brief. " * 25
QUESTION = "Do you have a table for two people tonight, and is there something without meat on the menu?"


async def in_full(client: trunkline.Client) -> int:
    """The whole history with each turn, as without a chain."""
    history: list[dict[str, Any]] = []
    sent = 0
    for _ in range(TURNS):
        history.append({"role": "user", "content": QUESTION})
        async with client.stream(model=MODEL, instructions=INSTRUCTIONS, input=history) as stream:
            response = await stream.finish()
        history += response.output
        sent += stream.metrics.bytes_sent
    return sent


async def in_deltas(client: trunkline.Client, placement: trunkline.InstructionsPlacement) -> int:
    """A conversation, which sends what is new."""
    chat = client.conversation(model=MODEL, instructions=INSTRUCTIONS, instructions_placement=placement)
    sent = 0
    for _ in range(TURNS):
        async with chat.send(QUESTION) as stream:
            await stream.finish()
        sent += stream.metrics.bytes_sent
    return sent


async def main() -> None:
    """Print the bytes of each way."""
    async with (
        Emulator() as emulator,
        trunkline.Client(base_url=emulator.base_url, api_key=emulator.api_key, lanes=True) as client,
    ):
        print(f"{f'{TURNS} turns':<34}bytes sent")
        print(f"{'in full':<34}{await in_full(client):>10,}")
        print(f"{'deltas, instructions as a field':<34}{await in_deltas(client, 'field'):>10,}")
        print(f"{'deltas, instructions as a message':<34}{await in_deltas(client, 'message'):>10,}")


if __name__ == "__main__":
    asyncio.run(main())
