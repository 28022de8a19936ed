"""Ids of responses as callers get them, each for one response.

Some servers give one id to all responses of a connection. Callers who share the connection would continue
each other's conversations by such an id. So the second response with an id is shown with another one, by
which the lineage finds it; the server does not know that id.

Pure. The memory is bounded: after `max_ids` other ones an id counts as new.
"""

from __future__ import annotations

from collections import OrderedDict


class GivenIds:
    """The ids that callers of one service with one credential were given.

    Args:
        max_ids: the number of ids that are remembered.
    """

    def __init__(self, max_ids: int) -> None:
        self._max_ids = max_ids
        self._counts: OrderedDict[str, int] = OrderedDict()  # the responses with each id

    def give(self, response_id: str) -> str:
        """The id under which a caller gets a response: the given one for the first response that has it."""
        count = self._counts.get(response_id, 0) + 1
        self._counts[response_id] = count
        self._counts.move_to_end(response_id)
        if len(self._counts) > self._max_ids:
            self._counts.popitem(last=False)
        return response_id if count == 1 else f"{response_id}-{count}"

    def is_ambiguous(self, response_id: str) -> bool:
        """Whether several responses have the id: the server may take it for another one than its caller."""
        return self._counts.get(response_id, 0) > 1


__all__ = ["GivenIds"]
