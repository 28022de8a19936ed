"""Stored responses and their items, and the cache of each lane's latest response."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from .._models.context import Context, Item
from .records import ResponseRecord


class Store:
    """Responses stored across connections; beyond `limit`, the oldest is dropped."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._responses: OrderedDict[str, ResponseRecord] = OrderedDict()
        self._items: dict[str, Item] = {}
        self._inputs: dict[str, list[Item]] = {}

    def get(self, response_id: str) -> ResponseRecord | None:
        """Return a stored response, or None."""
        return self._responses.get(response_id)

    def item(self, item_id: str) -> Item | None:
        """Return a stored input or output item, or None."""
        return self._items.get(item_id)

    def put(self, record: ResponseRecord) -> None:
        """Store a response and its output items."""
        self._responses[record.wire_id] = record
        for item in record.output:
            self._items[item["id"]] = item
        if len(self._responses) > self._limit:
            self.delete(next(iter(self._responses)))

    def input_items(self, record: ResponseRecord, make: Callable[[], list[Item]]) -> list[Item]:
        """Return the input items of a stored response; the first call creates their ids."""
        if record.wire_id not in self._inputs:
            items = self._inputs[record.wire_id] = make()
            self._items.update((item["id"], item) for item in items)
        return self._inputs[record.wire_id]

    def delete(self, response_id: str) -> bool:
        """Delete a response and its items. Return False if it was not stored."""
        record = self._responses.pop(response_id, None)
        if record is None:
            return False
        for item in (*self._inputs.pop(response_id, ()), *record.output):
            self._items.pop(item["id"], None)
        return True


class LaneCache:
    """One connection's cache: the latest response of each lane."""

    def __init__(self) -> None:
        self._latest: dict[str | None, ResponseRecord] = {}
        self.prompts: dict[str | None, tuple[bytes, Context]] = {}
        """Key and context of each lane's last prompt, for counting cached tokens."""

    def find(self, response_id: str) -> ResponseRecord | None:
        """Return the response if it is the latest of a lane."""
        for record in self._latest.values():
            if record.wire_id == response_id:
                return record
        return None

    def remember(self, lane: str | None, record: ResponseRecord) -> None:
        """Make an ended response the latest of its lane."""
        self._latest[lane] = record

    def advance(self, lane: str | None) -> None:
        """Remove the latest response of a lane on which a new one starts; it can no longer be continued."""
        self._latest.pop(lane, None)

    def evict(self, lane: str | None, response_id: str) -> None:
        """Remove the parent of a failed continuation if it is the latest response of this lane."""
        record = self._latest.get(lane)
        if record is not None and record.wire_id == response_id:
            del self._latest[lane]

    def forget(self, response_id: str | None = None) -> None:
        """Remove one response, or all (None)."""
        if response_id is None:
            self._latest.clear()
        for lane in [lane for lane, record in self._latest.items() if record.wire_id == response_id]:
            del self._latest[lane]
