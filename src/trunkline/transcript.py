"""The history of a conversation, the one turn that may extend it, and the answer that `heard` may change.

The history changes when a turn ends. An answered turn adds its input and output. A turn that fails before any
output adds nothing. A turn that is closed early, or fails later, adds its input and the received text.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ._protocol.history import History
from ._protocol.items import Item, assistant_message
from ._turns.turn import Answer
from .errors import ConversationBusy, UsageError
from .heard import as_heard


class Claimant(Protocol):
    """A stream or a run, of which one at a time may extend a transcript."""

    @property
    def is_ended(self) -> bool:
        """Whether it will not extend the transcript any more."""

    def close(self) -> None:
        """End it now: the text received so far goes into the transcript."""


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """The right of one claimant to extend a transcript.

    Attributes:
        claimant: the stream or run. The reference is weak, so that a dropped one is noticed.
        warms_up: the claimant is a warm-up, which adds nothing and is no turn for `Transcript.heard`.
    """

    claimant: weakref.ref[Claimant]
    warms_up: bool = False


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one turn, as the transcript needs it.

    Attributes:
        answer: the answer; ``None`` if the turn was closed early or failed.
        context: the context of the response that the caller read last.
        text: the text of that response that the caller received.
        steers: the steers that the service had accepted into that response, or after it.
        lead: the number of items at the beginning of the context that hold instructions.
    """

    answer: Answer | None
    context: History
    text: str = field(repr=False)
    steers: list[Item]
    lead: int = 0


@dataclass(frozen=True, slots=True)
class _Answered:
    """The last answer, for `Transcript.heard`.

    Attributes:
        history: the history with the answer as it was received.
        output_at: the position of the output of the last response in it.
        claim: the claim under which it was added.
    """

    history: History
    output_at: int
    claim: Claim


class Transcript:
    """The history of a conversation.

    Attributes:
        history: the items up to the last turn that ended, after the lead.
        lead: the number of items at the beginning of the history that hold instructions: 0 or 1.
    """

    __slots__ = ("_answered", "_claim", "history", "lead")

    def __init__(self, history: History, *, lead: int = 0) -> None:
        self.history: History = history
        self.lead: int = lead
        self._answered: _Answered | None = None
        self._claim: Claim | None = None

    @property
    def claimant(self) -> Claimant | None:
        """The stream or run that holds the transcript now."""
        claimant = self._claim.claimant() if self._claim is not None else None
        return claimant if claimant is not None and not claimant.is_ended else None

    def check_idle(self) -> None:
        """Check that no turn is running.

        Raises:
            ConversationBusy: a turn is running.
        """
        if self.claimant is not None:
            raise ConversationBusy(
                "a turn of this conversation is still running: leave its stream or run first, "
                "or fork() the conversation to send in parallel"
            )

    def claim(self, claimant: Claimant, *, warms_up: bool = False) -> Claim:
        """Hold the transcript until the claimant ends or is garbage-collected.

        Raises:
            ConversationBusy: a turn is running.
        """
        self.check_idle()
        self._claim = Claim(weakref.ref(claimant), warms_up)
        return self._claim

    def end(self, claim: Claim, ending: Ending) -> None:
        """Add a turn that has ended. Does nothing for a claim that `_holds` does not accept."""
        if not self._holds(claim):
            return
        if (answer := ending.answer) is not None:
            context = answer.asked
            output = [item for item in answer.output if item.is_resendable and not _is_unfinished(item)]
            output += answer.waiting
        else:
            context = ending.context
            output = [assistant_message(ending.text)] if ending.text else []
            output += ending.steers
        if ending.lead != self.lead:
            # The turn had instructions of its own, or a context of the service's, and so another beginning.
            known = len(self.history) - self.lead + ending.lead
            context = self.history.extended(context.items(known))
        self.history = context.extended(output)
        self._answered = _Answered(self.history, len(context), claim)

    def add_outputs(self, claim: Claim, outputs: Sequence[Item]) -> None:
        """Add the outputs of the last response's tool calls. Ignores superseded claims, as `end` does."""
        if not self._holds(claim):
            return
        self.history = self.history.extended(outputs)
        if self._answered is not None:
            self._answered = replace(self._answered, history=self.history)

    def replace(self, history: History) -> None:
        """Put another history in place of this one. `heard` needs a new turn afterwards."""
        self.history = history
        self._answered = None
        self._claim = None  # see `_holds`

    def heard(self, text: str) -> None:
        """Replace the assistant's text since the last user input by the part that the listener heard.

        A running turn is closed first; a warm-up is not.

        Raises:
            UsageError: no turn has ended since the conversation began or its history was replaced.
        """
        claimant = self._turn
        if claimant is not None:
            claimant.close()
        answered = self._answered
        if answered is None:
            raise UsageError(
                "heard() has no answer to change: call it after a turn, and before replace() or a restart"
            )
        self._hear(answered, _end_of_input(answered), text)

    def heard_of(self, claim: Claim, text: str) -> None:
        """The same for the last response of one stream, which has ended.

        Raises:
            UsageError: a later turn has begun, or the history was replaced.
        """
        answered = self._answered
        if answered is None or answered.claim is not claim or self._turn is not None:
            raise UsageError(
                "heard() comes too late: the next turn has begun, or the history was replaced; "
                "call it before the next turn"
            )
        self._hear(answered, answered.output_at, text)

    @property
    def _turn(self) -> Claimant | None:
        """The stream or run of a turn that is running. A warm-up is no turn."""
        return self.claimant if self._claim is not None and not self._claim.warms_up else None

    def _holds(self, claim: Claim) -> bool:
        """Whether an ending under this claim extends the history that the claimant began with.

        A stream that another thread garbage-collects loses its claim there, but ends later, in its event
        loop. A new turn, `replace` or `heard` may have changed the history meanwhile, and the late ending
        must not undo that.
        """
        return claim is self._claim and not claim.warms_up

    def _hear(self, answered: _Answered, start: int, text: str) -> None:
        output = answered.history.items(start)
        kept = as_heard(output, text)
        self.history = answered.history if kept == output else answered.history.prefix(start).extended(kept)
        if self.claimant is None:  # otherwise a warm-up is running, and the conversation stays busy
            self._claim = None  # see `_holds`


def _end_of_input(answered: _Answered) -> int:
    """The position after the last message of the request that is not the assistant's."""
    position = answered.output_at
    while position:
        (item,) = answered.history.items(position - 1, position)
        if item.kind == "message" and item.joinable_text is None and item.json().get("role") != "assistant":
            break
        position -= 1
    return position


def _is_unfinished(item: Item) -> bool:
    """Whether it is a call whose arguments were cut off."""
    return item.is_call and item.json().get("status") == "incomplete"


__all__ = ["Claim", "Claimant", "Ending", "Transcript"]
