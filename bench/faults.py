"""Measure the seconds from a fault of the network or the server to the answer, or to the error.

    python bench/faults.py [--client CLIENT]... [--fault FAULT]... [--limit SECONDS] [--here] [--report]

A client is a name of `CLIENTS`, or FILE.py:CLASS of another: see docs/benchmarks/add-a-client.md.

Each run has an interpreter, an emulator and a link of its own. The link is a TCP proxy on loopback that fails
as told; its kernel acknowledges what it does not pass. All clients have their defaults. The figures of all
clients and faults go to docs/benchmarks/faults.json and faults.md; those of some are only printed. ``--here``
uses the packages of this interpreter instead of .venv-bench.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environment

HERE = Path(__file__).parent
PAGE = environment.ROOT / "docs" / "benchmarks" / "faults.md"
FIGURES = PAGE.with_suffix(".json")
CLIENTS = (
    "trunkline",
    "openai-dropin",
    "openai-lane",
    "openai-http",
    "livekit",
    "openai-agents",
    "pydantic-ai",
)
WARM_WORDS = "words-30"
WORDS_PER_S = 10

SERVER = """
import asyncio, sys
from trunkline.emulator import Emulator

async def main():
    async with Emulator(api_key=None, tokens_per_second=float(sys.argv[1])) as emulator:
        if len(sys.argv) > 2:
            emulator.faults.add(
                "reject", request=2, status=429, code="rate_limit_exceeded",
                headers={"retry-after": sys.argv[2]},
            )
        print(emulator.base_url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


class Stage:
    """A client, its conversation, the link and the server of one run."""

    def __init__(self, client: str, retry_after: str | None) -> None:
        command = [sys.executable, "-c", SERVER, str(WORDS_PER_S), *([retry_after] if retry_after else [])]
        self._server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        base_url = self._server.stdout.readline().strip()
        sys.path.insert(0, str(environment.ROOT))
        from tests.networks.link import Link

        self.link: Any = Link(base_url)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.on_link(self.link.accept)
        self._client = client
        self.failed_at = 0.0

    def on_link(self, action: Callable[[], Any]) -> None:
        """Do something in the thread of the link, and wait until it is done."""

        async def act() -> None:
            done = action()
            if isinstance(done, Awaitable):
                await done

        asyncio.run_coroutine_threadsafe(act(), self._loop).result()

    async def open(self) -> None:
        """Open the client, by way of the link."""
        import clients.base

        clients.base.MODEL = WARM_WORDS  # for the modules that are imported next
        from clients import client_named

        self.client: Any = client_named(self._client)
        await self.client.open(self.link.base_url)
        self.talk: Any = await self.client.talk(clients.base.Seed())

    async def turn(self, heard: Callable[[str], None] | None = None) -> int:
        """One turn; the number of deltas."""
        self.talk.say("And then?")
        told = await self.talk.ask(heard)
        deltas: int = told.deltas
        return deltas

    def silence(self) -> None:
        """Silence on the flows that exist."""
        self.on_link(self.link.fall_silent)

    def partition(self) -> None:
        """Silence on all flows, also on new ones."""

        def part() -> None:
            self.link.silent = True
            self.link.fall_silent()

        self.on_link(part)

    def suspend(self) -> None:
        """Suspend the server."""
        os.kill(self._server.pid, signal.SIGSTOP)

    def refuse(self, seconds: float) -> None:
        """End all connections, and refuse new ones for a time."""

        def gone() -> None:
            self.link.refuse()
            self.link.cut()

        self.on_link(gone)
        threading.Timer(seconds, lambda: self.on_link(self.link.accept)).start()

    def cut(self, seconds: float) -> None:
        """End all connections, and new ones after their first byte, for a time."""

        def cutting(*, cuts: bool) -> None:
            self.link.cuts = cuts
            if cuts:
                self.link.cut()

        self.on_link(lambda: cutting(cuts=True))
        threading.Timer(seconds, lambda: self.on_link(lambda: cutting(cuts=False))).start()

    def end(self) -> None:
        """End the server."""
        self._server.kill()


@dataclass(frozen=True)
class Fault:
    """One row of the table.

    Attributes:
        title: what happens.
        strike: makes it happen.
        when: before the turn that is measured, in the middle of its answer, or before the first connection.
        retry_after: the value in the refusal of the second request.
        idle_s: the seconds between the fault and the turn.
    """

    title: str
    strike: Callable[[Stage], None] = lambda stage: None
    when: str = "before"
    retry_after: str | None = None
    idle_s: float = 0.0


FAULTS = {
    "silent-mid-answer": Fault("NAT drop in the middle of an answer", Stage.silence, "middle"),
    "silent-before": Fault("NAT drop, then a turn", Stage.silence),
    "silent-idle": Fault("NAT drop, 15 s idle, then a turn", Stage.silence, idle_s=15.0),
    "partition-mid-answer": Fault("partition in the middle of an answer", Stage.partition, "middle"),
    "partition-before": Fault("partition, then a turn", Stage.partition),
    "partition-cold": Fault("partition before the first connection", Stage.partition, "cold"),
    "suspended": Fault("suspended server, then a turn", Stage.suspend),
    "refused-1": Fault("connections refused for 1 s", lambda stage: stage.refuse(1.0)),
    "refused-3": Fault("connections refused for 3 s", lambda stage: stage.refuse(3.0)),
    "cut-2": Fault("connections accepted and cut for 2 s", lambda stage: stage.cut(2.0)),
    "429-2": Fault("429 with `retry-after: 2`", retry_after="2"),
    "429-15": Fault("429 with `retry-after: 15`", retry_after="15"),
}


async def act(fault: Fault, stage: Stage, limit_s: float) -> dict[str, Any]:
    """The outcome of one run, and its seconds."""
    begun = 0.0

    def strike(delta: str = "") -> None:
        nonlocal begun
        begun = time.monotonic()
        fault.strike(stage)

    heard = 0

    def on_delta(delta: str) -> None:
        nonlocal heard
        heard += 1
        if heard == 3:
            strike()

    await stage.open()
    if fault.when == "cold":
        strike()
    else:
        await stage.turn()
        if fault.when == "before":
            strike()
            await asyncio.sleep(fault.idle_s)
            begun = time.monotonic()
    try:
        async with asyncio.timeout(limit_s):
            deltas = await stage.turn(on_delta if fault.when == "middle" else first_of(lambda: None))
    except TimeoutError as error:
        if type(error) is not TimeoutError or time.monotonic() - begun < limit_s - 1:
            return {"outcome": type(error).__name__, "seconds": time.monotonic() - begun}
        return {"outcome": "nothing", "seconds": limit_s}
    except Exception as error:
        return {"outcome": type(error).__name__, "seconds": time.monotonic() - begun}
    # The answer itself takes three seconds, which are not those of the fault.
    seconds = time.monotonic() - begun - deltas / WORDS_PER_S
    if fault.when == "middle":
        return {"outcome": f"ended after {deltas} deltas", "seconds": time.monotonic() - begun}
    return {"outcome": "answer", "seconds": max(0.0, seconds)}


def first_of(action: Callable[[], None]) -> Callable[[str], None]:
    """A function for deltas."""
    return lambda delta: action()


def run_here(client: str, fault: str, limit_s: float) -> None:
    """One run in this interpreter."""
    import logging

    from msgspec import json

    logging.disable(logging.CRITICAL)
    stage = Stage(client, FAULTS[fault].retry_after)
    try:
        figures = asyncio.run(_limited(FAULTS[fault], stage, limit_s))
    except ModuleNotFoundError as error:
        figures = {"outcome": f"{error.name} is not installed", "seconds": 0.0}
    except BaseException as error:
        figures = {"outcome": f"failed: {type(error).__name__}", "seconds": 0.0}
    print(json.encode(figures).decode(), flush=True)
    stage.end()
    os._exit(0)


async def _limited(fault: Fault, stage: Stage, limit_s: float) -> dict[str, Any]:
    figures = await act(fault, stage, limit_s)
    from msgspec import json

    print(json.encode(figures).decode(), flush=True)
    stage.end()
    os._exit(0)  # clients may wait for a long time when they are closed


def run_apart(client: str, fault: str, limit_s: float) -> dict[str, Any]:
    """One run in an interpreter of its own."""
    from msgspec import json

    command = [sys.executable, __file__, "--run", client, fault, "--limit", str(limit_s)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s + FAULTS[fault].idle_s + 60, check=False
        )
        figures: dict[str, Any] = json.decode(done.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError):
        figures = {"outcome": "failed", "seconds": 0.0}
    print(f"{fault:22} {client:14} {figures['seconds']:6.1f} s  {figures['outcome']}", flush=True)
    return figures


def cell(figures: dict[str, Any], limit_s: float) -> str:
    """One cell of the table."""
    if figures["outcome"] == "nothing":
        return f"nothing in {limit_s:g}"
    if figures["outcome"].startswith("failed"):
        return "failed"
    if figures["outcome"].endswith("is not installed"):
        return "not installed"
    return f"{figures['seconds']:.1f} {figures['outcome']}"


def table(figures: dict[str, dict[str, Any]], limit_s: float) -> str:
    """The table of these figures, by fault and client."""
    clients = list(dict.fromkeys(client for row in figures.values() for client in row))
    lines = ["| fault | " + " | ".join(clients) + " |", "| --- |" + " --- |" * len(clients)]
    for fault, row in figures.items():
        cells = [cell(row[client], limit_s) if client in row else "-" for client in clients]
        lines.append(f"| {FAULTS[fault].title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write() -> None:
    """Write the page from the stored figures."""
    from msgspec import json

    stored = json.decode(FIGURES.read_bytes())
    made = stored["made"]
    shown = ("openai", "livekit-plugins-openai", "openai-agents", "pydantic-ai-slim")
    versions = ", ".join(f"{name} {made['versions'][name]}" for name in shown if name in made["versions"])
    note = (
        f"Made by `{made['command']}` on {made['date']}, commit {made['commit']}: Python {made['python']}, "
        f"{made['system']}, {made['cores']} cores; {versions}."
    )
    head, _, rest = PAGE.read_text().partition("<!-- table -->\n")
    _, _, foot = rest.partition("<!-- end -->\n")
    lines = table(stored["figures"], made["limit_s"])
    PAGE.write_text(f"{head}<!-- table -->\n{note}\n\n{lines}\n<!-- end -->\n{foot}")
    print(f"wrote {PAGE.relative_to(environment.ROOT)}")


def measure(clients: Sequence[str], faults: Sequence[str], limit_s: float) -> dict[str, dict[str, Any]]:
    """The outcome of each client in each fault."""
    from clients import label_of

    pairs = [(client, fault) for fault in faults for client in clients]
    figures: dict[str, dict[str, Any]] = {fault: {} for fault in faults}
    with ThreadPoolExecutor(6) as workers:  # they wait most of the time
        found = workers.map(lambda pair: run_apart(*pair, limit_s), pairs)
        for (client, fault), outcome in zip(pairs, found, strict=True):
            figures[fault][label_of(client)] = outcome
    return figures


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--client", action="append", help=f"{', '.join(CLIENTS)} or FILE.py:CLASS")
    parser.add_argument("--fault", action="append", choices=list(FAULTS))
    parser.add_argument("--limit", type=float, default=60.0)
    parser.add_argument("--here", action="store_true")
    parser.add_argument("--report", action="store_true", help="write the page anew from the stored figures")
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        run_here(*given.run, given.limit)
    if not given.here:
        environment.make()
        environment.go_there()
    unknown = [client for client in given.client or () if client not in CLIENTS and ":" not in client]
    if unknown:
        sys.exit(f"no client is named {unknown[0]}; name one of {', '.join(CLIENTS)} or FILE.py:CLASS")
    if not given.report:
        figures = measure(given.client or CLIENTS, given.fault or list(FAULTS), given.limit)
        if given.client or given.fault:
            print(table(figures, given.limit))
            return
        from msgspec import json

        command = "python bench/faults.py --here" if given.here else "make bench-faults"
        made = environment.description() | {"command": command, "limit_s": given.limit}
        FIGURES.write_bytes(json.format(json.encode({"made": made, "figures": figures}), indent=1) + b"\n")
    write()


if __name__ == "__main__":
    main()
