"""Leases: the part of a tenant's shared limits that one replica may use. Times are arguments.

The ledger in Valkey divides each limit among the replicas: ``ledger.lua``. A replica renews its leases ahead,
in the background, and a turn takes from them without waiting:

1. A **wish** tells the ledger what the replica holds, uses and needs.
2. The **grant** is the quota of the replica until ``lease_s`` after the wish was sent. The ledger keeps it
   longer.
3. A smaller quota holds at once. The ledger gives the rest to others after the next wish, which confirms it.
   The quotas of all replicas are therefore never more than the limit, in whatever order wishes and grants
   arrive or get lost.
4. A lease that has expired is lost, and so is one that a ledger without memory cannot confirm. Until the next
   grant the replica has its own part of the limit, or none: ``when_down``.

Both limits are the same to the ledger: a turn uses one of ``turns_in_flight`` while it runs, and one of
``turns_per_minute`` for a minute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from .allowance import SOON_S, WINDOW_S, Allowance
from .configuration import Shared

Limit = Literal["turns_in_flight", "turns_per_minute"]
KEEP_S: Final[Mapping[Limit, float]] = {"turns_in_flight": 0.0, "turns_per_minute": WINDOW_S}
"""The time for which the ledger counts the turns of a replica that has ended."""
SHORT: Final = 0.8
"""The time for which a refused turn counts as a need for more, as a part of the life of a lease: so that all
other replicas have renewed meanwhile, and returned what they do not use."""
LEAVING: Final = -1
"""The need of a replica that takes no new turns."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a replica tells the ledger about one limit.

    Attributes:
        limit: the limit of all replicas together.
        held: the quota that the replica may use now, by a lease.
        used: the turns that use the limit.
        need: the quota that its traffic needs; `LEAVING` for a replica that takes no new turns.
    """

    limit: int
    held: int
    used: int
    need: int


@dataclass(frozen=True, slots=True)
class Grant:
    """The ledger's answer.

    Attributes:
        quota: the quota of the replica.
        replicas: the number of replicas.
        unused: the part of the limit that no replica uses.
        is_settled: the ledger knows all leases. One that has lost its memory confirms leases and grants none.
    """

    quota: int
    replicas: int
    unused: int
    is_settled: bool


class Lease:
    """The part of one shared limit that this replica may use.

    Args:
        limit: the limit of all replicas together.
        shared: the table ``shared`` of the configuration.

    Attributes:
        limit: as given.
        until: the time at which the lease expires; infinite without a lease, which cannot expire.
        is_held: the quota is a lease, and not the replica's own part.
        quota: the part that may be used now.
        unused: the part of the limit that no replica used, when the ledger was last read.
    """

    def __init__(self, limit: int, shared: Shared) -> None:
        self.limit: int = limit
        self.unused: int = limit
        self.is_held: bool = False
        self.until: float = math.inf
        self._shared = shared
        self._replicas = shared.replicas
        self._short_until = -math.inf
        self.quota: int = self._own_part()

    @property
    def is_suspended(self) -> bool:
        """Whether no turn may begin, because no lease is held."""
        return not self.is_held and self._shared.when_down == "refuse"

    @property
    def low(self) -> float:
        """The number of used turns from which the lease should be renewed early."""
        return self.quota - self.quota // 4 if self.is_held and self.quota < self.limit else math.inf

    def fall_short(self, now: float) -> None:
        """A turn was refused."""
        self._short_until = now + SHORT * self._shared.lease_s

    def wish(self, now: float, used: int, peak: int, *, leaves: bool) -> Wish:
        """The wish for the next lease.

        Args:
            now: the time at which it is sent.
            used: the turns that use the limit.
            peak: the highest number of them since the last wish.
            leaves: the replica takes no new turns.
        """
        need = self.limit if now < self._short_until else min(self.limit, peak + (peak + 3) // 4)
        held = self.quota if self.is_held else 0
        return Wish(self.limit, 0 if leaves else held, used, LEAVING if leaves else need)

    def take(self, grant: Grant, sent_at: float) -> bool:
        """Take the answer to a wish. Return whether the ledger should soon hear that the quota is smaller.

        Args:
            grant: the answer.
            sent_at: the time at which the wish was sent.
        """
        self.unused = grant.unused
        self._replicas = max(self._shared.replicas, grant.replicas)
        if not grant.is_settled and not grant.quota:
            self.lose()
            return False
        shrinks = self.is_held and grant.quota < self.quota
        self.is_held, self.quota = True, grant.quota
        self.until = sent_at + self._shared.lease_s
        return shrinks

    def lose(self) -> None:
        """Fall back to the replica's own part."""
        self.is_held, self.until, self.quota = False, math.inf, self._own_part()

    def _own_part(self) -> int:
        if self._shared.when_down == "refuse":
            return 0
        # At least one: with fewer turns than replicas, nothing would be served.
        return max(1, self.limit // self._replicas)


class LeasedAllowance(Allowance):
    """The turns of one tenant, whose limits all replicas share.

    Args:
        in_flight: the number of turns at a time on all replicas; ``None`` for no limit.
        per_minute: the number of turns that begin in any minute on all replicas; ``None`` for no limit.
        shared: the table ``shared`` of the configuration.
        ask: called when a lease runs low. Must not wait.

    Attributes:
        leases: the leases by the limit.
    """

    def __init__(
        self, in_flight: int | None, per_minute: int | None, shared: Shared, ask: Callable[[], None]
    ) -> None:
        limits: dict[Limit, int | None] = {"turns_in_flight": in_flight, "turns_per_minute": per_minute}
        self.leases: Mapping[Limit, Lease] = {
            name: Lease(limit, shared) for name, limit in limits.items() if limit is not None
        }
        self._ask = ask
        self._peak = 0
        self._until = self._low_begun = math.inf
        super().__init__(in_flight, per_minute)
        self._apply()
        self._low_running: float = 0  # the first turn asks, where nothing has before

    def take(self, now: float) -> float:
        """Begin a turn, and return 0; or return the seconds after which another attempt makes sense."""
        if now >= self._until:
            self._expire(now)
        wait_s = super().take(now)
        if wait_s:
            wait_s = self._fall_short(now, wait_s)
        elif self.running > self._peak:
            self._peak = self.running
        if self.running >= self._low_running or len(self._begun) >= self._low_begun:
            self._low_running = self._low_begun = math.inf  # once for each grant
            self._ask()
        return wait_s

    def wishes(self, now: float, *, leaves: bool = False) -> Mapping[Limit, Wish]:
        """The wishes for the next leases.

        Args:
            now: the time at which they are sent.
            leaves: the replica takes no new turns.
        """
        if now >= self._until:
            self._expire(now)
        begun = self._begun_within(now)
        uses: dict[Limit, tuple[int, int]] = {
            "turns_in_flight": (self.running, self._peak),
            "turns_per_minute": (begun, begun),
        }
        self._peak = self.running
        return {name: lease.wish(now, *uses[name], leaves=leaves) for name, lease in self.leases.items()}

    def grant(self, grants: Mapping[Limit, Grant], sent_at: float) -> bool:
        """Take the answers to wishes. Return whether the next wishes should follow soon.

        Args:
            grants: the answers.
            sent_at: the time at which the wishes were sent.
        """
        shrinks = [self.leases[name].take(grant, sent_at) for name, grant in grants.items()]
        self._apply()
        return any(shrinks)

    def _expire(self, now: float) -> None:
        for lease in self.leases.values():
            if now >= lease.until:
                lease.lose()
        self._apply()

    def _fall_short(self, now: float, wait_s: float) -> float:
        """A turn is refused: its tenant needs more. Return the time to wait."""
        running, per_minute = self.leases.get("turns_in_flight"), self.leases.get("turns_per_minute")
        lease = running if running is not None and self.running >= running.quota else per_minute
        assert lease is not None
        lease.fall_short(now)
        if lease.is_held:
            self._low_running = 0
        # Another replica returns what it does not use. Otherwise, a turn of the window must end first.
        return min(wait_s, SOON_S) if lease.is_held and lease.unused > 0 else wait_s

    def _apply(self) -> None:
        """Use the quotas as they are now."""
        running, per_minute = self.leases.get("turns_in_flight"), self.leases.get("turns_per_minute")
        self._bound(
            running.quota if running is not None else None,
            per_minute.quota if per_minute is not None else None,
        )
        self._low_running = running.low if running is not None else math.inf
        self._low_begun = per_minute.low if per_minute is not None else math.inf
        self._until = min((lease.until for lease in self.leases.values()), default=math.inf)
        self.is_suspended: bool = any(lease.is_suspended for lease in self.leases.values())


__all__ = ["KEEP_S", "LEAVING", "Grant", "Lease", "LeasedAllowance", "Limit", "Wish"]
