"""Assignment of requests to conversations.

LiveKit passes a chat context with each request, without the session's identity. Sessions are distinguished by
the random ids of their items. The rule:

    A context continues a conversation if it contains, before its last item, an item with which a request of
    that conversation ended.

Sessions with equal text stay separate, because their ids differ. A session that truncates, edits, summarises
or hands over its context continues its conversation while one of those items remains.

A context may end with the last item of an earlier request and share no other such item with it. Then it is
either a retry or a second session with the same first items. It becomes a new conversation, and that item is
no longer used for assignment.

Instructions are ignored: LiveKit gives them a constant id.
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
"""The maximum lifetime of a connection to the service."""


class Conversation:
    """One history at the service. The object itself is the key of its `trunkline` stream.

    Attributes:
        transcript: the items, as last converted.
    """

    __slots__ = ("_ends", "transcript", "used_at")

    def __init__(self, breakpoints: bool) -> None:
        self.transcript = Transcript(breakpoints=breakpoints)
        self.used_at = 0.0
        self._ends: deque[str] = deque()

    def end_with(self, item_id: str) -> str | None:
        """Record the last item of a request. Return the id that it displaces, or None."""
        self._ends.append(item_id)
        return self._ends.popleft() if len(self._ends) > MAX_ENDS else None

    @property
    def ends(self) -> Sequence[str]:
        """The ids of the last items of requests."""
        return self._ends


class Conversations:
    """The conversations of one `LLM`; the least recently used are forgotten.

    Args:
        forget: called with each forgotten conversation.
        breakpoints: whether prompt-cache breakpoints are sent.
        clock: returns seconds.
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
        """The conversation that a context continues, or a new one."""
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
        """Forget all conversations."""
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
    """The ids that identify conversations, latest first."""
    return (
        item.id
        for item in reversed(items)
        if item.type != "message" or item.role not in ("system", "developer")
    )
