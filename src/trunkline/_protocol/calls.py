"""Calls of one response that the application answers, each of them once and complete.

Servers announce a call twice, give one ``call_id`` to two calls, or leave fields out. `Calls` compares each
call of a ``done`` event or of the final response with those before it, and gives it a form that can be
executed and sent back: a ``call_id`` of its own, a name, arguments as a string, and a status.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict

import msgspec

from .json import JSON, encode

CALLS_TO_ANSWER: Final = {"function_call": "arguments", "custom_tool_call": "input"}
"""The kinds of calls that applications answer, with the field of what the tool is called with."""
_WITHOUT_ARGUMENTS: Final = {"function_call": "{}", "custom_tool_call": ""}
_EMPTY: Final = ("", "{}", "null")


def announcement(call: JSON) -> bytes:
    """A frame for a call that the server sent in the final response only."""
    return encode({"type": "response.output_item.done", "item": call})


def is_call_to_answer(item: Mapping[str, object]) -> bool:
    """Whether the item is a call that an application answers."""
    kind = item.get("type")
    return isinstance(kind, str) and kind in CALLS_TO_ANSWER


def is_encoded_call(item: msgspec.Raw) -> bool:
    """The same of an encoded item. Nothing but its type is decoded: most items are long texts."""
    return is_call_to_answer(_decode_type(item))


class _Typed(TypedDict, total=False):
    type: Any


_decode_type: Final = msgspec.json.Decoder(_Typed).decode


class _Call:
    """One call.

    Attributes:
        item: the call in its complete form.
        given_id: the ``call_id`` that the server gave.
        in_final: the final response has the call.
    """

    __slots__ = ("given_id", "in_final", "item")

    def __init__(self, item: JSON, given_id: str | None) -> None:
        self.item = item
        self.given_id = given_id
        self.in_final = False

    def is_repeated_by(self, item: JSON, given_id: str | None, *, in_final: bool) -> bool:
        """Whether the item is this call again."""
        mine, field = self.item, CALLS_TO_ANSWER[item["type"]]
        if item["type"] != mine["type"]:
            return False
        if _is_text(item.get("id")) and item.get("id") == mine.get("id") and given_id == self.given_id:
            return True
        is_same = item["name"] == mine["name"] and (
            item[field] == mine[field] or mine[field] in _EMPTY or item[field] in _EMPTY
        )
        if given_id is not None and self.given_id is not None:
            return given_id == self.given_id and is_same
        # Without an id, two calls with the same words are one only if they come from two places.
        return is_same and in_final and not self.in_final


class Calls:
    """The calls of one response.

    Attributes:
        has_own_ids: the ``call_id`` of a call was made here, so that the service does not know it.
    """

    __slots__ = ("_calls", "has_own_ids")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self.has_own_ids = False

    def take(self, item: JSON, response_id: str, *, is_finished: bool, in_final: bool = False) -> JSON | None:
        """The call in its complete form; ``None`` if it repeats one that was taken before.

        A call of the final response that a ``done`` event announced is given in the form that it had there. A
        call that was announced without arguments is given again once it has some.

        Args:
            item: the call.
            response_id: the id of the response, from which an id for a call without one is made.
            is_finished: the event says that the call is finished, whatever its status.
            in_final: the item stands in the final response.
        """
        given = item.get("call_id")
        given_id = given if isinstance(given, str) and given else None
        complete = _complete(item, is_finished=is_finished)
        for call in self._calls:
            if call.is_repeated_by(complete, given_id, in_final=in_final):
                is_new = in_final and not call.in_final
                call.in_final |= in_final
                field = CALLS_TO_ANSWER[complete["type"]]
                if call.item[field] in _EMPTY and complete[field] not in _EMPTY:  # announced too early
                    call.item = {**complete, "call_id": call.item["call_id"]}
                    is_new = True
                return call.item if is_new else None
        complete["call_id"] = self._new_id(given_id or item.get("id"), response_id)
        self.has_own_ids |= complete["call_id"] != given_id
        call = _Call(item if complete == item else complete, given_id)
        call.in_final = in_final
        self._calls.append(call)
        return call.item

    def __len__(self) -> int:
        return len(self._calls)

    def after(self, count: int) -> list[JSON]:
        """The calls after the first ``count``."""
        return [call.item for call in self._calls[count:]]

    def not_in_final(self) -> list[JSON]:
        """The calls that the final response lacks."""
        return [call.item for call in self._calls if not call.in_final]

    def _new_id(self, wanted: object, response_id: str) -> str:
        used = {call.item["call_id"] for call in self._calls}
        base = wanted if isinstance(wanted, str) and wanted else f"{response_id or 'call'}_{len(used)}"
        found, count = base, 1
        while found in used:
            count += 1
            found = f"{base}_{count}"
        return found


def _complete(item: JSON, *, is_finished: bool) -> JSON:
    complete = dict(item)
    kind = item["type"]
    field = CALLS_TO_ANSWER[kind]
    value = item.get(field)
    if value is None:
        complete[field] = _WITHOUT_ARGUMENTS[kind]
    elif not isinstance(value, str):
        complete[field] = encode(value).decode()
    if not isinstance(item.get("name"), str):
        complete["name"] = ""
    if is_finished and item.get("status") not in (None, "completed", "incomplete"):
        complete["status"] = "completed"
    return complete


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""
