"""What a turn asks, and how it is to be asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .deadlines import Deadlines
from .history import History
from .metrics import Hooks
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

    url: str
    fields: Fields
    asked: History
    owner: Owner | None
    generate: bool = True


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
    max_buffered_events: int = 16_384
    replay_actions: bool = False
    hooks: Hooks = field(default_factory=Hooks)
    log_content: bool = False

    def waiting(self, deadlines: Deadlines) -> TurnSettings:
        """The same with other deadlines."""
        return replace(self, deadlines=deadlines)
