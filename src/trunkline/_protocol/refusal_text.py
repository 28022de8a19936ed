"""The refusal of a model, which may stand in one place of a response only.

Servers send it in deltas, in ``done`` events or in the final response, as they send text; see `whole_text`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from .events import MadeFrame, OutputTextDone, ReceivedEvent, RefusalDelta, UnknownEvent
from .json import JSON
from .response import Response
from .whole_text import WholeTexts, text_left, with_part

_DONE: Final = "response.refusal.done"


class RefusalText:
    """What was received of the refusal of one response."""

    __slots__ = ("_has_deltas", "_received", "_wholes")

    def __init__(self) -> None:
        self._has_deltas = False
        self._received = ""
        self._wholes = WholeTexts(_refusal_of)

    def note(self, event: RefusalDelta) -> None:
        """Note a delta."""
        self._has_deltas |= bool(event.delta)
        self._received += event.delta

    def new_text(self, event: ReceivedEvent) -> str:
        """The text of a ``done`` event that no earlier event had; none after a delta, see `left`."""
        if self._has_deltas or isinstance(event, OutputTextDone):
            return ""
        if isinstance(event, UnknownEvent) and event.wire_type == _DONE:
            whole = event.json()
            text = whole.get("refusal")
            new = self._wholes.new_part(whole, text) if isinstance(text, str) else ""
        else:
            new = self._wholes.new_text(event)
        self._received += new
        return new

    def left(self, response: Response) -> str:
        """The text that only the final response has."""
        new = text_left(_refusal_in(response), self._received)
        self._received += new
        return new

    def filled_in(self, response: Response) -> Response:
        """The final response with the received refusal, if it has none."""
        if not self._received or _refusal_in(response):
            return response
        return with_part(response, {"type": "refusal", "refusal": self._received})


def may_refuse(frame: bytes) -> bool:
    """Whether a frame may have a refusal. Fast, because most have none."""
    return b'"refusal"' in frame


def told_refusal(text: str, stream_id: str | None) -> RefusalDelta:
    """A delta for a refusal that came without one."""
    frame = MadeFrame(msgspec.json.encode({"type": RefusalDelta.type, "delta": text}))
    return RefusalDelta(delta=text, stream_id=stream_id, raw=frame)


def _refusal_in(response: Response) -> str:
    """The refusal in a whole response."""
    return "".join(_refusal_of(item) for item in response.output if item.get("type") == "message")


def _refusal_of(item: JSON) -> str:
    """The refusal in an output message."""
    parts: Any = item.get("content")
    return "".join(
        part["refusal"]
        for part in (parts if isinstance(parts, list) else ())
        if isinstance(part, dict) and part.get("type") == "refusal" and isinstance(part.get("refusal"), str)
    )
