"""Resolution of item references, and checks of items that only the server can create."""

from __future__ import annotations

from .._models.context import Item
from .._protocol.errors import ApiError, item_not_found
from .._protocol.items import type_of
from .._protocol.schema import missing
from .generation import unseal
from .store import Store

_MADE_BY_MODELS = frozenset(("function_call", "custom_tool_call", "reasoning", "compaction"))


def resolved(item: Item, path: str, store: Store) -> Item:
    """Return the item, or the stored item that it references.

    Raises:
        ApiError: the item's id is not stored, or its encrypted content is invalid.
    """
    name = type_of(item)
    item_id = item.get("id")
    if name == "item_reference":
        found = store.item(item["id"])
        if found is None:
            raise item_not_found(item["id"])
        return found
    if name in ("reasoning", "compaction") and item.get("encrypted_content"):
        _check_seal(item, path)
        return item
    made_here = name in _MADE_BY_MODELS or item.get("role") == "assistant"
    if made_here and item_id is not None and store.item(item_id) is None:
        raise item_not_found(item_id)
    if name == "reasoning" and item_id is None:
        raise missing(f"{path}.id")
    return item


def _check_seal(item: Item, path: str) -> None:
    if unseal(item["encrypted_content"]) is None:
        raise ApiError(
            f"The encrypted content for item {item.get('id')} could not be verified.",
            code="invalid_encrypted_content",
            param=path,
        )
