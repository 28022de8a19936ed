"""Functions that a client calls when it is made, and for each turn."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..arguments import check_function
from .client_view import ClientView
from .metrics import TurnMetrics

TurnHook = Callable[[TurnMetrics], None]
ClientHook = Callable[[ClientView], None]

T = TypeVar("T")

_logger = logging.getLogger("trunkline")


@dataclass(frozen=True, slots=True)
class Hooks:
    """Functions called for every turn of a client, also for those of `Conversation.run`.

    The functions are not async, because nothing awaits them. An exception that a function raises is logged
    and has no other effect.

    Attributes:
        turn_started: called when a turn begins.
        turn_finished: called when a turn has ended, with any outcome.
        turn_drained: called when the service has ended an answer that was not read to its end. ``usage`` has
            its tokens, which are billed. The other figures are those of the moment at which it was left. Not
            called over HTTP, nor if the socket closes first: then the service stops the answer.
        client_made: called when a client is made, with a view of its connections and counters.
    """

    turn_started: TurnHook | None = None
    turn_finished: TurnHook | None = None
    turn_drained: TurnHook | None = None
    client_made: ClientHook | None = None

    def __post_init__(self) -> None:
        for name in ("turn_started", "turn_finished", "turn_drained", "client_made"):
            given = "a ClientView" if name == "client_made" else "TurnMetrics"
            remedy = f"give a function that takes {given} and returns at once"
            check_function(getattr(self, name), f"Hooks.{name}", remedy, may_be_async=False)

    def and_also(self, other: Hooks) -> Hooks:
        """Hooks that call these functions first, then those of ``other``, even if one raises."""
        return Hooks(
            turn_started=_both("turn_started", self.turn_started, other.turn_started),
            turn_finished=_both("turn_finished", self.turn_finished, other.turn_finished),
            turn_drained=_both("turn_drained", self.turn_drained, other.turn_drained),
            client_made=_both("client_made", self.client_made, other.client_made),
        )


def call_hook(name: str, hook: Callable[[T], None], value: T) -> None:
    """Call one function of a `Hooks`. An exception is logged and dropped."""
    try:
        hook(value)
    except Exception:
        _logger.exception("Hooks.%s raised an exception", name)


def _both(
    name: str, first: Callable[[T], None] | None, second: Callable[[T], None] | None
) -> Callable[[T], None] | None:
    if first is None or second is None:
        return first or second

    def call(value: T) -> None:
        call_hook(name, first, value)
        call_hook(name, second, value)

    return call
