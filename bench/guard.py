"""Guard against slowness by counting instructions, which a busy machine does not change.

    python bench/guard.py [--update]

A fixed piece of work runs under valgrind in two sizes; the difference is what one unit, a delta or a turn,
takes from the bytes to the caller. It is compared with ``guard_baseline.json``. Only loopback is used.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import environment

BASELINE = Path(__file__).with_name("guard_baseline.json")
TOLERANCE = 0.03
_DELTAS = 1000
_BURST = 50
_WARM_UP = 2
_COLLECTED = re.compile(r"Collected : (\d+)")


@dataclass(frozen=True)
class Work:
    """One unit and how it is counted.

    Attributes:
        turns: how many turns the smaller size has; the larger one has twice as many.
        client: the class in ``bench/clients``, by the end of its module's name or ``http``.
        history: how many messages the conversation has before the first turn.
        deltas: how many text deltas a turn has.
        per_delta: the unit is a delta; otherwise a turn.
        burst: how many deltas one read brings, over loopback; 0 for whole messages without a socket.
    """

    turns: int
    client: str = "conversation"
    history: int = 4
    deltas: int = 3
    per_delta: bool = False
    burst: int = 0


WORK = {
    # From whole messages, without a socket.
    "delta": Work(3, deltas=_DELTAS, per_delta=True),
    "turn": Work(30),
    "turn-2000": Work(30, history=2000),
    "keyed-turn-2000": Work(15, client="keyed", history=2000),
    # Over a WebSocket; each frame is read alone and wakes its reader.
    "paced-delta": Work(3, deltas=_DELTAS, per_delta=True, burst=1),
    # Over HTTP.
    "http-delta": Work(3, client="http", deltas=_DELTAS, per_delta=True, burst=_BURST),
    "http-paced-delta": Work(3, client="http", deltas=_DELTAS, per_delta=True, burst=1),
    "http-turn": Work(30, client="http", burst=_BURST),
}


async def do(work: Work, turns: int) -> None:
    """Do one piece of work with so many turns, after warm-up turns that are the same in each size."""
    from clients.base import Seed, Talk
    from clients.trunkline_conversation import TrunklineConversation, TrunklineHttp
    from clients.trunkline_keyed import TrunklineKeyed

    clients = {"conversation": TrunklineConversation, "http": TrunklineHttp, "keyed": TrunklineKeyed}
    client = clients[work.client]()
    url, heard, client.world = await _serve(work)
    await client.open(url)
    talk: Talk = await client.talk(Seed(work.history, 10))
    for turn in range(_WARM_UP + turns):
        if turn == _WARM_UP:
            # One full collection more or less would be 1.5 % of thirty turns: what is old is not traversed.
            gc.collect()
            gc.freeze()
        talk.say("And then?")
        told = await talk.ask(heard)
        assert told.deltas == work.deltas, told
    os._exit(0)


async def _serve(work: Work) -> tuple[str, Any, Any]:
    """Begin to answer; the URL of the API, what each delta is to be given to, and the client's world."""
    from load.played import Lockstep, Messages, Script
    from trunkline import World

    script = Script(work.deltas)
    if work.burst:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Lockstep(script, work.burst), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}/v1", lambda delta: Lockstep.playing.on_read(), World()

    async def dial(url: str, *, receiver: Any, **options: Any) -> Any:
        return Messages(receiver, script)

    return "http://127.0.0.1:1/v1", None, World(dial=dial)


def instructions(name: str, turns: int) -> int:
    """How many instructions the work takes, the interpreter's start included."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
    command += [__file__, "--work", name, "--turns", str(turns)]
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environ |= {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    found = _COLLECTED.search(done.stderr)
    if found is None or done.returncode:
        sys.exit(f"valgrind did not count {name}:\n{done.stderr[-2000:]}")
    return int(found[1])


def measure(names: list[str]) -> dict[str, int]:
    """Instructions of each unit."""
    counted = {}
    for name in names:
        work = WORK[name]
        extra = instructions(name, 2 * work.turns) - instructions(name, work.turns)
        counted[name] = round(extra / work.turns / (work.deltas if work.per_delta else 1))
        print(f"{name:16} {counted[name]:12,} instructions", flush=True)
    return counted


def made_with() -> dict[str, str]:
    """What the counts depend on: another interpreter or dependency counts otherwise."""
    packages = {name: version(name) for name in ("msgspec", "picows", "httpx2", "httpcore2", "h11", "anyio")}
    return {"python": platform.python_version(), "machine": platform.machine(), **packages}


def compare(counted: dict[str, int], baseline: dict[str, Any]) -> None:
    """Fail when something takes more than it did; tell when something takes less."""
    if baseline["made_with"] != made_with():
        sys.exit(f"the baseline is of {baseline['made_with']}, this is {made_with()}: use --update")
    if missing := [name for name in counted if name not in baseline["instructions"]]:
        sys.exit(f"the baseline lacks {', '.join(missing)}: use --update")
    changes = {name: count / baseline["instructions"][name] - 1 for name, count in counted.items()}
    for name, change in changes.items():
        print(f"{name:16} {change:+.1%}")
    faster = [name for name, change in changes.items() if change < -TOLERANCE]
    slower = [name for name, change in changes.items() if change > TOLERANCE]
    if faster:
        print(f"more than {TOLERANCE:.0%} faster: {', '.join(faster)}; the baseline is stale, use --update")
    if slower:
        sys.exit(f"more than {TOLERANCE:.0%} slower: {', '.join(slower)}")


def main() -> None:
    """Count, and compare or keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="keep these counts as the baseline")
    parser.add_argument("--only", choices=WORK, nargs="+", default=list(WORK), help="count only these")
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--turns", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        return asyncio.run(do(WORK[given.work], given.turns))
    if given.update and given.only != list(WORK):
        parser.error("--update counts everything: leave --only out")
    environment.make()
    environment.go_there()
    from msgspec import json

    counted = measure(given.only)
    if given.update:
        kept = {"made_with": made_with(), "instructions": counted}
        BASELINE.write_bytes(json.format(json.encode(kept), indent=2) + b"\n")
        return None
    return compare(counted, json.decode(BASELINE.read_bytes()))


if __name__ == "__main__":
    main()
