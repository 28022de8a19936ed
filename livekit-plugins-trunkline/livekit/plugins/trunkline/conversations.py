"""Which requests belong to one conversation.

LiveKit hands a chat context to each request, and does not say whose it is. What tells sessions apart is the
ids of their items: LiveKit gives every item a random one. The rule:

    A context goes on with the conversation in which, before its own last item, it has an item with which a
    request of that conversation ended.

So equal words never bring two sessions together, because the ids differ; a session that truncates, edits,
summarises or hands over its context goes on with its conversation, as long as one of those items is left.
Where a context ends with the very item that an earlier request ended with, and has nothing else in common,
nobody can say whether that is the same session asking again or another one that began with the same items: it
becomes a conversation of its own, and that item tells nothing any more.

Instructions do not count: LiveKit gives them a constant id.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from time import monotonic

from livekit.agents.llm import ChatItem

from .transcript import Transcript

MAX_CONVERSATIONS = 1024
MAX_ENDS = 64
MAX_SHARED = 4096
IDLE_S = 3600.0
"""As long as a connection of the service lasts."""


class Conversation:
    """One history at the service; `trunkline` knows it by the object itself.

    Attributes:
        transcript: its items, as they were converted last.
    """

    __slots__ = ("_ends", "transcript", "used_at")

    def __init__(self, breakpoints: bool) -> None:
        self.transcript = Transcript(breakpoints=breakpoints)
        self.used_at = 0.0
        self._ends: deque[str] = deque()

    def end_with(self, item_id: str) -> str | None:
        """Remember what a request ended with. What is forgotten for it, when there are too many."""
        self._ends.append(item_id)
        return self._ends.popleft() if len(self._ends) > MAX_ENDS else None

    @property
    def ends(self) -> Sequence[str]:
        """The items with which requests ended."""
        return self._ends


class Conversations:
    """The conversations of one `LLM`; the longest unused are forgotten.

    Args:
        forget: is told each conversation that is forgotten.
        breakpoints: whether prompt-cache breakpoints are sent.
        clock: in seconds.
    """

    def __init__(
        self, forget: Callable[[Hashable], None], *, breakpoints: bool, clock: Callable[[], float] = monotonic
    ) -> None:
        self._forget = forget
        self._breakpoints = breakpoints
        self._clock = clock
        self._used: OrderedDict[Conversation, None] = OrderedDict()
        self._by_end: dict[str, Conversation] = {}
        self._shared: OrderedDict[str, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._used)

    def of(self, items: Sequence[ChatItem]) -> Conversation:
        """The conversation that a context goes on with, or a new one."""
        ids = _telling(items)
        end = next(ids, None)
        if end is None:
            return Conversation(self._breakpoints)
        found = next((known for known in map(self._by_end.get, ids) if known is not None), None)
        if found is None:
            return self._begin(end)
        if end not in self._by_end and end not in self._shared:
            self._remember(found, end)
        self._touch(found)
        return found

    def clear(self) -> None:
        """Forget all of them."""
        while self._used:
            self._drop()
        self._shared.clear()

    def _begin(self, end: str) -> Conversation:
        self._make_room()
        begun = Conversation(self._breakpoints)
        if end in self._by_end or end in self._shared:
            self._by_end.pop(end, None)
            self._shared[end] = None
            if len(self._shared) > MAX_SHARED:
                self._shared.popitem(last=False)
        else:
            self._remember(begun, end)
        self._touch(begun)
        return begun

    def _remember(self, conversation: Conversation, end: str) -> None:
        self._by_end[end] = conversation
        forgotten = conversation.end_with(end)
        if forgotten is not None:
            self._by_end.pop(forgotten, None)

    def _touch(self, conversation: Conversation) -> None:
        conversation.used_at = self._clock()
        self._used[conversation] = None
        self._used.move_to_end(conversation)

    def _make_room(self) -> None:
        while len(self._used) >= MAX_CONVERSATIONS:
            self._drop()
        while self._used and next(iter(self._used)).used_at < self._clock() - IDLE_S:
            self._drop()

    def _drop(self) -> None:
        conversation, _ = self._used.popitem(last=False)
        for end in conversation.ends:
            if self._by_end.get(end) is conversation:
                del self._by_end[end]
        self._forget(conversation)


def _telling(items: Sequence[ChatItem]) -> Iterator[str]:
    """The ids that tell conversations apart, the latest first."""
    return (
        item.id
        for item in reversed(items)
        if item.type != "message" or item.role not in ("system", "developer")
    )
