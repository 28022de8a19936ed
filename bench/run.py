"""Measure trunkline, its peers and the floor, and write the results to docs/benchmarks.

    python bench/run.py [--quick] [--case CASE]... [--client CLIENT]... [--rounds N] [--minutes M] [--refresh]

Rounds are interleaved: each runs every case and client once, each in its own interpreter, so that other load
on the machine affects all of them alike. With ``--case`` or ``--client``, only the figures of these are
replaced. After the first round, no run starts that could end after the given minutes.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import environment

HERE = Path(__file__).parent
QUICK = "docs/benchmarks/quick"
FULL = "docs/benchmarks"
LOOK = (
    "floor",
    "floor-task",
    "trunkline",
    "trunkline-push",
    "trunkline-keyed",
    "livekit",
    "openai-lane",
    "trunkline-gateway",
)


@contextmanager
def server() -> Iterator[int]:
    """Run the scripted server in its own process; gives its port."""
    command = [sys.executable, "-m", "load.server"]
    process = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def run_one(case: str, client: str, port: int, *, quick: bool, limit_s: float) -> dict[str, Any]:
    """The figures of one run, or the reason of its failure."""
    from msgspec import json

    command = [
        sys.executable,
        str(HERE / "worker.py"),
        "--case",
        case,
        "--client",
        client,
        "--port",
        str(port),
    ]
    try:
        done = subprocess.run(
            command + ["--quick"] * quick, capture_output=True, text=True, timeout=limit_s + 20, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": "it did not end in time"}
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line[:1].isalpha() and "Error" in line]
        return {"failed": (errors or ["it ended without a word"])[-1][:200]}
    figures: dict[str, Any] = json.decode(done.stdout.strip().splitlines()[-1])
    return figures


def measure(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The figures of all runs, in rounds."""
    from cases import CASES

    plan = [
        (name, client)
        for name, case in CASES.items()
        if not given.case or name in given.case
        for client in case.clients
        if client in (given.client or (LOOK if given.quick else case.clients))
    ]
    runs: list[dict[str, Any]] = []
    begun = time.monotonic()
    for turn in range(given.rounds):
        for number, (name, client) in enumerate(plan, 1):
            if turn and time.monotonic() - begun > given.minutes * 60 - 15:
                return runs
            case = CASES[name]
            with server() as port:
                figures = run_one(name, client, port, quick=given.quick, limit_s=case.limit_s)
            runs.append({"case": name, "client": client, "round": turn, "figures": figures})
            shown = f"{figures[case.main]:10.2f} {case.main}" if case.main in figures else str(figures)[:90]
            where = f"[{turn + 1}/{given.rounds} {number:3}/{len(plan)} {time.monotonic() - begun:5.0f} s]"
            print(f"{where} {name:16} {client:20} {shown}", flush=True)
    return runs


def arguments() -> argparse.Namespace:
    """The arguments of the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", help="only this case; may be given again")
    parser.add_argument("--client", action="append", help="only this client; may be given again")
    parser.add_argument("--rounds", type=int, help="how often each is run; 3, or 1 when quick")
    parser.add_argument("--minutes", type=float, default=24, help="how long all of it may take")
    parser.add_argument("--quick", action="store_true", help="less work and fewer clients, for a look")
    parser.add_argument("--refresh", action="store_true", help="bring the environment up to date first")
    parser.add_argument(
        "--report", action="store_true", help="write table and plots anew from the figures there are"
    )
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 3)
    return given


def main() -> None:
    """Measure, and write the report."""
    given = arguments()
    environment.make(refresh=given.refresh)
    if not given.quick:
        environment.make_litellm(refresh=given.refresh)
    environment.go_there()
    import report

    place = environment.ROOT / (QUICK if given.quick else FULL)
    if not given.report:
        command = "python " + shlex.join(arg for arg in sys.argv if arg != "--refresh")
        made = environment.description() | {"command": command}
        report.keep(place, measure(given), made, is_whole=not (given.case or given.client))
    report.write(place)


if __name__ == "__main__":
    main()
