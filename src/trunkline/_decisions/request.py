"""The request of one turn: its fields, its whole input, and the deltas that could be sent instead."""

from __future__ import annotations

from collections.abc import Mapping

from .._protocol.fields import Fields, adds_acting_tools
from .._protocol.history import History
from .._protocol.quiet import QuietStruct
from .baselines import Baseline, Plan
from .placement import Owner, can_continue


class Request(QuietStruct, frozen=True):
    """The request of one turn.

    Attributes:
        url: the URL of the WebSocket.
        fields: everything but the items.
        asked: all items, as the caller holds them.
        owner: whose turn it is; ``None`` for a turn without memory.
        generate: ``False`` for a warm-up.
        lead: the number of items at the beginning of ``asked`` that hold instructions.
    """

    url: str
    fields: Fields
    asked: History
    owner: Owner | None
    generate: bool = True
    lead: int = 0

    @property
    def acts(self) -> bool:
        """Whether a response may have side effects on the server, also by tools that an item adds."""
        return self.fields.acts or any(adds_acting_tools(item) for item in self.asked)

    @property
    def remembers(self) -> bool:
        """Whether the response may become a baseline. One made in a context of the service's may not."""
        return self.owner is not None and not self.fields.brings_context

    def plans(self, *, keeps_responses: bool) -> list[Plan]:
        """The deltas that can be sent, the longest baseline first; empty if there is none.

        Args:
            keeps_responses: stored responses can be relied on; otherwise only lanes remember.
        """
        if self.owner is None or not self.remembers:
            return []

        def can_name(parent: Baseline) -> bool:
            return can_continue(parent if keeps_responses else parent.unstored())

        plans: list[Plan] = []
        compacts = self.fields.get("context_management") is not None
        baselines = self.owner.baselines
        for plan in baselines.candidates(self.asked, self.fields.model, can_name, compacts=compacts):
            plans.append(plan if keeps_responses else plan.unstored())
            if plans[-1].parent is not None and plans[-1].parent.stored:
                break  # it can be continued anywhere, so the shorter ones are not needed
        return plans

    def checked(self, plan: Plan) -> Plan:
        """The plan at the moment of sending.

        While the turn waited for a connection, another response may have got the id of the parent: then the
        plan with the full context.
        """
        parent = plan.parent
        return plan if parent is None or parent.has_clear_id else Plan(None, self.asked.items())

    @property
    def conversation_id(self) -> str | None:
        """The ``conversation`` of the service that the request names."""
        conversation = self.fields.get("conversation")
        if isinstance(conversation, Mapping):
            conversation = conversation.get("id")
        return conversation if isinstance(conversation, str) else None
