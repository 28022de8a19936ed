"""What a turn asks, and how it is to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from .arguments import check_kind
from .deadlines import Deadlines
from .history import History
from .metrics import Hooks, TurnMetrics
from .placement import Owner
from .recovery import Policy
from .request import Fields


@dataclass(frozen=True, slots=True)
class Question:
    """What a turn asks.

    Attributes:
        url: where.
        fields: everything but the items.
        asked: all items, as the caller holds them.
        owner: whose turn it is; ``None`` for one without memory.
        generate: ``False`` for a warm-up.
    """

    url: str = field(repr=False)  # its query may hold a key
    fields: Fields
    asked: History
    owner: Owner | None
    generate: bool = True

    def new_metrics(self) -> TurnMetrics:
        """The figures of a turn that asks it, before it begins."""
        parts = urlsplit(self.url)
        conversation = self.fields.get("conversation")
        if isinstance(conversation, Mapping):
            conversation = conversation.get("id")
        return TurnMetrics(
            model=self.fields.model,
            server_address=parts.hostname or "",
            server_port=parts.port or (443 if parts.scheme == "wss" else 80),
            conversation_id=conversation if isinstance(conversation, str) else None,
            warm_up=not self.generate,
        )


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """How turns are made.

    Attributes:
        deadlines: how long they wait.
        policy: how often they are asked.
        max_buffered_events: how many events may wait for the caller.
        hooks: who hears of turns that begin and end.
        log_content: where the wire is logged, frames are shown whole.
        replay_actions: requests whose hosted tools act (``mcp``, for example) may be asked again too.
    """

    deadlines: Deadlines = field(default_factory=Deadlines)
    policy: Policy = field(default_factory=Policy)
    max_buffered_events: int = 65_536
    replay_actions: bool = False
    hooks: Hooks = field(default_factory=Hooks)
    log_content: bool = False

    def varied(self, deadlines: Deadlines | None, policy: Policy | None) -> TurnSettings:
        """The same with other deadlines and another policy, where they are given."""
        if deadlines is None and policy is None:
            return self
        check_turn(deadlines, policy)
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
