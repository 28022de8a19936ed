"""The history of a conversation, which turn extends it, and which answer `heard` may still change.

The history changes when a turn ends: an answered turn adds its input and output, a turn that fails before
any output changes nothing, and a turn that is left early adds its input and the text received.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ._protocol.history import History
from ._protocol.items import Item, assistant_message
from .errors import ConversationBusy, UsageError
from .stream import Ending, Outcome


class Claimant(Protocol):
    """A stream or a run, of which one at a time may extend a transcript."""

    @property
    def is_ended(self) -> bool:
        """Whether it extends the transcript no more."""

    def close(self) -> None:
        """Leave it: what was received until now goes into the transcript."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """The last answer, for `heard`.

    Attributes:
        history: the history with the answer as it was received.
        output_at: where the output of the last response begins in it.
        source: the stream or run that received it.
    """

    history: History
    output_at: int
    source: weakref.ref[Claimant] | None


class Transcript:
    """The history of a conversation, and the one turn that may extend it.

    Attributes:
        history: the items up to the last turn that ended.
    """

    __slots__ = ("_answer", "_claim", "_warms_up", "history")

    def __init__(self, history: History) -> None:
        self.history = history
        self._answer: _Answer | None = None
        self._claim: weakref.ref[Claimant] | None = None
        self._warms_up = False

    @property
    def claimant(self) -> Claimant | None:
        """The stream or run that holds the transcript now."""
        claimant = self._claim() if self._claim is not None else None
        return claimant if claimant is not None and not claimant.is_ended else None

    def check_idle(self) -> None:
        """Refuse what must not happen during a turn.

        Raises:
            ConversationBusy: a turn is running.
        """
        if self.claimant is not None:
            raise ConversationBusy(
                "a turn of this conversation is still running: leave its stream or run first, "
                "or fork() the conversation to send in parallel"
            )

    def claim(self, claimant: Claimant, *, warms_up: bool = False) -> None:
        """Hold the transcript until the claimant ends. A warm-up holds it and is no turn to `heard`.

        Raises:
            ConversationBusy: a turn is running.
        """
        self.check_idle()
        self._claim = weakref.ref(claimant)
        self._warms_up = warms_up

    def end(self, ending: Ending) -> None:
        """Add what a turn brought."""
        if ending.outcome is Outcome.FAILED and not ending.output_seen:
            return
        if (answer := ending.answer) is not None:
            asked = answer.asked
            output = [item for item in answer.output if item.is_resendable and not _is_unfinished(item)]
            output += answer.waiting
        else:
            asked = ending.asked
            output = [assistant_message(ending.text)] if ending.text else []
            output += ending.said
        self.history = asked.extended(output)
        self._answer = _Answer(self.history, len(asked), self._claim)

    def add_outputs(self, outputs: Sequence[Item]) -> None:
        """Add the outputs of the last response's tool calls."""
        self.history = self.history.extended(outputs)
        if self._answer is not None:
            self._answer = replace(self._answer, history=self.history)

    def replace(self, history: History) -> None:
        """Put another history in place of this one. No answer of the old one can be changed any more."""
        self.history = history
        self._answer = None

    def heard(self, text: str) -> None:
        """Put what the listener heard in place of the assistant's text since the last user input.

        A turn that is still running is left first; a warm-up is not.

        Raises:
            UsageError: no turn has ended since the conversation began or its history was replaced.
        """
        claimant = self.claimant
        if claimant is not None and not self._warms_up:
            claimant.close()
        answer = self._answer
        if answer is None:
            raise UsageError(
                "heard() has no answer to change: call it after a turn, and before replace() or a restart"
            )
        self._hear(answer, _end_of_input(answer), text)

    def heard_of(self, source: Claimant, text: str) -> None:
        """The same for the text of one stream, which has ended.

        Raises:
            UsageError: a later turn has begun, or the history was replaced.
        """
        answer, claimant = self._answer, self.claimant
        is_last = answer is not None and answer.source is not None and answer.source() is source
        if answer is None or not is_last or (claimant is not None and not self._warms_up):
            raise UsageError("heard() comes too late: the next turn of the conversation has begun")
        self._hear(answer, answer.output_at, text)

    def _hear(self, answer: _Answer, start: int, text: str) -> None:
        output = answer.history.items(start)
        kept = as_heard(output, text)
        self.history = answer.history if kept == output else answer.history.prefix(start).extended(kept)


def as_heard(output: Sequence[Item], text: str) -> list[Item]:
    """The output of one or more responses with its text replaced by what the listener heard.

    The messages keep as much of their text as was heard, in order; white space between two messages makes
    no difference. A text that does not begin so takes the place of the last message, and the other messages
    are dropped. Calls and their outputs stay. Reasoning belongs to what was said: of a response that was
    not heard whole, it stays only where calls came of it.
    """
    texts = [item.joinable_text for item in output if item.joinable_text is not None]
    if not texts:
        return [*_without_reasoning(output), *([assistant_message(text)] if text else [])]
    parts = _distributed(text, texts)
    if parts == texts:
        return list(output)
    rest = iter(parts if parts is not None else ["" for _ in texts[1:]] + [text])
    kept: list[Item] = []
    for item in output:
        if item.joinable_text is None:
            kept.append(item)
        elif (part := next(rest)) != "":
            kept.append(item if part == item.joinable_text else assistant_message(part))
    return _without_reasoning(kept)


def _distributed(heard: str, texts: Sequence[str]) -> list[str] | None:
    """The part of each text that was heard; ``None`` where the texts do not begin so."""
    parts: list[str] = []
    for text in texts:
        if not heard.startswith(text) and not text.startswith(heard):
            heard = heard.lstrip() if parts else heard
        part = text if heard.startswith(text) else heard
        if not text.startswith(part):
            return None
        parts.append(part)
        heard = heard[len(part) :]
    return parts if not heard.strip() else None


def _without_reasoning(output: Sequence[Item]) -> list[Item]:
    """The output without reasoning, except in responses with calls.

    A response ends where outputs of calls begin.
    """
    kept: list[Item] = []
    response: list[Item] = []
    for item in output:
        if item.is_call_output:
            kept += [*_of_calls(response), item]
            response = []
        else:
            response.append(item)
    return kept + _of_calls(response)


def _of_calls(response: Sequence[Item]) -> list[Item]:
    has_calls = any(item.is_call for item in response)
    return [item for item in response if has_calls or not item.is_server_only]


def _end_of_input(answer: _Answer) -> int:
    """Where the last message that is not the assistant's ends, among what was sent."""
    position = answer.output_at
    while position:
        (item,) = answer.history.items(position - 1, position)
        if item.kind == "message" and item.joinable_text is None and item.json().get("role") != "assistant":
            break
        position -= 1
    return position


def _is_unfinished(item: Item) -> bool:
    """A call that was cut off is no call."""
    return item.is_call and item.json().get("status") == "incomplete"
