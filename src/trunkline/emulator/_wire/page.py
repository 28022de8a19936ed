"""One page of a list of items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._protocol.errors import ApiError
from .._protocol.schema import choice, integer

_ORDER = choice("asc", "desc")
_LIMIT = integer(1, 100)


def page(items: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
    """The page that a query selects; newest first by default.

    Raises:
        ApiError: the query is invalid.
    """
    order = query.get("order", "desc")
    _ORDER(order, "order")
    text = query.get("limit", "20")
    limit = int(text) if text.isdigit() else text
    _LIMIT(limit, "limit")
    ordered = items if order == "asc" else items[::-1]
    after = query.get("after")
    if after is not None:
        places = [index for index, item in enumerate(ordered) if item["id"] == after]
        if not places:
            raise ApiError(f"Item with id '{after}' not found.", status=404, param="after")
        ordered = ordered[places[0] + 1 :]
    return listing(ordered[: int(limit)], has_more=len(ordered) > int(limit))


def listing(items: list[dict[str, Any]], *, has_more: bool = False) -> dict[str, Any]:
    """A list of items as the service shows it."""
    return {
        "object": "list",
        "data": items,
        "first_id": items[0]["id"] if items else None,
        "last_id": items[-1]["id"] if items else None,
        "has_more": has_more,
    }
