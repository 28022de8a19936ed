"""What is said in the demo, and the tools of the agent in it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

INSTRUCTIONS = (
    "You answer the telephone of a railway. Be brief and friendly: you are heard, not read. "
    "Look up the weather and the trains with the tools, never from memory."
)

_WEATHER = {"Oslo": "2 degrees and light snow", "Bergen": "7 degrees and rain"}
_TRAINS = {
    "Oslo": "08:03 from platform 1, 11:59 from platform 2 and 22:59, a sleeper, from platform 1",
    "Bergen": "08:25 from platform 4, 12:03 from platform 3 and 23:11, a sleeper, from platform 9",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One turn of the caller's.

    Attributes:
        words: what the caller says.
        stop_after_words: the caller talks into the answer once so many words of it have come.
        heard_words: how many of them had been spoken by then: speech is slower than text.
    """

    words: str
    stop_after_words: int | None = None
    heard_words: int = 0


SCENES = (
    Scene("Good evening, this is Ada."),
    Scene("How is the weather in Oslo and Bergen?"),
    Scene("Which trains go to Bergen?"),
    Scene(
        "Please read my order back to me: two berths in the sleeper on Friday, one window seat at breakfast, "
        "coffee at seven, no sugar, one large suitcase, and a quiet carriage.",
        stop_after_words=14,
        heard_words=9,
    ),
    Scene("Yes, that is right. Which trains go back to Oslo, and what will the weather be?"),
    Scene("Thank you, good night!"),
)


async def get_weather(city: str) -> str:
    """The weather in a city."""
    await asyncio.sleep(0.05)
    return f"{city} has {_WEATHER.get(city, 'no weather today')}"


def find_trains(city: str) -> str:
    """The trains to a city."""
    return f"to {city} at {_TRAINS.get(city, 'no time')}"
