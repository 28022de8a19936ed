"""Text that stands in one place of a response only.

Text is sent in deltas, repeated in ``done`` events, and repeated in the final response. Some servers send it
in one of these places. `WholeTexts` finds text that comes in ``done`` events without deltas; `text_left` and
`with_text` compare the text that the caller received with that of the final response.

Text that came without a delta is passed on as an `OutputTextDelta` that `told` makes. Its ``raw`` and
``json()`` have the type and the text alone, and its ``sequence_number`` is ``None``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

import msgspec
from msgspec import Raw

from .calls import is_call_to_answer
from .events import MadeFrame, OutputItemDone, OutputTextDelta, OutputTextDone, ReceivedEvent, UnknownEvent
from .json import JSON
from .response import Response, texts_of

_PART_DONE: Final = "response.content_part.done"


def text_of(item: JSON) -> str:
    """The text of an output message."""
    return "".join(texts_of(item))


class WholeTexts:
    """The text of one response in its ``done`` events, until its first text delta.

    A text is repeated: in ``output_text.done``, in ``content_part.done``, and in the item.

    Args:
        text_of_item: gives the text of an output message.
    """

    __slots__ = ("_seen", "_text_of_item", "_unclosed")

    def __init__(self, text_of_item: Callable[[JSON], str] = text_of) -> None:
        self._text_of_item = text_of_item
        self._seen: set[Hashable] = set()
        self._unclosed = ""  # text of parts whose item is not done

    def new_text(self, event: ReceivedEvent) -> str:
        """The text of the event that no earlier event had."""
        if isinstance(event, OutputTextDone):
            return self._of_part(event.item_id, event.output_index, event.content_index, event.text)
        if isinstance(event, OutputItemDone):
            return self._of_item(event.item, event.output_index)
        if isinstance(event, UnknownEvent) and event.wire_type == _PART_DONE:
            whole = event.json()
            return self.new_part(whole, self._text_of_item({"content": [whole.get("part")]}))
        return ""

    def new_part(self, event: JSON, text: str) -> str:
        """The text of a part that is done, if no earlier event had it."""
        at = (event.get(name) for name in ("item_id", "output_index", "content_index"))
        return self._of_part(*(each if isinstance(each, str | int) else None for each in at), text)

    def _of_part(self, *part: Hashable) -> str:
        text = part[-1]
        assert isinstance(text, str)
        if part in self._seen:
            return ""
        self._seen.add(part)
        self._unclosed += text
        return text

    def _of_item(self, item: JSON, index: int | None) -> str:
        if item.get("type") != "message":
            return ""
        text = self._text_of_item(item)
        name = item.get("id")
        key = ("item", name) if isinstance(name, str) else ("item", index, text)
        if key in self._seen:
            return ""
        self._seen.add(key)
        unclosed = self._unclosed
        if text.startswith(unclosed):
            self._unclosed = ""
            return text[len(unclosed) :]
        # Parts of several items are interleaved, or the item has other text than its parts.
        self._unclosed = unclosed[len(text) :] if unclosed.startswith(text) else ""
        return ""


def told(text: str, stream_id: str | None) -> OutputTextDelta:
    """A delta for text that came without one."""
    frame = MadeFrame(msgspec.json.encode({"type": OutputTextDelta.type, "delta": text}))
    return OutputTextDelta(delta=text, stream_id=stream_id, raw=frame)


def text_left(text: str, received: str) -> str:
    """The part of a response's text that follows the received text; empty if the two differ otherwise."""
    return text[len(received) :] if text.startswith(received) else ""


def with_text(response: Response, received: str) -> Response:
    """The response with the received text, where its messages have less.

    The text is put into the first message without content, or else becomes a message before the calls.
    """
    text = response.output_text
    rest = received[len(text) :]
    if not received.startswith(text) or not rest.strip():
        return response
    return with_part(response, {"type": "output_text", "text": rest, "annotations": []})


def with_part(response: Response, part: JSON) -> Response:
    """The response with one more part: in its first message without content, or in one before the calls."""
    encoded = list(response.encoded_output or ())
    for at, item in enumerate(response.output):
        if item.get("type") == "message" and not item.get("content"):
            encoded[at] = _raw({**item, "content": [part]})
            return response.with_output(encoded)
    calls = (at for at, item in enumerate(response.output) if is_call_to_answer(item))
    message = {"type": "message", "role": "assistant", "status": "completed", "content": [part]}
    encoded.insert(next(calls, len(encoded)), _raw(message))
    return response.with_output(encoded)


def _raw(value: Any) -> Raw:
    return Raw(msgspec.json.encode(value))
