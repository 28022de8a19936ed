"""Lineage: which earlier response a request continues, where the caller names no conversation.

The callers of one service with one credential send whole histories, or the ``previous_response_id`` of an
earlier response. `Lineage` finds the owner whose baselines the request may use, by the first rule that
applies:

1. **Key.** The request names its conversation.
2. **Id.** The request names a response that was recorded. Its context is that response's context and output,
   followed by the items of the request. If that context has an item that cannot be sent again, the id is
   passed on as given. An unknown id is passed on as well; its response is not recorded.
3. **Equal beginning.** The input begins with the whole input and the output of a recorded response, and all
   fields are equal. The longest input counts. With a *token*, a string that only the service can have made
   (the id of an item, encrypted content), instructions and tools may differ.
4. Otherwise the request begins a new conversation.

Three limits on rule 3 keep from a caller what only the service knows of others:

- **Hidden results.** A response in whose chain a hosted tool ran is continued only by an input with the ids
  of the items of that tool. Reasoning is no such item: it was made from equal items under equal fields.
- **Tokens stay needed.** Where the fields of a chain have changed, its reasoning was made under fields that
  another caller may not know. From there on it is continued by token, id or key only.
- **Tokens are unique.** A response that was continued is not continued by token with other fields. Once a
  token occurs in two responses, tokens count for nothing.

A response that was continued before is continued as a fork: by a new owner with its baseline alone.

Pure: times are arguments. The memory is bounded by the number of responses, by their bytes and by idle time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from .._protocol.history import History
from .._protocol.items import Item
from .._protocol.quiet import QuietStruct
from .baselines import Baseline, delta_after
from .hidden import hosted_ids, id_of, is_hosted, needs_service
from .placement import Owner

MAX_POSITIONS: Final = 4096
"""Positions of an input that are looked up."""
MAX_COMPARED: Final = 32
"""Responses whose output is compared with an input."""


class Way(Enum):
    """The rule by which a request found its place."""

    KEY = "key"
    ID = "id"
    AS_GIVEN = "as given"
    """The service resolves the id or the conversation that the request names. Nothing is recorded."""

    EQUAL = "equal"
    TOKEN = "token"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class LineageLimits:
    """Bounds of the memory.

    Attributes:
        max_responses: the number of responses.
        max_bytes: the bytes of their items.
        max_keys: the number of keys.
        idle_s: the time after its last use at which a response is forgotten, in seconds.
    """

    max_responses: int = 16_384
    max_bytes: int = 256 * 2**20
    max_keys: int = 4096
    idle_s: float = 3 * 3600.0


class Asked(QuietStruct, frozen=True):
    """A request.

    Attributes:
        fields: a hash of all fields but the input.
        other_fields: a hash of all fields but the input, the instructions and the tools.
        items: the items of the request.
        parent_id: the ``previous_response_id`` of the request.
        key: the name of the conversation.
        has_context: the request names a context that only the service has, such as ``conversation``.
        compacts: the request lets the service compact the context: the caller need not keep compactions.
    """

    fields: bytes
    other_fields: bytes
    items: History
    parent_id: str | None = None
    key: Hashable = None
    has_context: bool = False
    compacts: bool = False


class _Segment:
    """Items that a response added to those of its parent, for the bounds and for deletions.

    It lives as long as its response or one that continues it is recorded.

    Attributes:
        response_id: the id of the response.
        parent: the segment of the response that it continues.
        size_bytes: the bytes of the items.
        users: the number of segments that continue it; one more while its response is recorded.
        children: the segments that continue it.
    """

    __slots__ = ("children", "parent", "response_id", "size_bytes", "users")

    def __init__(self, response_id: str, parent: _Segment | None, size_bytes: int) -> None:
        self.response_id = response_id
        self.parent = parent
        self.size_bytes = size_bytes
        self.users = 1
        self.children: set[_Segment] = set()


@dataclass(slots=True, eq=False, repr=False)
class _Recorded:
    """A response that ended.

    Attributes:
        id: its id.
        owner: the owner of its turn.
        context: the whole input.
        output: its output, as it can be sent again.
        baseline: the facts with which a request names it; ``None`` if it cannot be named.
        is_stored: the service stores it.
        tokens: strings that only the service can have made.
        hidden: the ids of all hosted items of its chain; ``None`` for one without an id.
        is_replayable: its context and output can be sent again.
        needs_token: equal instructions do not suffice to continue it.
        is_private: it is continued by key or id only.
        fields: a hash of the fields of its request.
        segment: its items.
        used_at: the time of the last use.
        is_continued: a request continues it. The next one is a fork.
        is_forgotten: it was deleted.
        places: where `Lineage` finds it by its input.
    """

    id: str
    owner: Owner
    context: History
    output: tuple[Item, ...]
    baseline: Baseline | None
    is_stored: bool
    tokens: frozenset[str]
    hidden: frozenset[str | None]
    is_replayable: bool
    needs_token: bool
    is_private: bool
    fields: bytes
    segment: _Segment
    used_at: float
    is_continued: bool = False
    is_forgotten: bool = False
    places: tuple[tuple[_Table, tuple[bytes, bytes]], ...] = ()


_Table: TypeAlias = dict[tuple[bytes, bytes], list[_Recorded]]
"""Responses by the hash of their fields and the mark of their input."""


@dataclass(slots=True, eq=False, repr=False)
class Place:
    """The place of a request among the recorded responses.

    Attributes:
        way: the rule that applied.
        owner: the owner of the turn; ``None`` if nothing may be remembered.
        context: the whole input: of a request with a known ``previous_response_id`` more than its items.
        asked: the request.
        parent: the response that it continues.
        takes_over: it is the first request that continues its parent.
    """

    way: Way
    owner: Owner | None
    context: History
    asked: Asked
    parent: _Recorded | None = None
    takes_over: bool = False

    @property
    def names_unstored(self) -> bool:
        """Whether the request names a recorded response that the service does not store."""
        return self.asked.parent_id is not None and self.parent is not None and not self.parent.is_stored

    @property
    def needs_token(self) -> bool:
        """Whether the response to the request is continued by token, id or key only.

        So it is once the fields of a chain have changed: its reasoning was made under the earlier ones too.
        """
        parent = self.parent
        return parent is not None and (parent.needs_token or parent.fields != self.asked.fields)

    @property
    def is_private(self) -> bool:
        """Whether the response is found by key or id only: what it continues by key is not known here."""
        return self.way is Way.KEY or (self.parent is not None and self.parent.is_private)

    def __repr__(self) -> str:
        return f"<Place {self.way.name}>"


class Answered(QuietStruct, frozen=True):
    """A response that ended with its output, as `Lineage.record` takes it.

    Attributes:
        id: its id; empty if the server gives none.
        items: its output, as it can be sent again.
        received: its output as received.
        is_stored: the service stores it.
    """

    id: str
    items: tuple[Item, ...]
    received: Sequence[Mapping[str, Any]]
    is_stored: bool


class Lineage:
    """The responses of the callers of one service with one credential.

    Args:
        limits: the bounds of the memory.
        has_random_call_ids: the service issues ids of calls that cannot be guessed, so that they are tokens.
    """

    def __init__(self, limits: LineageLimits | None = None, *, has_random_call_ids: bool = False) -> None:
        self._limits = limits or LineageLimits()
        self._token_names = ("id", "encrypted_content", *(("call_id",) if has_random_call_ids else ()))
        self._trusts_tokens = True
        self._tokens: dict[str, str] = {}
        self._by_id: OrderedDict[str, _Recorded] = OrderedDict()  # the least recently used first
        # Two tables: without instructions and tools the two hashes of a request are equal.
        self._by_fields: _Table = {}
        self._by_other_fields: _Table = {}
        self._by_key: OrderedDict[Hashable, Owner] = OrderedDict()
        self._segments: dict[str, _Segment] = {}
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def size_bytes(self) -> int:
        """The bytes of the items of all recorded responses."""
        return self._size_bytes

    def knows(self, response_id: str) -> bool:
        """Whether a response is recorded."""
        return response_id in self._by_id

    # Finding.

    def find(self, asked: Asked, now: float) -> Place:
        """The place of a request. `record` or `give_up` follows.

        Args:
            asked: the request.
            now: the time in seconds.
        """
        self._expire(now)
        as_given = Place(Way.AS_GIVEN, None, asked.items, asked)
        if asked.has_context:
            return as_given
        parent, context = None, asked.items
        if asked.parent_id is not None:
            parent = self._by_id.get(asked.parent_id)
            if parent is None or not parent.is_replayable:
                return as_given
            context = _after(parent).extended(asked.items.items())
        if asked.key is not None:
            return self._of_key(asked, parent, context, now)
        if parent is not None:
            return self._continue(Way.ID, parent, asked, context, now)
        return self._equal(asked, now) or Place(Way.NEW, Owner(), context, asked)

    def _of_key(self, asked: Asked, parent: _Recorded | None, context: History, now: float) -> Place:
        owner = self._by_key.setdefault(asked.key, Owner())
        self._by_key.move_to_end(asked.key)
        while len(self._by_key) > self._limits.max_keys:
            self._by_key.popitem(last=False)
        if parent is not None:
            self._touch(parent, now)
            if parent.owner is not owner and parent.baseline is not None:
                owner.baselines.commit(parent.baseline)
        return Place(Way.KEY, owner, context, asked, parent)

    def _continue(self, way: Way, parent: _Recorded, asked: Asked, context: History, now: float) -> Place:
        self._touch(parent, now)
        if not parent.is_continued:
            parent.is_continued = True
            return Place(way, parent.owner, context, asked, parent, takes_over=True)
        fork = Owner()
        if parent.baseline is not None:
            fork.baselines.commit(parent.baseline)
        return Place(way, fork, context, asked, parent)

    def _equal(self, asked: Asked, now: float) -> Place | None:
        """The place after the longest earlier input with which this one begins; ``None`` for none."""
        context, length = asked.items, len(asked.items)
        remaining = MAX_COMPARED
        for position in range(length, max(0, length - MAX_POSITIONS), -1):
            mark = context.mark_of(position)
            continued: _Recorded | None = None
            # 1. Equal fields. A response without a continuation comes before a fork.
            for parent in reversed(self._by_fields.get((asked.fields, mark), ())):
                if not (remaining := remaining - 1):
                    return None
                if self._may_continue(parent, asked, needs_token=parent.needs_token):
                    if not parent.is_continued:
                        return self._continue(_way_of(parent), parent, asked, context, now)
                    continued = continued or parent
            if continued is not None:
                return self._continue(_way_of(continued), continued, asked, context, now)
            # 2. Other instructions or tools, with a token. A second request with the same token, in a
            #    conversation that diverges, shows that tokens are handed around: it does not count.
            for parent in reversed(self._by_other_fields.get((asked.other_fields, mark), ())):
                if not (remaining := remaining - 1):
                    return None
                if not parent.is_continued and self._may_continue(parent, asked, needs_token=True):
                    return self._continue(Way.TOKEN, parent, asked, context, now)
        return None

    def _may_continue(self, parent: _Recorded, asked: Asked, *, needs_token: bool) -> bool:
        baseline, context = parent.baseline, asked.items
        # 1. The input has the output of the response, and something new.
        if baseline is None or delta_after(baseline, context, compacts=asked.compacts) is None:
            return False
        # 2. The caller has a token of the response, if one is needed.
        if needs_token and not self._has_token(parent, context):
            return False
        # 3. The caller has the ids of all results that only the service has.
        return not parent.hidden or parent.hidden <= hosted_ids(context)

    def _has_token(self, parent: _Recorded, context: History) -> bool:
        after = context.items(len(parent.context))
        return self._trusts_tokens and any(
            not parent.tokens.isdisjoint(self._tokens_of(item.json())) for item in after
        )

    # Recording.

    def record(self, place: Place, answered: Answered, now: float) -> None:
        """Record the response to a request. The owner's baselines have it, if it can be named.

        Args:
            place: the place of the request.
            answered: the response.
            now: the time in seconds.
        """
        self.forget(answered.id)  # a server may give an id twice
        parent, owner = place.parent, place.owner
        if owner is None or (parent is not None and parent.is_forgotten) or not answered.id:
            self.give_up(place)
            return
        # 1. Tokens. One that occurs in two responses is no token.
        tokens = frozenset(token for item in answered.received for token in self._tokens_of(item))
        for token in tokens:
            if self._tokens.setdefault(token, answered.id) != answered.id:
                self._trusts_tokens = False
        # 2. The items that are new since the parent.
        added = (*place.context.items(len(parent.context) if parent is not None else 0), *answered.items)
        # The memory may have dropped the parent meanwhile.
        before = parent.segment if parent is not None and parent.segment.users else None
        new = added if before is not None else (*place.context, *answered.items)
        segment = _Segment(answered.id, before, sum(len(item.encoded) for item in new))
        # 3. What only the service has.
        hosted = [item for item in answered.received if is_hosted(item)]
        recorded = _Recorded(
            id=answered.id,
            owner=owner,
            context=place.context,
            output=answered.items,
            baseline=next((each for each in owner.baselines if each.response_id == answered.id), None),
            is_stored=answered.is_stored,
            tokens=tokens,
            hidden=(parent.hidden if parent is not None else frozenset[str | None]()).union(
                id_of(item) for item in hosted
            ),
            is_replayable=(parent is None or parent.is_replayable)
            and not hosted
            and not any(map(needs_service, added)),
            needs_token=place.needs_token,
            is_private=place.is_private,
            fields=place.asked.fields,
            segment=segment,
            used_at=now,
        )
        self._keep(recorded, place)
        place.takes_over = False  # for good
        while len(self._by_id) > self._limits.max_responses or self._size_bytes > self._limits.max_bytes:
            self._forget_one(next(iter(self._by_id)))

    def _keep(self, recorded: _Recorded, place: Place) -> None:
        self._by_id[recorded.id] = recorded
        segment = self._segments[recorded.id] = recorded.segment
        self._size_bytes += segment.size_bytes
        if segment.parent is not None:
            segment.parent.users += 1
            segment.parent.children.add(segment)
        if not recorded.is_private and recorded.baseline is not None:
            mark, asked = recorded.context.mark, place.asked
            recorded.places = (
                (self._by_fields, (asked.fields, mark)),
                (self._by_other_fields, (asked.other_fields, mark)),
            )
            for table, where in recorded.places:
                table.setdefault(where, []).append(recorded)

    def give_up(self, place: Place) -> None:
        """The turn ended without a response to record. The next request takes the same place."""
        if place.parent is not None and place.takes_over:
            place.parent.is_continued = place.takes_over = False

    def forget(self, response_id: str) -> None:
        """Forget a response that was deleted, and all that continue it."""
        segment = self._segments.get(response_id)
        waiting = [segment] if segment is not None else []
        while waiting:
            segment = waiting.pop()
            waiting += segment.children
            recorded = self._by_id.get(segment.response_id)
            if recorded is not None:
                recorded.is_forgotten = True
                recorded.owner.baselines.forget(recorded.id)
                self._forget_one(recorded.id)

    # Bounds.

    def _touch(self, recorded: _Recorded, now: float) -> None:
        recorded.used_at = now
        self._by_id.move_to_end(recorded.id)

    def _expire(self, now: float) -> None:
        while self._by_id:
            oldest = next(iter(self._by_id.values()))
            if now - oldest.used_at < self._limits.idle_s:
                return
            self._forget_one(oldest.id)

    def _forget_one(self, response_id: str) -> None:
        recorded = self._by_id.pop(response_id)
        for table, where in recorded.places:
            others = table[where]
            others.remove(recorded)
            if not others:
                del table[where]
        for token in recorded.tokens:
            if self._tokens.get(token) == response_id:
                del self._tokens[token]
        released: _Segment | None = recorded.segment
        while released is not None:
            released.users -= 1
            if released.users:
                return
            self._size_bytes -= released.size_bytes
            del self._segments[released.response_id]
            if released.parent is not None:
                released.parent.children.discard(released)
            released = released.parent

    def _tokens_of(self, item: Mapping[str, Any]) -> list[str]:
        return [value for name in self._token_names if isinstance(value := item.get(name), str) and value]


def _way_of(parent: _Recorded) -> Way:
    return Way.TOKEN if parent.needs_token else Way.EQUAL


def _after(parent: _Recorded) -> History:
    """The context of a request that names the response: from its last compaction on."""
    for index in range(len(parent.output) - 1, -1, -1):
        if parent.output[index].kind == "compaction":
            return History.of(parent.output[index:])
    return parent.context.extended(parent.output)


__all__ = ["Answered", "Asked", "Lineage", "LineageLimits", "Place", "Way"]
