"""Ledger: the leases of this replica, renewed in Valkey in the background.

No turn waits for Valkey: it takes from a `LeasedAllowance`. The errors of Valkey are counted, and logged once
until it answers again. `leases` has the arithmetic, ``ledger.lua`` the part that Valkey runs.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any, Final

from valkey.asyncio.connection import AbstractConnection, ConnectionPool

from .._network.world import World
from .allowance import Allowance
from .configuration import Shared, Tenant
from .leases import KEEP_S, Grant, LeasedAllowance, Limit

OPEN_S: Final = 2.0
"""The time that a starting or ending process gives to Valkey."""
SCRIPT: Final = files(__package__).joinpath("ledger.lua").read_text(encoding="utf-8")
_RENEWALS: Final = 5
"""The number of renewals within the life of a lease."""
_EARLIEST: Final = 0.2
"""The time between two renewals, at least, as a part of that between regular ones."""
_STEP: Final = 0.4
"""The time that one call can add to the clock of the ledger, as a part of the life of a lease."""
_STEPS: Final = 2
"""The times that Valkey's clock may be set forward within the life of a lease, by any time."""
_logger = logging.getLogger("trunkline.gateway")


class Ledger:
    """The leases of this replica.

    Args:
        shared: the table ``shared`` of the configuration.
        failed: called for each failed renewal.
        world: the clock and chance.
    """

    def __init__(self, shared: Shared, failed: Callable[[], None], world: World) -> None:
        self._shared = shared
        self._failed = failed
        self._world = world
        self._renew_s = shared.lease_s / _RENEWALS
        self._timeout_s = shared.lease_s / 2
        self._id = secrets.token_hex(8)
        self._calls = 0
        self._allowances: Iterable[tuple[str, LeasedAllowance]] = ()
        self._connection = _connection(shared.valkey, self._timeout_s)
        self._task: asyncio.Task[None] | None = None
        self._asked = asyncio.Event()
        self._answered = asyncio.Event()
        self._is_down = False
        self._is_closed = False

    def allowance(self, tenant: Tenant) -> Allowance:
        """The allowance of a tenant, whose limits all replicas share."""
        return LeasedAllowance(tenant.turns_in_flight, tenant.turns_per_minute, self._shared, self.ask)

    def watch(self, allowances: Mapping[str, Allowance]) -> None:
        """Renew the leases of these allowances, by the name of their tenant, instead of others."""
        self._allowances = [
            (name, each) for name, each in allowances.items() if isinstance(each, LeasedAllowance)
        ]
        if self._task is not None:
            self.ask()

    def ask(self) -> None:
        """Renew soon. Does not wait."""
        if self._task is None and not self._is_closed:
            self._task = asyncio.get_running_loop().create_task(self._renew(), name="trunkline leases")
        self._asked.set()

    async def open(self) -> None:
        """Begin to renew, and wait for the first leases, at most for `OPEN_S`."""
        self.ask()
        with suppress(TimeoutError):
            async with asyncio.timeout(OPEN_S):
                await self._answered.wait()

    async def close(self) -> None:
        """Return the leases, at most for `OPEN_S`, and close the connection."""
        self._is_closed = True
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._is_down:
            with suppress(Exception):
                await self._exchange(OPEN_S, leaves=True)
        with suppress(Exception):
            await self._connection.disconnect()

    async def _renew(self) -> None:
        while not self._is_closed:  # a cancellation can be lost: `asyncio.wait_for` of Python 3.11 does so
            self._asked.clear()
            is_soon = await self._attempt()
            self._answered.set()
            if self._is_closed:
                return
            renew_s = self._renew_s * (0.9 + 0.2 * self._world.random())
            if self._is_down:
                await asyncio.sleep(renew_s)
                continue
            if is_soon:
                self._asked.set()
            await asyncio.sleep(self._renew_s * _EARLIEST)
            with suppress(TimeoutError):
                async with asyncio.timeout(renew_s - self._renew_s * _EARLIEST):
                    await self._asked.wait()

    async def _attempt(self) -> bool:
        """Renew all leases, if Valkey answers. Return whether the next renewal should follow soon."""
        try:
            is_soon = await self._exchange(self._timeout_s)
        except Exception as error:  # whatever it is, the leases must be renewed again
            self._failed()
            if not self._is_down:
                self._is_down = True
                # The class alone: messages of the package show commands.
                _logger.warning(
                    "Valkey at %s does not renew leases (%s); without one, %s",
                    self._shared.address,
                    type(error).__name__,
                    "each replica has its own part of a limit"
                    if self._shared.when_down == "own_limits"
                    else "turns are refused",
                )
            return False
        if self._is_down:
            self._is_down = False
            _logger.warning("Valkey at %s renews leases again", self._shared.address)
        return is_soon

    async def _exchange(self, timeout_s: float, *, leaves: bool = False) -> bool:
        """Send all wishes and take the grants, in one round trip."""
        sent_at = self._world.clock()
        self._calls += 1
        keys: list[str] = []
        lease_s = self._shared.lease_s
        arguments: list[Any] = [self._id, self._calls, life_ms(lease_s), step_ms(lease_s)]
        asking: list[tuple[LeasedAllowance, Limit]] = []
        for name, allowance in self._allowances:
            for limit, wish in allowance.wishes(sent_at, leaves=leaves).items():
                asking.append((allowance, limit))
                keys.append(f"{self._shared.prefix}:{{{name}}}:{limit}")
                arguments += [wish.limit, wish.held, wish.used, wish.need, _ms(KEEP_S[limit])]
        if not keys:
            return False
        answers = await self._evaluate(timeout_s, len(keys), *keys, *arguments)
        found: dict[LeasedAllowance, dict[Limit, Grant]] = {}
        for (allowance, limit), answer in zip(asking, answers, strict=True):
            quota, replicas, unused, is_settled = map(int, answer)
            found.setdefault(allowance, {})[limit] = Grant(quota, replicas, unused, bool(is_settled))
        # All of them, not those before the first that shrinks.
        return sum(allowance.grant(grants, sent_at) for allowance, grants in found.items()) > 0

    async def _evaluate(self, timeout_s: float, *arguments: Any) -> Any:
        """The answer of the script."""
        connection = self._connection
        try:
            async with asyncio.timeout(timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]
                # The text and not its hash: Valkey forgets scripts when it restarts.
                await connection.send_command("EVAL", SCRIPT, *arguments)
                return await connection.read_response()
        except BaseException:
            # An answer that is late must not be read as the next one.
            await connection.disconnect(nowait=True)
            raise


def life_ms(lease_s: float) -> int:
    """The life of a lease in the ledger, in milliseconds: longer than for its replica.

    Args:
        lease_s: its life for its replica, in seconds.
    """
    return _ms((1 + _STEPS * _STEP) * lease_s)


def step_ms(lease_s: float) -> int:
    """The time that one call can add to the clock of the ledger, in milliseconds.

    Args:
        lease_s: the life of a lease for its replica, in seconds.
    """
    return _ms(_STEP * lease_s)


def _connection(url: str, timeout_s: float) -> AbstractConnection:
    pool = ConnectionPool.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
    return connection


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


__all__ = ["OPEN_S", "SCRIPT", "Ledger", "life_ms", "step_ms"]
