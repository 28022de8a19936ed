"""The prefix rule of the models ``gpt-6.2-*``: reasoning is dropped after an edit of what precedes it.

A reasoning item belongs to its organization, end user and model, and to the prefix that the model saw before
it: tools, effort, format and all earlier items. A request that differs in one of them loses the item, and its
response says so in ``input_transformations``. Top-level ``instructions`` stand after the input and are not
part of the prefix; items appended later are not either.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

from .._models.context import Context, Item
from .._protocol.items import type_of
from .._protocol.request import CreateRequest
from .generation import unseal

_encode = msgspec.json.Encoder(order="deterministic").encode
_ASIDE = frozenset(("id", "status", "annotations", "logprobs", "phase", "prompt_cache_breakpoint"))


@dataclass(frozen=True, slots=True)
class Origin:
    """What a reasoning item belongs to. The order of the fields is that of the reported reasons."""

    organization: str | None = field(repr=False)
    end_user: str | None = field(repr=False)
    model: str
    prefix: bytes = field(default=b"", repr=False)
    """The digest of everything before the item."""

    @classmethod
    def of(cls, request: CreateRequest, organization: str | None) -> Origin:
        """The origin of a request's prompt before its first item."""
        return cls(organization, request.end_user, request.model, blake2b(request.prefix_key).digest())

    def after(self, item: Item) -> Origin:
        """The origin of the place after an item."""
        digest = blake2b(_encode(_canonical(item)), key=self.prefix).digest()
        return Origin(self.organization, self.end_user, self.model, digest)

    def mismatch(self, now: Origin) -> str | None:
        """The reason why reasoning of this origin is dropped at a place; None if it is kept."""
        for name in ("organization", "end_user", "model", "prefix"):
            if getattr(self, name) != getattr(now, name):
                return f"{name}_mismatch"
        return None


@dataclass(frozen=True, slots=True)
class Reading:
    """A context as the model of one request reads it."""

    context: Context = field(repr=False)
    start: Origin
    end: Origin
    """The origin of the output; not that of the last item for models without the rule."""
    removed: list[dict[str, Any]] | None = field(repr=False)
    """The ``input_transformations``; None for models without the rule."""


class ReasoningLedger:
    """The origins of the reasoning items of all responses; beyond `limit`, the oldest are forgotten.

    Items that are not known here are kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._origins: OrderedDict[str, Origin] = OrderedDict()

    def read(self, request: CreateRequest, organization: str | None, context: Context) -> Reading:
        """Drop the reasoning that does not belong to the context, if the model has the rule."""
        start = place = Origin.of(request, organization)
        if not request.has_prefix_rule:
            return Reading(context, start, start, None)
        kept: list[Item] = []
        removed: list[dict[str, Any]] = []
        for item in context.items():
            origin = self._origin_of(item)
            reason = origin.mismatch(place) if origin is not None else None
            if reason is None:
                kept.append(item)
                place = place.after(item)
            else:
                removed.append(_removal(item, reason))
        return Reading(Context(None, tuple(kept)) if removed else context, start, place, removed)

    def remember(self, output: list[Item], reading: Reading) -> None:
        """Note the origins of the reasoning among the output of a response to this reading."""
        place = reading.end
        for item in output:
            if item["type"] == "compaction":
                place = reading.start  # the context of the next response begins with it
            if item["type"] == "reasoning":
                self._origins[item["id"]] = place
                if len(self._origins) > self._limit:
                    self._origins.popitem(last=False)
            if reading.removed is not None:
                place = place.after(item)

    def _origin_of(self, item: Item) -> Origin | None:
        return self._origins.get(_id_of(item)) if type_of(item) == "reasoning" else None


def _id_of(reasoning: Item) -> str:
    """The id of a reasoning item, which may be in its encrypted content only."""
    if reasoning.get("id"):
        return str(reasoning["id"])
    return (unseal(reasoning.get("encrypted_content") or "") or "").partition(" ")[0]


def _removal(item: Item, reason: str) -> dict[str, Any]:
    return {"id": _id_of(item), "type": "reasoning", "action": "removed", "reason": reason}


def _canonical(item: Item) -> Any:
    """An item as the model reads it: without ids, and with text as parts."""
    kind = type_of(item)
    if kind == "reasoning":
        return kind, _id_of(item)
    content = item.get("content")
    if kind == "message" and isinstance(content, str):
        part = "output_text" if item.get("role") == "assistant" else "input_text"
        item = item | {"content": [{"type": part, "text": content}]}
    return {"type": kind} | _stripped(item)


def _stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _stripped(part) for name, part in value.items() if name not in _ASIDE and part is not None
        }
    return [_stripped(part) for part in value] if isinstance(value, list) else value
