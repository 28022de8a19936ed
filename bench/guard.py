"""Guard against slowness by counting instructions, which a busy machine does not change.

    python bench/guard.py [--update]

A fixed piece of work runs under valgrind in two sizes; the difference is what one delta, or one turn, takes
from a message's bytes to the caller. It is compared with ``guard_baseline.json``. There is no network.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import environment

BASELINE = Path(__file__).with_name("guard_baseline.json")
TOLERANCE = 0.05
_DELTAS = 1000
_COLLECTED = re.compile(r"Collected : (\d+)")

# What is done, how often in the smaller size, and how many units one time has.
WORK = {"delta": (3, _DELTAS), "turn": (30, 1), "turn-2000": (30, 1), "keyed-turn-2000": (15, 1)}


class Wire:
    """In the place of a socket: answers each request with frames made beforehand."""

    is_open = True
    buffered_bytes = 0

    def __init__(self, receiver: Any, deltas: int) -> None:
        self._receiver = receiver
        self._deltas = deltas
        self._pieces: list[bytes] = []

    def send(self, payload: bytes) -> None:
        """Answer."""
        from load.answer import Answer
        from load.order import Order, decode_request

        frames: list[bytes] = []
        request = decode_request(payload)
        answer = Answer(request, Order(deltas=self._deltas), lambda frame, _: frames.append(frame))
        answer.begin()
        begun = len(frames)
        if self._pieces:  # they are the same each time, so that making them is not counted
            frames += self._pieces
            answer._sequence += self._deltas
            answer._texts = ["word"] * self._deltas
        else:
            while answer.left:
                answer.piece()
            self._pieces = frames[begun:]
        answer.end()
        asyncio.get_running_loop().call_soon(self._play, frames)

    def _play(self, frames: list[bytes]) -> None:
        for frame in frames:
            self._receiver.on_message(frame)

    def close(self, code: int = 1000) -> None:
        """Nothing to close."""

    def abort(self) -> None:
        """Nothing to drop."""

    async def wait_closed(self) -> None:
        """It is gone."""


async def work(name: str, times: int) -> None:
    """Do one piece of work so many times."""
    from clients.base import Seed, Talk
    from clients.trunkline_conversation import TrunklineConversation
    from clients.trunkline_keyed import TrunklineKeyed
    from trunkline import websocket

    deltas = _DELTAS if name == "delta" else 3

    async def dial(url: str, *, receiver: Any, **options: Any) -> Any:
        return Wire(receiver, deltas)

    websocket.dial = dial
    client = TrunklineKeyed() if name.startswith("keyed") else TrunklineConversation()
    await client.open("http://127.0.0.1:1/v1")
    talk: Talk = await client.talk(Seed(2000 if name.endswith("2000") else 4, 10))
    for _ in range(2 + times):
        talk.say("And then?")
        await talk.ask()
    os._exit(0)


def instructions(name: str, times: int) -> int:
    """How many instructions the work takes, the interpreter's start included."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
    command += [__file__, "--work", name, "--times", str(times)]
    environ = os.environ | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    found = _COLLECTED.search(done.stderr)
    if found is None:
        sys.exit(f"valgrind did not count:\n{done.stderr[-2000:]}")
    return int(found[1])


def measure() -> dict[str, int]:
    """Instructions of each unit of work."""
    counted = {}
    for name, (times, units) in WORK.items():
        extra = instructions(name, 2 * times) - instructions(name, times)
        counted[name] = round(extra / times / units)
        print(f"{name:16} {counted[name]:12,} instructions", flush=True)
    return counted


def made_with() -> dict[str, str]:
    """Where the counts hold: another interpreter counts otherwise."""
    packages = {name: version(name) for name in ("msgspec", "picows")}
    return {"python": platform.python_version(), "machine": platform.machine(), **packages}


def compare(counted: dict[str, int], baseline: dict[str, Any]) -> None:
    """Fail when something takes more than it did."""
    if baseline["made_with"] != made_with():
        sys.exit(f"the baseline is of {baseline['made_with']}, this is {made_with()}: use --update")
    slower = []
    for name, count in counted.items():
        change = count / baseline["instructions"][name] - 1
        print(f"{name:16} {change:+.1%}")
        if change > TOLERANCE:
            slower.append(name)
    if slower:
        sys.exit(f"more than {TOLERANCE:.0%} slower: {', '.join(slower)}")


def main() -> None:
    """Count, and compare or keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="keep these counts as the baseline")
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        return asyncio.run(work(given.work, given.times))
    environment.make()
    environment.go_there()
    from msgspec import json

    counted = measure()
    if given.update:
        kept = {"made_with": made_with(), "instructions": counted}
        BASELINE.write_bytes(json.format(json.encode(kept), indent=2) + b"\n")
        return None
    return compare(counted, json.decode(BASELINE.read_bytes()))


if __name__ == "__main__":
    main()
