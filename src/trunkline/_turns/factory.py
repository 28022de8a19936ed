"""Factory of the turns of one client."""

from __future__ import annotations

from dataclasses import dataclass

from .._decisions.placement import Owner
from .._decisions.request import Request
from .._network.endpoint import Endpoint
from .._network.loop_affinity import LoopAffinity
from .._network.transports import Transports
from .._protocol.fields import ENCRYPTED_REASONING, Fields
from .._protocol.history import History
from .._protocol.items import Item
from .._protocol.json import JSON
from ..options import Deadlines, Policy
from .compaction import compact
from .settings import TurnSettings
from .turn import Turn


@dataclass(frozen=True, slots=True, repr=False)
class TurnFactory:
    """Makes turns. A client and its conversations share one.

    Attributes:
        transports: the transports of the turns.
        endpoint: the URLs of the requests.
        settings: the settings of turns without settings of their own.
        loop: the event loop in which turns are made and run.
    """

    transports: Transports
    endpoint: Endpoint
    settings: TurnSettings
    loop: LoopAffinity

    def turn(
        self,
        fields: Fields,
        history: History,
        owner: Owner | None,
        *,
        generate: bool = True,
        lead: int = 0,
        deadlines: Deadlines | None = None,
        policy: Policy | None = None,
    ) -> Turn:
        """A turn that has not started.

        Args:
            fields: the fields of the request, without its input.
            history: the whole input.
            owner: the owner of the history; ``None`` for a turn that is not chained.
            generate: ``False`` for a warm-up.
            lead: the number of items at the beginning of ``history`` that hold instructions.
            deadlines: the time limits of this turn, instead of those in `settings`.
            policy: the bounds of recovery of this turn, instead of those in `settings`.

        Raises:
            ConfigurationError: ``deadlines`` or ``policy`` is of another type.
            WrongEventLoop: another event loop is running.
        """
        self.loop.check()
        settings = self.settings.varied(deadlines, policy)
        if self.transports.loses_reasoning:  # it comes back from the caller
            fields = fields.including(ENCRYPTED_REASONING)
        url = self.endpoint.websocket_url_for(fields.model)
        return Turn(self.transports, Request(url, fields, history, owner, generate, lead), settings)

    async def compact(
        self, fields: Fields, history: History, *, deadlines: Deadlines | None = None
    ) -> tuple[JSON, list[Item]]:
        """The service's answer to a compaction, and the items that stand for the history from now on.

        Raises:
            ConfigurationError: ``deadlines`` is of another type.
            WrongEventLoop: another event loop is running.
            TurnError: the compaction failed.
            ClientClosed: the client takes no new turns, or was closed.
        """
        self.loop.check()
        return await compact(self.transports, fields, history, self.settings.varied(deadlines, None))


__all__ = ["TurnFactory"]
