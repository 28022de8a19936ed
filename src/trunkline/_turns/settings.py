"""Settings of turns: of all turns of a client, with those of a single turn in their place."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .._observe.hooks import Hooks
from ..arguments import check_kind
from ..options import Deadlines, Policy


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """Settings of turns.

    Attributes:
        deadlines: the time limits.
        policy: the bounds of recovery.
        max_buffered_events: the number of unread events above which a stream fails.
        max_buffered_bytes: the size of its unread events above which a stream fails.
        replay_actions: also repeat requests whose hosted tools act (``mcp``, for example).
        hooks: functions called when turns begin and end.
        log_content: log lines of the wire show whole frames.
    """

    deadlines: Deadlines = field(default_factory=Deadlines)
    policy: Policy = field(default_factory=Policy)
    max_buffered_events: int = 65_536
    max_buffered_bytes: int = 2**24
    replay_actions: bool = False
    hooks: Hooks = field(default_factory=Hooks)
    log_content: bool = False

    def varied(self, deadlines: Deadlines | None, policy: Policy | None) -> TurnSettings:
        """The same with other deadlines and another policy, where they are given."""
        check_turn(deadlines, policy)
        if deadlines is None and policy is None:
            return self
        return replace(self, deadlines=deadlines or self.deadlines, policy=policy or self.policy)


def check_turn(deadlines: Deadlines | None, policy: Policy | None) -> None:
    """Check the settings of one turn.

    Raises:
        ConfigurationError: one of them is something else.
    """
    check_kind(
        deadlines,
        "deadlines",
        Deadlines,
        "give trunkline.Deadlines(first_event=5.0), for example",
        optional=True,
    )
    check_kind(policy, "policy", Policy, "give trunkline.Policy(max_attempts=2), for example", optional=True)
