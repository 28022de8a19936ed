"""What the server remembers of an owner's responses, and how the next turn makes use of it.

An owner is a `Conversation`, or the ``key`` given to ``client.stream``. After every ``response.completed``
a `Baseline` is kept: the request's items, then the response's output. A turn whose input begins with a
baseline can name its response as ``previous_response_id`` and send only what is new, the *delta*.

How an input is read against a baseline (upper case: the response's output; ``→`` the delta)::

    request     output            input                                  plan
    u1          A                 u1 A u2                                → u2
    u1          A                 u1 A                                   no match: nothing is new
    u1          A                 u1 a u2     (A cut at barge-in)        no match: the server knows all of A
    u1          A                 x1 A u2     (u1 edited)                no match
    u1          A B               u1 AB u2    (texts joined)             → u2
    u1          R A               u1 A u2     (R is reasoning)           → u2
    u1          C1 C2 (calls)     u1 C1 o1 C2 o2                         → o1 o2
    u1          C1 C2             u1 C2 C1 o1 o2                         → o1 o2
    u1          C1 C2             u1 C1 o1    (C2 removed)               no match
    u1 A u2     B                 u1 A u2     (asked again)              an older baseline: u1 A → u2

The rule: the request part matches item by item. Then comes the response's block: only its output items and
the outputs of its tool calls may stand there, in any order, up to the last item that is its output. All
output that an application can hold must be there; reasoning and hosted tool calls may be absent. What the
server has not seen is the delta, and it must not be empty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from .._protocol.history import History
from .._protocol.items import Item
from .._protocol.lane import Lane

MAX_BASELINES = 8


@dataclass(frozen=True, slots=True)
class Baseline:
    """One response that the server may remember.

    Attributes:
        response_id: its id.
        model: the model of the request; a parent is named for the same model only.
        stored: the server keeps it by id; otherwise only its lane remembers it.
        lane: the lane that it ran on; ``None`` over HTTP.
        length: how many items the request's context had.
        mark: the mark of these items.
        output: the response's output items.
        pinned: the service holds a steer for the next request, which must go to the same lane.
        at: when it was remembered, on the clock of whoever did.
    """

    response_id: str
    model: str
    stored: bool
    lane: Lane | None
    length: int
    mark: bytes = field(repr=False)
    output: tuple[Item, ...]
    pinned: bool = False
    at: float = 0.0

    def unstored(self) -> Baseline:
        """The same, where the service is not believed to keep it."""
        return replace(self, stored=False) if self.stored else self


@dataclass(frozen=True, slots=True)
class Plan:
    """What a turn sends.

    Attributes:
        parent: the baseline whose response is named; ``None`` for the full context.
        delta: the items that are sent.
    """

    parent: Baseline | None
    delta: Sequence[Item]

    @property
    def is_full(self) -> bool:
        """Whether everything is sent."""
        return self.parent is None

    def unstored(self) -> Plan:
        """The same, where the service is not believed to keep the parent."""
        if self.parent is None or not self.parent.stored:
            return self
        return replace(self, parent=self.parent.unstored())


class Baselines:
    """A handful of baselines of one owner; the oldest is dropped."""

    def __init__(self, limit: int = MAX_BASELINES) -> None:
        self._limit = limit
        self._kept: dict[str, Baseline] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Baseline]:
        return iter(self._kept.values())

    def commit(self, baseline: Baseline) -> None:
        """Remember a completed response."""
        self._kept.pop(baseline.response_id, None)
        self._kept[baseline.response_id] = baseline
        while len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]

    def forget(self, response_id: str) -> None:
        """The server does not know it any more."""
        self._kept.pop(response_id, None)

    def copy(self) -> Baselines:
        """The same memories for an owner that branches off."""
        twin = Baselines(self._limit)
        twin._kept = dict(self._kept)
        return twin

    def candidates(
        self, asked: History, model: str, can_name: Callable[[Baseline], bool] = lambda _: True
    ) -> Iterator[Plan]:
        """The deltas that this input could be sent as, the longest baseline first, of these the newest.

        Whether a baseline can be named is asked before the input is read against it, which costs more.
        """
        newest_first = reversed(self._kept.values())
        for baseline in sorted(newest_first, key=lambda baseline: baseline.length, reverse=True):
            if baseline.model != model or not can_name(baseline):
                continue
            if (match := _match(baseline, asked)) is not None:
                yield Plan(baseline, match)

    def plan(self, asked: History, model: str, can_name: Callable[[Baseline], bool]) -> Plan:
        """The longest baseline that the input extends and that can be named, else the full input."""
        return next(self.candidates(asked, model, can_name), Plan(None, asked.items()))


def _match(baseline: Baseline, asked: History) -> list[Item] | None:
    """What the server has not seen of this input; ``None`` when it does not extend the baseline."""
    start = asked.position_of(baseline.mark, near=baseline.length)
    if start is None:
        return None
    return _Block(baseline.output).delta_of(asked.items(start))


class _Block:
    """The response's output, crossed off as it is found in the input."""

    def __init__(self, output: Sequence[Item]) -> None:
        messages = [item for item in output if item.joinable_text is not None]
        self.messages = len(messages)
        self.text = "".join(item.joinable_text or "" for item in messages)
        self.others = Counter(item for item in output if item.joinable_text is None)
        self.call_ids = {item.call_id for item in output if item.is_call}
        self.read = 0
        self.messages_read = 0

    def delta_of(self, items: Sequence[Item]) -> list[Item] | None:
        delta: list[Item] = []
        for index, item in enumerate(items):
            if self._cross_off(item):
                continue
            if not (item.is_call_output and item.call_id in self.call_ids):
                delta += items[index:]
                break
            delta.append(item)
        return delta if delta and self._is_complete() and not self._holds_any(delta) else None

    def _cross_off(self, item: Item) -> bool:
        text = item.joinable_text
        if text is None:
            if not self.others[item]:
                return False
            self.others[item] -= 1
            return True
        if not self.messages or not self.text.startswith(text, self.read):
            return False
        if not text and self.read == len(self.text) and self.messages_read >= self.messages:
            return False  # an empty message after all that were in the output
        self.read += len(text)
        self.messages_read += 1
        return True

    def _is_complete(self) -> bool:
        missing = (item for item, count in self.others.items() if count)
        return (
            self.read == len(self.text)
            and bool(self.messages_read) == bool(self.messages)
            and all(item.is_server_only for item in missing)
        )

    def _holds_any(self, delta: Sequence[Item]) -> bool:
        """A later item that is this response's own output means that the block was not where it seemed."""
        return any(self.others.get(item) for item in delta)
