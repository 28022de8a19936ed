"""A fleet on paper: replicas, sockets, lanes, full turns and memory for a number of live conversations.

    python bench/fleet_model.py            # prints the tables
    python bench/fleet_model.py --write    # writes them into docs/deploy.md

Pure functions of measured constants, each with the command that made it. What is assumed has the source
"assumed" and is an argument of `Load`.
"""

from __future__ import annotations

import argparse
import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "deploy.md"
BEGIN, END = "<!-- fleet model -->\n", "<!-- end of the fleet model -->\n"
SIZES = (100, 10_000, 1_000_000)
POINTS = 160
"""Points of a replica on the ring, as with nginx and HAProxy."""


@dataclass(frozen=True)
class Constant:
    """A number of the model.

    Attributes:
        value: the number.
        meaning: what it is, with its unit.
        source: the command or the file that it comes from.
    """

    value: float
    meaning: str
    source: str


_GATEWAY = "`python bench/run.py --case gateway`"
DELTA_US = Constant(25.3, "CPU per text delta, 400 streams at 50 a second: µs", _GATEWAY)
TURN_MS = Constant(0.449, "CPU per turn after 6 items: ms", _GATEWAY)
IDLE_KB = Constant(24.5, "memory per idle conversation of 22 messages: KB", _GATEWAY)
BASE_MB = Constant(59, "memory of `trunkline serve` without callers: MB", "`grep VmRSS /proc/PID/status`")
IN_FLIGHT = Constant(16, "answers at a time on one socket", "the service; docs/guide.md")
NAMES = Constant(32, "lanes of one socket", "the service; docs/guide.md")
SOCKETS = Constant(256, "sockets upstream of one tenant and replica", "`bounds.upstream_sockets`")
HISTORIES_MB = Constant(512, "histories of a replica: MB", "`bounds.histories_bytes`")
KEYS = Constant(4096, "conversations with a key that a replica remembers for one tenant", "`LineageLimits`")
ANSWERS = Constant(200, "answers of a replica at which the autoscaler adds one", "deploy/kubernetes")
REPLICAS = Constant(20, "replicas at most", "deploy/kubernetes")
BALANCERS = Constant(2, "balancers", "deploy/kubernetes")
CONNECTIONS = Constant(8192, "connections of a balancer", "deploy/kubernetes/haproxy.cfg")
DNS_BYTES = Constant(
    8192, "bytes of an answer of DNS, of which an address takes 16", "deploy/kubernetes/haproxy.cfg"
)
CONSTANTS = (
    *(DELTA_US, TURN_MS, IDLE_KB, BASE_MB, IN_FLIGHT, NAMES, SOCKETS, HISTORIES_MB, KEYS),
    *(ANSWERS, REPLICAS, BALANCERS, CONNECTIONS, DNS_BYTES),
)


@dataclass(frozen=True)
class Load:
    """Live conversations of one tenant. A conversation is live until its last turn.

    Attributes:
        conversations: their number.
        answering: the share that is being answered at a moment, at the peak.
        deltas_per_s: deltas of one answer in a second.
        turn_every_s: the seconds from one turn of a conversation to the next.
        is_stored: the service stores responses, so that any lane can continue them.
    """

    conversations: int
    answering: float = 1 / 3
    deltas_per_s: float = 50
    turn_every_s: float = 15
    is_stored: bool = False

    @property
    def answers(self) -> int:
        """Answers at a time."""
        return math.ceil(self.conversations * self.answering)


@dataclass(frozen=True)
class Plan:
    """The fleet for a load. Numbers of one replica unless they say otherwise.

    Attributes:
        replicas: the number of replicas.
        answers: answers at a time.
        sockets: sockets upstream.
        fleet_sockets: those of all replicas.
        lanes: lanes of these sockets.
        delta_share: the share of turns that send new items only.
        cores: CPU.
        memory_mb: memory.
        moved_by_one: the full turns when one replica leaves, of all conversations.
    """

    replicas: int
    answers: int
    sockets: int
    fleet_sockets: int
    lanes: int
    delta_share: float
    cores: float
    memory_mb: float
    moved_by_one: int


