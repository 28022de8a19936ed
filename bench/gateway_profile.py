"""Where the instructions of a turn through the gateway go, by valgrind.

    python bench/gateway_profile.py --history 1000

Runs ``trunkline serve`` under callgrind twice, with a few and with more turns, and prints the difference per
turn, by function. Needs valgrind. A busy machine changes the figures by a few percent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clients.base import Seed
from load.caller import Caller, Heard
from load.order import Order
from load.proxy import gateway_configuration
from run import server

_CALLERS = 10
_LINE = re.compile(r"\s*([\d,]+) \([^)]*\)\s+(.*)")
_SHOWN = 12


async def converse(port: int, history: int, turns: int) -> None:
    """Have conversations of a length, with turns of three deltas."""
    callers = [Caller(port, Heard(), Seed(history - 1), f"{number}") for number in range(_CALLERS)]

    async def each(caller: Caller) -> None:
        for _ in range(turns):
            await caller.ask(Order(deltas=3))
        caller.close()

    await asyncio.gather(*map(each, callers))


def counted(history: int, turns: int) -> dict[str, int]:
    """The instructions of a gateway that answers so many turns of each caller, by function."""
    with server() as service, tempfile.TemporaryDirectory() as place:
        output, configuration = Path(place) / "callgrind.out", Path(place) / "gateway.toml"
        port = gateway_configuration(configuration, service)
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={output}", sys.executable]
        command += ["-m", "trunkline", "serve", "--config", str(configuration)]
        env = {**os.environ, "PYTHONHASHSEED": "0"}
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        process.stdout.readline()  # it listens
        asyncio.run(converse(port, history, turns))
        process.terminate()
        process.wait()
        annotate = ["callgrind_annotate", "--threshold=99.5", str(output)]
        lines = subprocess.run(annotate, capture_output=True, text=True, check=True).stdout.splitlines()
    found = (_LINE.match(line) for line in lines)
    return {each[2]: int(each[1].replace(",", "")) for each in found if each is not None}


def main() -> None:
    """Print the instructions per turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--history", type=int, default=6)
    given = parser.parse_args()
    begun = time.monotonic()
    few, many = counted(given.history, 4), counted(given.history, 14)
    per_turn = {name: (count - few.get(name, 0)) / (10 * _CALLERS) for name, count in many.items()}
    for name, count in sorted(per_turn.items(), key=lambda each: -each[1])[: _SHOWN + 1]:
        print(f"{count:12,.0f}  {name[:100]}")
    print(f"in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
