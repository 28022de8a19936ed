"""Baselines: completed responses that a later request of the same owner can continue.

An owner is a `Conversation`, or the ``key`` given to ``client.stream``. Each ``response.completed`` is
recorded as a `Baseline`: the items of its request, then its output. A turn whose input extends a baseline can
name the response as ``previous_response_id`` and send only the new items, the *delta*.

Examples (upper case: output of the response; ``→``: the delta)::

    request     output            input                                  plan
    u1          A                 u1 A u2                                → u2
    u1          A                 u1 A                                   no match: no new item
    u1          A                 u1 a u2     (A cut at barge-in)        no match: the server has all of A
    u1          A                 x1 A u2     (u1 edited)                no match
    u1          A B               u1 AB u2    (texts joined)             → u2
    u1          R A               u1 A u2     (R is reasoning)           → u2
    u1          C1 C2 (calls)     u1 C1 o1 C2 o2                         → o1 o2
    u1          C1 C2             u1 C2 C1 o1 o2                         → o1 o2
    u1          A C1              u1 C1 o1 A u2                          no match: A may be a later answer
    u1          C1 C2             u1 C1 o1    (C2 removed)               no match
    u1 A u2     B                 u1 A u2     (regenerated)              an older baseline: u1 A → u2

An input extends a baseline if:

1. it begins with the items of the request;
2. the response's block follows: its output items and the outputs of its tool calls, in any order, except
   that its messages stand before the first output of a tool call. Reasoning and hosted tool calls may be
   missing; other output may not;
3. the delta is not empty: the outputs of the tool calls, and all items after the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from .._protocol.history import History
from .._protocol.items import Item
from .._protocol.lane import Lane

MAX_BASELINES = 8


@dataclass(frozen=True, slots=True)
class Baseline:
    """A completed response that the server may still have.

    Attributes:
        response_id: the id of the response.
        model: the model of the request. Only requests for the same model may name the response.
        stored: the service stores the response; otherwise only its lane has it.
        lane: the lane of the response; ``None`` over HTTP.
        length: the number of items in the request's context.
        mark: the mark of these items.
        output: the output items of the response.
        pinned: the next request must use the same lane, because the service adds an accepted steer to it.
        at: the time of the commit, in seconds, on the client's clock.
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

    @property
    def has_clear_id(self) -> bool:
        """Whether no response of another conversation has the same id, as far as is known now."""
        return self.lane is None or self.lane.lanes.has_clear_ids

    @property
    def keeps_clear_id(self) -> bool:
        """Whether no response of another conversation will ever have the same id."""
        return self.lane is None or self.lane.lanes.keeps_clear_ids

    def unstored(self) -> Baseline:
        """A copy that counts as not stored."""
        return replace(self, stored=False) if self.stored else self


@dataclass(frozen=True, slots=True)
class Plan:
    """The parent and the items of a request.

    Attributes:
        parent: the baseline of the ``previous_response_id``; ``None`` if the full context is sent.
        delta: the items of the request.
    """

    parent: Baseline | None
    delta: Sequence[Item]

    @property
    def is_full(self) -> bool:
        """Whether the full context is sent."""
        return self.parent is None

    def unstored(self) -> Plan:
        """A copy whose parent counts as not stored."""
        if self.parent is None or not self.parent.stored:
            return self
        return replace(self, parent=self.parent.unstored())


class Baselines:
    """The latest baselines of an owner.

    Args:
        limit: the maximum number of baselines; the oldest is dropped.
    """

    def __init__(self, limit: int = MAX_BASELINES) -> None:
        self._limit = limit
        self._kept: dict[str, Baseline] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Baseline]:
        return iter(self._kept.values())

    def commit(self, baseline: Baseline) -> None:
        """Record a completed response."""
        self._kept.pop(baseline.response_id, None)
        self._kept[baseline.response_id] = baseline
        while len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]

    def forget(self, response_id: str) -> None:
        """Remove a response that the server no longer has."""
        self._kept.pop(response_id, None)

    def clear(self) -> None:
        """Remove all."""
        self._kept.clear()

    def copy(self) -> Baselines:
        """A copy, for a forked conversation."""
        twin = Baselines(self._limit)
        twin._kept = dict(self._kept)
        return twin

    def candidates(
        self,
        asked: History,
        model: str,
        can_name: Callable[[Baseline], bool] = lambda _: True,
        *,
        compacts: bool = False,
    ) -> Iterator[Plan]:
        """The possible plans with a parent: longest baseline first; of equal lengths, the newest first.

        Args:
            asked: the input of the turn.
            model: the model of the request.
            can_name: whether a request can name the baseline's response. Called before the input is
                compared, which costs more.
            compacts: the request asks for compaction (``context_management``).
        """
        newest_first = reversed(self._kept.values())
        for baseline in sorted(newest_first, key=lambda baseline: baseline.length, reverse=True):
            if baseline.model != model or not can_name(baseline):
                continue
            if (delta := delta_after(baseline, asked, compacts=compacts)) is not None:
                yield Plan(baseline, delta)

    def plan(self, asked: History, model: str, can_name: Callable[[Baseline], bool]) -> Plan:
        """The first of the `candidates`, else the full input."""
        return next(self.candidates(asked, model, can_name), Plan(None, asked.items()))


def delta_after(baseline: Baseline, asked: History, *, compacts: bool = False) -> list[Item] | None:
    """The items of an input that are new to the server; ``None`` if it does not extend the baseline."""
    # 1. The request part must match item by item. Equal marks prove it.
    start = asked.position_of(baseline.mark, near=baseline.length)
    if start is None:
        return None
    # 2. The response's block: its output and the outputs of its calls, in any order. Each output item is
    #    crossed off once. Texts are compared as one joined text, because applications join them. Messages
    #    have no identity of their own: a message after the output of a call may be of a later response that
    #    says the same, while this response's message was removed, because it was not heard.
    messages: list[str] = []
    others: dict[Item, int] = {}
    for item in baseline.output:
        if item.joinable_text is not None:
            messages.append(item.joinable_text)
        else:
            others[item] = others.get(item, 0) + 1
    text = "".join(messages)
    call_ids = {item.call_id for item in others if item.is_call}
    read = messages_read = 0
    delta: list[Item] = []
    items = asked.items(start)
    for index, item in enumerate(items):
        part = item.joinable_text
        if delta and item.kind == "message":
            delta += items[index:]
            break
        if part is None:
            if others.get(item):
                others[item] -= 1
                continue
        # After the whole text, an empty message is output only if the output has one more message.
        elif (
            messages
            and text.startswith(part, read)
            and (part or read < len(text) or messages_read < len(messages))
        ):
            read += len(part)
            messages_read += 1
            continue
        # 3. The block ends before the first item that is neither. The rest is new.
        if not (item.is_call_output and item.call_id in call_ids):
            delta += items[index:]
            break
        delta.append(item)
    # 4. Output that an application can keep must be in the block: the application may have cut or removed
    #    it, and the server's context still has it. An application that lets the service compact need not keep
    #    the item that stands for what it holds.
    if read != len(text) or bool(messages_read) != bool(messages):
        return None
    for item, count in others.items():
        if count and not item.is_server_only and not (compacts and item.kind == "compaction"):
            return None
    # 5. An output item after the block: the items between were inserted into what the server knows.
    if others and any(others.get(item) for item in delta):
        return None
    # 6. Without new items, the response is to be made again, from an older baseline.
    return delta or None
