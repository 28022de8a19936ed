"""Python functions as tools: the calls of one response run concurrently.

Run it with OPENAI_API_KEY set, or without a key: `trunkline emulate python examples/tools.py`.
"""

from __future__ import annotations

import asyncio
import os

import trunkline
from trunkline.events import OutputItemDone, OutputTextDelta

MODEL = os.environ.get("MODEL", "gpt-6-astra")


async def get_weather(city: str) -> dict[str, str]:
    """The weather in a city."""
    await asyncio.sleep(0.1)
    return {"city": city, "sky": "snow"}


@trunkline.tool(timeout_s=5.0)
def find_trains(city: str) -> list[str]:
    """The trains to a city."""
    return ["08:25", "12:03", "23:11"]


def show(event: trunkline.ServerEvent) -> None:
    """Print text deltas and tool calls as they arrive."""
    if isinstance(event, OutputTextDelta):
        print(event.delta, end="", flush=True)
    elif isinstance(event, OutputItemDone) and event.item["type"] == "function_call":
        print(f"[{event.item['name']} {event.item['arguments']}]")


def report(metrics: trunkline.TurnMetrics) -> None:
    """Print the size of the request of a turn."""
    print(f"\n({metrics.mode}: {metrics.bytes_sent} bytes, in full {metrics.full_bytes})")


async def main() -> None:
    async with trunkline.Client(hooks=trunkline.Hooks(turn_finished=report)) as client:
        chat = client.conversation(model=MODEL, tools=[get_weather, find_trains])
        await chat.run("How is the weather in Oslo and Bergen?", on_event=show)
        await chat.run("Which trains go to Bergen?", on_event=show)


if __name__ == "__main__":
    asyncio.run(main())
