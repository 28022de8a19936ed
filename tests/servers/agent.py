"""The agent that `fastresponses` serves: it numbers its answers and records what it saw for each."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

from fastresponses.adapter import (  # type: ignore[import-not-found,unused-ignore]
    AgentAdapter,
    AgentRun,
    ItemDone,
    TextDelta,
)
from fastresponses.models import FunctionCallItem  # type: ignore[import-not-found,unused-ignore]

_RECORD = Path(os.environ["RECORD"])


class Agent(AgentAdapter):  # type: ignore[misc,unused-ignore]
    """Calls the first tool for a question about the weather, and answers everything else with a number."""

    name = "agent"

    def __init__(self) -> None:
        self._numbers = count(1)

    async def run(self, run: AgentRun) -> AsyncIterator[Any]:
        number = next(self._numbers)
        seen = [item.model_dump(exclude_none=True) for item in run.context_items]
        last = seen[-1]
        text = last.get("content", "")
        words = text if isinstance(text, str) else "".join(part["text"] for part in text)
        if last["type"] == "message" and "weather in " in words:
            arguments = json.dumps({"city": words.split("weather in ")[1].strip("?")})
            yield ItemDone(
                FunctionCallItem(
                    id=f"fc_{number}",
                    call_id=f"call_{number}",
                    name=run.request.tools[0].name,
                    arguments=arguments,
                    status="completed",
                )
            )
            return
        _record({"answer": f"Answer {number}.", "context": seen})
        yield TextDelta("Answer ")
        yield TextDelta(f"{number}.")


def _record(entry: dict[str, Any]) -> None:
    with _RECORD.open("a") as record:
        record.write(json.dumps(entry) + "\n")


agent = Agent()
