"""What the server remembers: stored responses, their items, and each lane's latest response."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from .._models.context import Context, Item
from .records import ResponseRecord


class Store:
    """Responses kept across connections, oldest dropped beyond `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._responses: OrderedDict[str, ResponseRecord] = OrderedDict()
        self._items: dict[str, Item] = {}
        self._inputs: dict[str, list[Item]] = {}
        self.conversations: dict[str, ResponseRecord] = {}

    def get(self, response_id: str) -> ResponseRecord | None:
        """A stored response."""
        return self._responses.get(response_id)

    def item(self, item_id: str) -> Item | None:
        """A stored item, of an output or an input."""
        return self._items.get(item_id)

    def put(self, record: ResponseRecord) -> None:
        """Keep a response and the items of its output."""
        self._responses[record.id] = record
        for item in record.output:
            self._items[item["id"]] = item
        if len(self._responses) > self._limit:
            self.delete(next(iter(self._responses)))

    def input_items(self, record: ResponseRecord, make: Callable[[], list[Item]]) -> list[Item]:
        """The input items of a stored response, each with an id from the first time they are asked for."""
        if record.id not in self._inputs:
            items = self._inputs[record.id] = make()
            self._items.update((item["id"], item) for item in items)
        return self._inputs[record.id]

    def delete(self, response_id: str) -> bool:
        """Forget a response and its items; false when it was not there."""
        record = self._responses.pop(response_id, None)
        if record is None:
            return False
        for item in (*self._inputs.pop(response_id, ()), *record.output):
            self._items.pop(item["id"], None)
        return True


class LaneCache:
    """One connection's memory: the latest response of each of its lanes."""

    def __init__(self) -> None:
        self._latest: dict[str | None, ResponseRecord] = {}
        self.prompts: dict[str | None, tuple[bytes, Context]] = {}
        """The last prompt of each lane, for counting cached tokens: its key and its context."""

    def find(self, response_id: str) -> ResponseRecord | None:
        """A response that is the latest of some lane."""
        for record in self._latest.values():
            if record.id == response_id:
                return record
        return None

    def remember(self, lane: str | None, record: ResponseRecord) -> None:
        """A response of this lane has ended; it takes the place of the one before."""
        self._latest[lane] = record

    def advance(self, lane: str | None) -> None:
        """A response starts on this lane: what was latest there can no longer be named."""
        self._latest.pop(lane, None)

    def evict(self, lane: str | None, response_id: str) -> None:
        """A continuation on this lane failed: drop its parent, if it was this lane's own."""
        record = self._latest.get(lane)
        if record is not None and record.id == response_id:
            del self._latest[lane]

    def forget(self, response_id: str | None = None) -> None:
        """Drop one response, or all."""
        if response_id is None:
            self._latest.clear()
        for lane in [lane for lane, record in self._latest.items() if record.id == response_id]:
            del self._latest[lane]
