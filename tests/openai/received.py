"""Checks of the events that a caller of the SDK gets: each once, in order, of one response, and complete."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from trunkline.emulator import ResponseRecord

from .talk import JSON

CREATED: Final = "response.created"
DELTA: Final = "response.output_text.delta"
TEXT_DONE: Final = "response.output_text.done"
ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


class WrongEventsError(AssertionError):
    """An event is missing, foreign, doubled, or at the wrong place."""


class Received:
    """The events of one stream.

    Attributes:
        final: the response of the last event; ``None`` before it.
    """

    def __init__(self) -> None:
        self.final: JSON | None = None
        self._id: str | None = None
        self._number = -1
        self._unnumbered = 0  # since the last one with a number
        self._texts: defaultdict[tuple[Any, ...], str] = defaultdict(str)
        self._may_lack_text = False

    def note(self, event: JSON) -> None:
        """Note the next event.

        Raises:
            WrongEventsError: it is not the next one.
        """
        kind, number = event["type"], event.get("sequence_number")
        if self.final is not None:
            raise WrongEventsError(f"{kind} came after the end")
        if kind in ("error", "keepalive"):
            return
        if isinstance(number, int):
            self._follow(kind, number)
        else:
            self._unnumbered += 1
        if kind == CREATED:
            if self._id is not None:
                raise WrongEventsError("response.created came twice")
            self._id = event["response"]["id"]
        elif "response" in event and event["response"]["id"] != self._id:
            raise WrongEventsError(f"{kind} is of another response")
        part = tuple(event.get(name) for name in ("item_id", "output_index", "content_index"))
        if kind == DELTA:
            self._texts[part] += event["delta"]
        elif kind == TEXT_DONE and self._texts.get(part, event["text"]) != event["text"]:
            raise WrongEventsError(f"the deltas are {self._texts[part]!r}, and the text {event['text']!r}")
        if kind in ENDS:
            self.final = event["response"]

    def check(self, record: ResponseRecord) -> None:
        """Check the final response and the text against the record of the service.

        Raises:
            WrongEventsError: they differ.
        """
        assert self.final is not None
        check_final(self.final, record)
        parts = (part for item in record.output if item["type"] == "message" for part in item["content"])
        text = "".join(part.get("text", "") for part in parts)
        heard = "".join(self._texts.values())
        if not self._texts:  # a service that sends no deltas
            return
        if heard != text and not (self._may_lack_text and text.startswith(heard)):
            raise WrongEventsError(f"the deltas are {heard!r}, and the answer {text!r}")

    def _follow(self, kind: str, number: int) -> None:
        expected, self._number = self._number + 1, number
        unnumbered, self._unnumbered = self._unnumbered, 0
        if expected <= number <= expected + unnumbered:
            return
        if number == expected - 1:
            raise WrongEventsError(f"{kind} {number} came twice")
        if number < expected:
            raise WrongEventsError(f"{kind} {number} came after {expected - 1}")
        # An event that changed places with the end comes after it.
        if kind not in ENDS or number > expected + unnumbered + 1:
            raise WrongEventsError(f"{kind} {number} came, and {expected} is missing")
        self._may_lack_text = True


def check_final(response: JSON, record: ResponseRecord) -> None:
    """Check a final response.

    Raises:
        WrongEventsError: it is not what the service made.
    """
    made = record.resource
    for name in ("status", "usage", "error", "model"):
        if response.get(name) != made.get(name):
            raise WrongEventsError(f"{name} is {response.get(name)}, and the service made {made.get(name)}")
    if response["output"] != made["output"] and words_of(response["output"]) != words_of(made["output"]):
        raise WrongEventsError(f"the output is {response['output']}, and the service made {made['output']}")


def words_of(output: list[JSON]) -> list[JSON | str]:
    """The output with messages as their text: from services that send text in one place, it has no more."""
    return [
        "".join(part.get("text", "") for part in item["content"]) if item["type"] == "message" else item
        for item in output
    ]


__all__ = ["Received", "WrongEventsError", "check_final"]
