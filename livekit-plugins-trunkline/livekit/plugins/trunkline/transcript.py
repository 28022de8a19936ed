"""Incremental conversion of LiveKit's chat items to input items of the Responses API.

LiveKit's converter runs only on the new or changed end of the context. Items are mutable, so each request
compares all of them with snapshots from their conversion.

The converter groups items: a message with the calls of its response, calls with their outputs. So the context
may be split only where no group spans the split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from livekit.agents.llm import AudioContent, CacheBreakpoint, ChatContext, ChatItem, ImageContent
from livekit.agents.llm.chat_context import DYNAMIC_INSTRUCTIONS_MESSAGE_ID

JSON: TypeAlias = dict[str, Any]

_HEAD = "the beginning"
_Snapshot: TypeAlias = tuple[object, ...]


class Transcript:
    """The last conversion of a chat context.

    Args:
        breakpoints: whether prompt-cache breakpoints are sent.
    """

    __slots__ = ("_breakpoints", "_converted", "_first", "_seen", "_splits")

    def __init__(self, *, breakpoints: bool) -> None:
        self._breakpoints = breakpoints
        self._seen: list[_Snapshot] = []
        self._converted: list[JSON] = []
        self._splits: list[tuple[int, int]] = [(0, 0)]
        self._first = {_HEAD: 0}

    def following(self, items: Sequence[ChatItem]) -> list[JSON]:
        """Convert chat items to input items; unchanged ones are the same objects as before."""
        start, converted = self._beginning(items, self._unchanged(items))
        self._cut(start, converted)
        tail = list(items[start:])
        if tail:
            new, _ = ChatContext(tail).to_provider_format(
                "openai.responses", prompt_cache_breakpoints=self._breakpoints
            )
            self._converted += new
            self._note(tail, start)
        return list(self._converted)

    def _unchanged(self, items: Sequence[ChatItem]) -> int:
        """The number of unchanged items at the start."""
        same = 0
        for item, seen in zip(items, self._seen, strict=False):
            # Most items are messages that still have the same string as their only content. Attributes of
            # Pydantic models are slow, so that this takes half the time of `_snapshot`.
            if type(item) is seen[0]:
                fields = item.__dict__
                _, item_id, role, said, phase = seen
                content = fields["content"]
                if (
                    len(content) == 1
                    and content[0] is said
                    and phase is None
                    and not fields["extra"]
                    and fields["role"] == role
                    and fields["id"] == item_id
                ):
                    same += 1
                    continue
            if _snapshot(item) != seen:
                break
            same += 1
        return same

    def _beginning(self, items: Sequence[ChatItem], limit: int) -> tuple[int, int]:
        """The length of the longest reusable prefix, in chat items and in input items."""
        for start, converted in reversed(self._splits):
            if start > limit:
                continue
            belongs = (self._first.get(tie, start) for item in items[start:] for tie in _ties(item))
            limit = min(belongs, default=start)
            if limit >= start:
                return start, converted
        return 0, 0

    def _cut(self, start: int, converted: int) -> None:
        if start == len(self._seen):
            return
        del self._seen[start:], self._converted[converted:]
        while self._splits[-1][0] > start:
            self._splits.pop()
        self._first = {tie: first for tie, first in self._first.items() if first < start} | {_HEAD: 0}

    def _note(self, tail: Sequence[ChatItem], start: int) -> None:
        for index, item in enumerate(tail, start):
            self._seen.append(_snapshot(item))
            for tie in _ties(item):
                self._first.setdefault(tie, index)
        self._splits.append((len(self._seen), len(self._converted)))


def _snapshot(item: ChatItem) -> _Snapshot:
    """A copy of what the converter reads of an item, safe from later edits.

    The first field of a message's is its type.
    """
    if item.type == "message":
        content, extra = item.content, item.extra
        said = content[0] if len(content) == 1 and type(content[0]) is str else tuple(map(_frozen, content))
        phase = extra["openai"].get("phase") if "openai" in extra else None
        return type(item), item.id, item.role, said, phase
    if item.type == "function_call":
        return item.id, item.group_id, item.call_id, item.name, item.arguments
    if item.type == "function_call_output":
        return item.call_id, item.output
    return (item.id,)


def _frozen(content: object) -> object:
    if isinstance(content, ImageContent):
        size = (content.inference_width, content.inference_height)
        return content.image, content.inference_detail, content.mime_type, size
    if isinstance(content, AudioContent | CacheBreakpoint):
        return type(content)
    return str(content)  # such as `Instructions`


def _ties(item: ChatItem) -> Iterator[str]:
    """The keys of the groups that an item belongs to."""
    if item.id == DYNAMIC_INSTRUCTIONS_MESSAGE_ID:
        yield _HEAD  # the converter merges it into the instructions at the start
    if item.type == "function_call_output":
        yield f"call {item.call_id}"
    elif item.type == "function_call":
        yield f"call {item.call_id}"
        yield item.group_id or item.id.split("/")[0]
    elif item.type == "message" and item.role == "assistant":
        yield item.id.split("/")[0]
    else:
        yield item.id
