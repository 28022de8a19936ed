"""Random turns under random faults, recorded.

    python -m tests.soak --part client --turns 100000 --seed 1
    python -m tests.soak --part client --minutes 10 --seed 1
    python -m tests.soak --part client --seed 1 --round 37
    python -m tests.soak --summary

Rounds are played in the order of their numbers, several at the same time. Each range of rounds becomes a line
of the record. A soak that is started again at the same commit goes on with the next round. The exit code is 1
unless lost, doubled, mixed and wrong are all zero.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import logging
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from . import client, dropin, gateway
from .figures import Figures
from .record import Line, Record, RecordRefused, summary
from .rounds import Ended, Play, RoundFailed, Rounds

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "build" / "soak"
PARTS: dict[str, Play] = {"client": client.play, "drop-in": dropin.play, "gateway": gateway.play}
PER_RANGE = 20
HANG_S = 300
ALL = 10**12


def commit_of(root: Path) -> str:
    """The commit of a checkout, with ``+dirty`` if files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=root, check=True, capture_output=True, text=True
        ).stdout.strip()

    return git("rev-parse", "HEAD") + ("+dirty" if git("status", "--porcelain") else "")


def resident_mib() -> float:
    """The resident memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:  # not Linux: the most that it ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Recording:
    """Writes a line of the record for each range."""

    def __init__(self, record: Record, part: str, commit: str, seed: int) -> None:
        self._record = record
        self._of = part, commit, seed
        self._process = f"{os.getpid()} since {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
        self._latest = time.monotonic()
        self.is_clean = True

    def add(self, ended: Ended) -> None:
        """Add a range."""
        gc.collect()  # ended worlds are cycles; without this their memory would count as growth
        now = time.monotonic()
        seconds, self._latest = round(now - self._latest, 1), now
        rss = round(resident_mib(), 1)
        part, commit, seed = self._of
        line = Line(part, commit, seed, ended.first, ended.last, self._process, seconds, rss, ended.figures)
        self._record.append(line)
        self.is_clean = self.is_clean and ended.figures.is_clean
        print(line.dumps(), file=sys.stderr, flush=True)


def main(given: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", choices=PARTS, default="client")
    parser.add_argument("--turns", type=int, help="the turns of the seed, those in the record included")
    parser.add_argument("--minutes", type=float, help="no round begins later; 10 without --turns")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worlds", type=int, default=16, help="rounds at the same time")
    parser.add_argument("--record", type=Path, help="default: build/soak/PART.jsonl")
    parser.add_argument("--round", type=int, help="play this round alone, without a record")
    parser.add_argument("--summary", action="store_true", help="print the table of all records")
    options = parser.parse_args(given)
    if options.summary:
        paths = [options.record] if options.record else sorted(FOLDER.glob("*.jsonl"))
        print(summary([line for path in paths for line in Record(path).lines]))
        return 0
    if options.round is not None:
        figures = asyncio.run(_alone(PARTS[options.part], options.seed, options.round))
        print(figures.as_json())
        return 0 if figures.is_clean else 1
    record = Record(options.record or FOLDER / f"{options.part}.jsonl")
    commit = commit_of(ROOT)
    minutes = 10.0 if options.minutes is None and options.turns is None else options.minutes
    try:
        first, played = record.continued(options.part, commit, options.seed)
        recording = Recording(record, options.part, commit, options.seed)
        rounds = Rounds(
            play=PARTS[options.part],
            seed=options.seed,
            first=first,
            turns=(ALL if options.turns is None else options.turns) - played,
            until=None if minutes is None else time.monotonic() + minutes * 60,
            worlds=options.worlds,
            per_range=PER_RANGE,
            report=recording.add,
        )
        asyncio.run(_watched(rounds))
    except RecordRefused as refused:
        print(refused, file=sys.stderr)
        return 2
    except RoundFailed as failed:
        print(
            f"{failed}; see it again: --part {options.part} --seed {options.seed} --round NUMBER",
            file=sys.stderr,
        )
        raise SystemExit(1) from failed
    print(summary(record.lines))
    return 0 if recording.is_clean else 1


async def _alone(play: Play, seed: int, number: int) -> Figures:
    return await play(seed, number)


async def _watched(rounds: Rounds) -> None:
    """Play the rounds. The process ends with a traceback if the event loop hangs in a callback."""
    soak = asyncio.ensure_future(rounds.run())
    while not soak.done():
        faulthandler.dump_traceback_later(HANG_S, exit=True, file=sys.__stderr__ or sys.stderr)
        await asyncio.wait([soak], timeout=HANG_S / 10)
    faulthandler.cancel_dump_traceback_later()
    soak.result()


def _calm() -> None:
    """Log errors only, and collect garbage less often: most objects live as long as their world."""
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # sockets that were cut while it answered
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


if __name__ == "__main__":
    _calm()
    sys.exit(main())
