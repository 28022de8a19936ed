"""Measure trunkline, other clients and the floor, and write the results to docs/benchmarks.

    python bench/run.py [--quick] [--case CASE]... [--client CLIENT]... [--rounds N] [--minutes M] [--refresh]

A client is a name of `clients.NAMES`, or FILE.py:CLASS of another: see docs/benchmarks/add-a-client.md.

Rounds are interleaved: each runs every case and client once, each in its own interpreter, so that other load
on the machine affects all of them alike. Cases of deltas run twice, with and without Python's collector. With
``--case`` or ``--client``, only the figures of these are replaced. A run that would end after the given
minutes is left out, and the report says so.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import environment
from load.process import server

HERE = Path(__file__).parent
QUICK = "docs/benchmarks/quick"
FULL = "docs/benchmarks"
OTHERS = "build/bench"
"""The figures of clients that are not in `clients.NAMES`."""
LOOK = (
    "floor",
    "floor-task",
    "trunkline",
    "trunkline-push",
    "trunkline-keyed",
    "livekit",
    "openai-lane",
    "openai-dropin",
    "trunkline-gateway",
)


class Entry(NamedTuple):
    """One run of each round."""

    case: str
    client: str
    gc: bool


def run_one(entry: Entry, port: int, *, quick: bool, limit_s: float) -> dict[str, Any]:
    """The figures of one run, or the reason why it has none."""
    from msgspec import json

    command = [sys.executable, str(HERE / "worker.py"), "--case", entry.case, "--client", entry.client]
    command += ["--port", str(port)] + ["--quick"] * quick + ["--no-gc"] * (not entry.gc)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s + 20, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": "it did not end in time"}
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line[:1].isalpha() and "Error" in line]
        return {"failed": (errors or ["it ended without a word"])[-1][:200]}
    figures: dict[str, Any] = json.decode(done.stdout.strip().splitlines()[-1])
    return figures


def plan_of(given: argparse.Namespace) -> list[Entry]:
    """The runs of a round. Of each case and client, that without the collector follows the other."""
    from cases import CASES

    plan = []
    for name, case in CASES.items():
        if given.case and name not in given.case:
            continue
        chosen = given.client or (LOOK if given.quick else case.clients)
        clients = [client for client in case.clients if client in chosen]
        if case.takes_any:
            clients += [client for client in given.client or () if ":" in client]
        for client in clients:
            plan += [Entry(name, client, gc=True)] + [Entry(name, client, gc=False)] * bool(case.without_gc)
    return plan


def measure(given: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[Entry, str]]:
    """The figures of all runs, in rounds, and the reasons why the others have none."""
    from cases import CASES
    from clients import label_of

    plan = plan_of(given)
    runs: list[dict[str, Any]] = []
    skipped: dict[Entry, str] = {}
    took_s: dict[Entry, float] = {}
    begun = time.monotonic()
    for turn in range(given.rounds):
        for number, entry in enumerate(plan, 1):
            if entry in skipped:
                continue
            start_s = time.monotonic() - begun
            case = CASES[entry.case]
            if start_s + took_s.get(entry, case.limit_s / 4) > given.minutes * 60:
                if not turn:
                    skipped[entry] = f"the time limit of {given.minutes:g} minutes had passed"
                continue
            with server() as port:
                figures = run_one(entry, port, quick=given.quick, limit_s=case.limit_s)
            took_s[entry] = time.monotonic() - begun - start_s
            label = label_of(entry.client)
            shown = f"{figures[case.main]:10.2f} {case.main}" if case.main in figures else str(figures)[:90]
            where = f"[{turn + 1}/{given.rounds} {number:3}/{len(plan)} {time.monotonic() - begun:5.0f} s]"
            print(f"{where} {entry.case:16} {label:22} {'' if entry.gc else 'no gc':5} {shown}", flush=True)
            if "skipped" in figures:
                skipped[entry] = figures["skipped"]
            else:
                run = {"case": entry.case, "client": label, "gc": entry.gc, "round": turn}
                runs.append(run | {"figures": figures})
    for entry, why in skipped.items():
        print(f"not run: {entry.case} {label_of(entry.client)}: {why}")
    return runs, {entry._replace(client=label_of(entry.client)): why for entry, why in skipped.items()}


def arguments() -> argparse.Namespace:
    """The arguments of the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", action="append", help="only this case; may be given again")
    parser.add_argument("--client", action="append", help="only this client; may be given again")
    parser.add_argument("--rounds", type=int, help="how often each is run; 3, or 1 when quick")
    parser.add_argument("--minutes", type=float, default=40, help="the time limit of all runs; 40")
    parser.add_argument("--quick", action="store_true", help="less work and fewer clients, for a look")
    parser.add_argument("--refresh", action="store_true", help="bring the environment up to date first")
    parser.add_argument("--here", action="store_true", help="use this interpreter instead of .venv-bench")
    parser.add_argument("--out", type=Path, help="the folder of the results")
    parser.add_argument(
        "--report", action="store_true", help="write tables and plots anew from the stored figures"
    )
    given = parser.parse_args()
    given.rounds = given.rounds or (1 if given.quick else 3)
    return given


def place_of(given: argparse.Namespace) -> Path:
    """The folder of the results."""
    if given.out is not None:
        out: Path = given.out
        return out
    has_others = any(":" in client for client in given.client or ())
    return environment.ROOT / (OTHERS if has_others else QUICK if given.quick else FULL)


def check(given: argparse.Namespace) -> None:
    """End with a message if a case or a client does not exist."""
    from cases import CASES
    from clients import NAMES

    known = {*NAMES, *(client for case in CASES.values() for client in case.clients)}
    unknown = [client for client in given.client or () if ":" not in client and client not in known]
    for case in given.case or ():
        if case not in CASES:
            sys.exit(f"no case is named {case}; name one of {', '.join(CASES)}")
    if unknown:
        sys.exit(f"no client is named {unknown[0]}; name one of {', '.join(sorted(known))} or FILE.py:CLASS")


def main() -> None:
    """Measure, and write the report."""
    given = arguments()
    if not given.here:
        environment.make(refresh=given.refresh)
        needs_litellm = "gateway" in (given.case or ["gateway"]) and not given.quick and not given.report
        if needs_litellm and "litellm-proxy" in (given.client or ["litellm-proxy"]):
            environment.make_litellm(refresh=given.refresh)
        environment.go_there()
    check(given)
    import report

    place = place_of(given)
    if not given.report:
        words = [arg for arg in sys.argv[1:] if arg not in ("--refresh", "--here")]
        made = environment.description() | {"command": shlex.join(["python", "bench/run.py", *words])}
        runs, skipped = measure(given)
        report.keep(place, runs, skipped, made, is_whole=not (given.case or given.client))
    report.write(place)


if __name__ == "__main__":
    main()