def plan(load: Load, *, answers_per_replica: float = ANSWERS.value, least: int = 2) -> Plan:
    """The fleet for a load, as the autoscaler of deploy/kubernetes sizes it."""
    replicas = max(least, math.ceil(load.answers / answers_per_replica))
    answers = math.ceil(load.answers / replicas)
    sockets = sockets_for(answers)
    conversations = load.conversations / replicas
    per_s = answers * load.deltas_per_s * DELTA_US.value / 1e6
    turns_s = conversations / load.turn_every_s * TURN_MS.value / 1e3
    return Plan(
        replicas=replicas,
        answers=answers,
        sockets=sockets,
        fleet_sockets=sockets * replicas,
        lanes=sockets * int(NAMES.value),
        delta_share=delta_share(conversations, sockets, is_stored=load.is_stored),
        cores=per_s + turns_s,
        memory_mb=BASE_MB.value + conversations * IDLE_KB.value / 1e3,
        moved_by_one=math.ceil(conversations),
    )


def sockets_for(answers: int) -> int:
    """The sockets of a pool at its peak of answers at a time: it dials when all open ones are full."""
    return math.ceil(answers / IN_FLIGHT.value)


def delta_share(conversations: float, sockets: int, *, is_stored: bool) -> float:
    """The share of turns that send new items only, where conversations take turns at random.

    Unstored responses live on their lane alone, until another conversation takes it. Beyond the number of
    keys, the least recently used conversation is forgotten.
    """
    if conversations <= 0:
        return 1.0
    known = min(KEYS.value, conversations)
    if not is_stored:
        known = min(known, sockets * NAMES.value)
    return known / conversations


@dataclass(frozen=True)
class Limit:
    """A bound of the shipped files, and the live conversations at which it is reached."""

    name: str
    conversations: int
    remedy: str


