"""The demo's script: the caller's words, a scripted model and its tools."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass

from ...emulator import Call, Prompt, Say, Step, words

INSTRUCTIONS = (
    "You answer the telephone of a railway. Be brief and friendly: you are heard, not read. "
    "Look up the weather and the trains with the tools, never from memory."
)

_WEATHER = {"Oslo": "2 degrees and light snow", "Bergen": "7 degrees and rain"}
_TRAINS = {
    "Oslo": "08:03 from platform 1, 11:59 from platform 2 and a sleeper at 22:59 from platform 1",
    "Bergen": "08:25 from platform 4, 12:03 from platform 3 and a sleeper at 23:11 from platform 9",
}


@dataclass(frozen=True, slots=True, repr=False)
class Scene:
    """One turn of the caller and the model's answer.

    Attributes:
        words: the caller's text.
        answer: the model's text; ``{0}`` is the output of its first call.
        calls: the tools called before the answer, each with a city.
        stop_after_words: number of received words after which the caller interrupts.
        heard_words: number of words spoken by then; speech is slower than text.
    """

    words: str
    answer: str
    calls: tuple[tuple[str, str], ...] = ()
    stop_after_words: int | None = None
    heard_words: int = 0


SCENES = (
    Scene("Good evening, this is Ada.", "Good evening Ada, this is the railway. How can I help you?"),
    Scene(
        "How is the weather in Oslo and Bergen?",
        "{0}, and {1}.",
        calls=(("get_weather", "Oslo"), ("get_weather", "Bergen")),
    ),
    Scene(
        "Which trains go to Bergen?",
        "To Bergen you can take the {0}.",
        calls=(("find_trains", "Bergen"),),
    ),
    Scene(
        "Please read my order back to me.",
        "You have two berths in the sleeper to Bergen on Friday, a window seat at breakfast, coffee at seven "
        "without sugar, one large suitcase, and a quiet carriage far from the engine.",
        stop_after_words=14,
        heard_words=9,
    ),
    Scene(
        "Yes, Bergen is right. Which trains go back to Oslo, and how is the weather there?",
        "Back to Oslo you can take the {0}. {1}.",
        calls=(("find_trains", "Oslo"), ("get_weather", "Oslo")),
    ),
    Scene("Thank you, good night!", "Good night Ada, and a pleasant journey!"),
)


async def get_weather(city: str) -> str:
    """The weather in a city."""
    await asyncio.sleep(0.05)
    return f"{city} has {_WEATHER.get(city, 'no weather today')}"


def find_trains(city: str) -> str:
    """The trains to a city."""
    return _TRAINS.get(city, "bus")


def model(prompt: Prompt) -> Iterable[Step]:
    """The demo's model: calls the tools of the scene, then answers from their outputs."""
    scene = next(scene for scene in SCENES if scene.words == prompt.user_text)
    if scene.calls and not prompt.outputs:
        return [Call(name, json.dumps({"city": city})) for name, city in scene.calls]
    return [Say(words(scene.answer.format(*(text for _, text in prompt.outputs))))]
