"""The refusal of a model, which may stand in one place of a response only.

Servers send it in deltas, in ``done`` events or in the final response, as they send text; see `whole_text`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from .events import MadeFrame, OutputItemDone, ReceivedEvent, RefusalDelta, UnknownEvent
from .json import JSON
from .response import Response
from .whole_text import text_left, with_part

_DONE: Final = frozenset({"response.refusal.done", "response.content_part.done"})


class RefusalText:
    """What was received of the refusal of one response."""

    __slots__ = ("_received",)

    def __init__(self) -> None:
        self._received = ""

    def note(self, event: RefusalDelta) -> None:
        """Note a delta."""
        self._received += event.delta

    def new_text(self, event: ReceivedEvent) -> str:
        """The text of a ``done`` event with which the refusal continues."""
        if isinstance(event, OutputItemDone):
            return self._new("".join(_refusals_of(event.item)))
        if isinstance(event, UnknownEvent) and event.wire_type in _DONE and not self._received:
            whole = event.json()
            part = whole.get("part") or {"type": "refusal", "refusal": whole.get("refusal")}
            return self._new("".join(_refusals_of({"type": "message", "content": [part]})))
        return ""

    def left(self, response: Response) -> str:
        """The text that only the final response has."""
        return self._new("".join(text for item in response.output for text in _refusals_of(item)))

    def filled_in(self, response: Response) -> Response:
        """The final response with the received refusal, if it has none."""
        if not self._received or any(True for item in response.output for _ in _refusals_of(item)):
            return response
        return with_part(response, {"type": "refusal", "refusal": self._received})

    def _new(self, text: str) -> str:
        new = text_left(text, self._received)
        self._received += new
        return new


def may_refuse(frame: bytes) -> bool:
    """Whether a frame may have a refusal. Fast, because most have none."""
    return b'"refusal"' in frame


def told_refusal(text: str, stream_id: str | None) -> RefusalDelta:
    """A delta for a refusal that came without one."""
    frame = MadeFrame(msgspec.json.encode({"type": RefusalDelta.type, "delta": text}))
    return RefusalDelta(delta=text, stream_id=stream_id, raw=frame)


def _refusals_of(item: JSON) -> Iterator[str]:
    parts: Any = item.get("content") if item.get("type") == "message" else None
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and part.get("type") == "refusal" and isinstance(part.get("refusal"), str):
            yield part["refusal"]
