"""The script of the ledger on Lua 5.1, as Valkey runs it, with a clock of the test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lupa.lua51 import LuaRuntime  # type: ignore[import-untyped]

from trunkline.gateway.leases import KEEP_S, Grant, Limit, Wish
from trunkline.gateway.ledger import SCRIPT, life_ms, step_ms


class LuaLedger:
    """A ledger in memory.

    Attributes:
        wall_s: its clock, which may be set.
        hashes: its memory.
    """

    def __init__(self, lease_s: float) -> None:
        self.wall_s = 1_800_000_000.0
        self.hashes: dict[str, dict[str, str]] = {}
        self.life_s = life_ms(lease_s) / 1000
        self._lease_s = lease_s
        self._lua: Any = LuaRuntime(unpack_returned_tuples=True)
        self._script = self._lua.eval("function(redis, KEYS, ARGV) " + SCRIPT + " end")
        self._redis = self._lua.table_from({"call": self._call})

    def lose_memory(self) -> None:
        """As a server that restarts without its data."""
        self.hashes.clear()

    def renew(
        self, replica: str, call: int, wishes: Mapping[Limit, Wish], *, name: str | None = None
    ) -> Mapping[Limit, Grant]:
        """One call of the script.

        Args:
            replica: the id of the replica.
            call: the number of its call.
            wishes: its wishes.
            name: the key of the only wish, instead of the name of its limit.
        """
        arguments: list[Any] = [replica, call, life_ms(self._lease_s), step_ms(self._lease_s)]
        for limit, wish in wishes.items():
            keep_ms = round(1000 * KEEP_S[limit])
            arguments += [wish.limit, wish.held, wish.used, wish.need, keep_ms]
        table = self._lua.table_from
        keys = [name] if name is not None else list(wishes)
        answers = self._script(self._redis, table(keys), table([str(each) for each in arguments]))
        found: dict[Limit, Grant] = {}
        for limit, answer in zip(wishes, answers.values(), strict=True):
            quota, replicas, unused, is_settled = answer.values()
            found[limit] = Grant(quota, replicas, unused, bool(is_settled))
        return found

    def _call(self, command: str, *arguments: Any) -> Any:
        if command == "TIME":
            microseconds = round(self.wall_s * 1e6)
            return self._lua.table_from(
                [str(microseconds // 1_000_000).encode(), str(microseconds % 1_000_000)]
            )
        name, *rest = (str(each) for each in arguments)
        fields = self.hashes.setdefault(name, {})
        if command == "HGETALL":
            return self._lua.table_from([part for pair in fields.items() for part in pair])
        if command == "HSET":
            fields.update(zip(rest[::2], rest[1::2], strict=True))
        elif command == "HDEL":
            for each in rest:
                fields.pop(each, None)
        else:
            assert command == "PEXPIRE"
        return 1