def limits(load: Load) -> list[Limit]:
    """All limits for loads of this kind, the first one first."""
    addresses = int(DNS_BYTES.value // 16)
    per_replica = ANSWERS.value / load.answering
    found = [
        Limit(
            f"{REPLICAS.value:.0f} replicas with {ANSWERS.value:.0f} answers",
            int(REPLICAS.value * per_replica),
            "`maxReplicas`, and the places of `server-template`",
        ),
        Limit(
            f"{BALANCERS.value:.0f} balancers with {CONNECTIONS.value:,.0f} connections",
            int(BALANCERS.value * CONNECTIONS.value / load.answering),
            "more balancers",
        ),
        Limit(
            f"{REPLICAS.value:.0f} replicas with {KEYS.value:,.0f} keys",
            int(REPLICAS.value * KEYS.value),
            "more replicas",
        ),
        Limit(
            f"{REPLICAS.value:.0f} replicas with {SOCKETS.value:.0f} sockets upstream",
            int(REPLICAS.value * SOCKETS.value * IN_FLIGHT.value / load.answering),
            "`upstream_sockets`",
        ),
        Limit(
            f"{addresses} addresses in an answer of DNS",
            int(addresses * per_replica),
            "several fleets, by tenant or region",
        ),
        Limit(
            f"{REPLICAS.value:.0f} replicas with {HISTORIES_MB.value:.0f} MB of histories",
            int(REPLICAS.value * HISTORIES_MB.value * 1e3 / IDLE_KB.value),
            "`histories_bytes`",
        ),
    ]
    return sorted(found, key=lambda limit: limit.conversations)


class Ring:
    """A consistent hash ring, as balancers make it of the replicas.

    Args:
        replicas: their addresses.
    """

    def __init__(self, replicas: Iterable[str]) -> None:
        points = sorted((_hash(f"{name} {point}"), name) for name in replicas for point in range(POINTS))
        self._places = [place for place, _ in points]
        self._names = [name for _, name in points]

    def replica_of(self, key: str) -> str:
        """The replica of a conversation."""
        return self._names[bisect.bisect(self._places, _hash(key)) % len(self._names)]


def moved_share(before: Sequence[str], after: Sequence[str], keys: Sequence[str]) -> float:
    """The share of conversations whose replica differs between two sets of replicas."""
    old, new = Ring(before), Ring(after)
    return sum(old.replica_of(key) != new.replica_of(key) for key in keys) / len(keys)


def moves_of_a_rollout(replicas: int, keys: Sequence[str], surge: int = 1) -> float:
    """The moves of one conversation in a rolling update: new replicas come, then as many old ones leave.

    Each move costs one full turn at most: a conversation without a turn between two moves pays once.
    """
    names = [f"old {number}" for number in range(replicas)]
    moves, begun = 0.0, 0
    while begun < replicas:
        batch = min(surge, replicas - begun)
        grown = [*names, *(f"new {number}" for number in range(begun, begun + batch))]
        shrunk = grown[batch:]
        moves += moved_share(names, grown, keys) + moved_share(grown, shrunk, keys)
        names, begun = shrunk, begun + batch
    return moves


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def tables() -> str:
    """The tables of docs/deploy.md."""
    plans = [plan(Load(size)) for size in SIZES]
    keys = [f"conversation {number}" for number in range(2000)]
    rows = [
        ("answers at a time", [f"{Load(size).answers:,}" for size in SIZES]),
        ("replicas", [f"{each.replicas:,}" for each in plans]),
        ("sockets upstream, all replicas", [f"{each.fleet_sockets:,}" for each in plans]),
        ("lanes, all replicas", [f"{each.lanes * each.replicas:,}" for each in plans]),
        ("turns as deltas, responses not stored", [f"{each.delta_share:.0%}" for each in plans]),
        (
            "turns as deltas, responses stored",
            [f"{plan(Load(size, is_stored=True)).delta_share:.0%}" for size in SIZES],
        ),
        ("CPU of a replica: cores", [f"{each.cores:.2f}" for each in plans]),
        ("memory of a replica: MB", [f"{each.memory_mb:.0f}" for each in plans]),
        ("full turns when a replica leaves", [f"{each.moved_by_one:,}" for each in plans]),
        (
            "full turns of each conversation in a rolling update, at most",
            [f"{moves_of_a_rollout(min(each.replicas, 17), keys):.1f}" for each in plans],
        ),
    ]
    idle = [plan(Load(10_000, answering=share)).delta_share for share in _SHARES]
    parts = [
        (
            ["live conversations", *(f"{size:,}" for size in SIZES)],
            [[name, *values] for name, values in rows],
        ),
        (
            ["limit of the shipped files", "live conversations", "beyond it"],
            [[each.name, f"{each.conversations:,}", each.remedy] for each in limits(Load(1))],
        ),
        (
            ["share that is being answered", *(f"{share:.0%}" for share in _SHARES)],
            [["turns as deltas, responses not stored", *(f"{share:.0%}" for share in idle)]],
        ),
        (
            ["constant", "value", "source"],
            [[each.meaning, f"{each.value:,g}", each.source] for each in CONSTANTS],
        ),
    ]
    return "\n".join(_table(head, body) for head, body in parts)


_SHARES = (0.05, 0.1, 0.25, 0.5)


def _table(head: list[str], body: list[list[str]]) -> str:
    """A table whose columns of numbers are on the right."""
    marks = ["---" if at == 0 or body[0][at][:1] in "`ms" else "---:" for at in range(len(head))]
    return "".join(f"{_row(cells)}\n" for cells in [head, marks, *body])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description="Size a fleet of gateways.")
    parser.add_argument("--write", action="store_true", help="write the tables into docs/deploy.md")
    if not parser.parse_args().write:
        print(tables(), end="")
        return
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{tables()}\n{END}{after}")


if __name__ == "__main__":
    main()
