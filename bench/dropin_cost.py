"""What the drop-in adds to a turn: reading the request, and finding and recording its place.

    python bench/dropin_cost.py

A conversation that grows by two messages with each turn. The cost must not grow with the history.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from trunkline._decisions.baselines import Baseline
from trunkline._decisions.lineage import Answered
from trunkline._face.memory import Memory
from trunkline._protocol.items import Item

HISTORIES = (6, 200, 2000)
TURNS = 100
TOOLS = [
    {"type": "function", "name": f"tool_{index}", "description": "x" * 100, "parameters": {"type": "object"}}
    for index in range(10)
]
FIELDS: dict[str, Any] = {"instructions": "i" * 2000, "model": "m", "stream": True, "tools": TOOLS}


def message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def costs(length: int) -> list[float]:
    """The cost of each turn but the first, in milliseconds."""
    memory, found = Memory(), []
    items = [
        message("user" if index % 2 else "assistant", f"{index} " + "word " * 20) for index in range(length)
    ]
    for number in range(TURNS):
        body = json.dumps({"input": items, **FIELDS}, separators=(",", ":")).encode()
        begin = time.perf_counter()
        wanted, read = memory.read(body)
        place = memory.lineage.find(wanted.asked(read, None), float(number))
        cost = time.perf_counter() - begin
        assert place.owner is not None
        part = {"type": "output_text", "text": f"answer {number}", "annotations": []}
        output = [{"type": "message", "role": "assistant", "id": f"msg_{number}", "content": [part]}]
        made = tuple(Item.from_output(json.dumps(item).encode()) for item in output)
        context = place.context
        place.owner.baselines.commit(
            Baseline(f"resp_{number}", "m", True, None, len(context), context.mark, made)
        )
        begin = time.perf_counter()
        memory.lineage.record(place, Answered(f"resp_{number}", made, output, True), float(number))
        found.append((cost + time.perf_counter() - begin) * 1e3)
        items += [message("assistant", f"answer {number}"), message("user", "And then?")]
    return found[1:]


def main() -> None:
    for length in HISTORIES:
        print(f"{length:5} items: {median(costs(length)):.3f} ms")


if __name__ == "__main__":
    main()
