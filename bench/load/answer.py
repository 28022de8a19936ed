"""The encoded events of one answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count

from msgspec import json

from load.order import Order, Request

Emit = Callable[[bytes, str], None]

_numbers = count(1)
_PIECE = " word."
_USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 50, "cache_write_tokens": 0},
    "output_tokens": 10,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 110,
}
_RESOURCE = {
    "object": "response",
    "created_at": 1760000000,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "text": {"format": {"type": "text"}},
    "truncation": "disabled",
    "background": False,
    "service_tier": "default",
}


class Answer:
    """The events of one response: beginning, text deltas, and end."""

    def __init__(self, request: Request, order: Order, emit: Emit) -> None:
        number = next(_numbers)
        self.id = f"resp_{number:012d}"
        self.lane = request.stream_id
        self.order = order
        self.left = 0 if order.call or not request.generate else order.deltas
        self.arrived_ns = time.monotonic_ns()
        self._request = request
        self._emit = emit
        self._sequence = 0
        self._item_id = f"msg_{number:012d}"
        self._call_id = f"call_{number:012d}"
        self._lane = {"stream_id": request.stream_id} if request.stream_id is not None else {}
        self._texts: list[str] = []
        where = {**self._lane, "item_id": self._item_id, "output_index": 0, "content_index": 0}
        self._after_number = b"," + json.encode(where)[1:-1] + b',"logprobs":[],"delta":"'

    def begin(self) -> None:
        """Everything before the first piece."""
        self._send("response.created", response=self._resource("in_progress", []))
        self._send("response.in_progress", response=self._resource("in_progress", []))
        if self.left:
            message = self._message("in_progress", [])
            self._send("response.output_item.added", output_index=0, item=message)
            self._send("response.content_part.added", **self._place(), part=_part(""))

    def piece(self) -> None:
        """One text delta."""
        if self.order.stamp:
            text = f"{time.monotonic_ns()} "
        else:
            text = _PIECE if self._texts else f"{self.arrived_ns} "
        self._texts.append(text)
        self.left -= 1
        head = b'{"type":"response.output_text.delta","sequence_number":%d' % self._sequence
        self._sequence += 1
        self._emit(head + self._after_number + text.encode() + b'"}', "response.output_text.delta")

    def end(self) -> None:
        """Everything after the last piece."""
        output = []
        if self.order.call:
            output = [self._make_call()]
        elif self._texts:
            output = [self._finish_message("".join(self._texts))]
        self._send("response.completed", response=self._resource("completed", output))

    def _finish_message(self, text: str) -> dict[str, object]:
        place = self._place()
        self._send("response.output_text.done", **place, text=text, logprobs=[])
        self._send("response.content_part.done", **place, part=_part(text))
        message = self._message("completed", [_part(text)])
        self._send("response.output_item.done", output_index=0, item=message)
        return message

    def _make_call(self) -> dict[str, object]:
        arguments = f'{{"left":{self.order.call - 1}}}'
        where = {"item_id": f"fc_{self._item_id}", "output_index": 0}
        call: dict[str, object] = {
            "id": f"fc_{self._item_id}",
            "type": "function_call",
            "status": "in_progress",
            "call_id": self._call_id,
            "name": "tool_0",
            "arguments": "",
        }
        self._send("response.output_item.added", output_index=0, item=call)
        self._send("response.function_call_arguments.delta", **where, delta=arguments)
        self._send("response.function_call_arguments.done", **where, name="tool_0", arguments=arguments)
        call = {**call, "status": "completed", "arguments": arguments}
        self._send("response.output_item.done", output_index=0, item=call)
        return call

    def _send(self, kind: str, **fields: object) -> None:
        event = {"type": kind, "sequence_number": self._sequence, **self._lane, **fields}
        self._sequence += 1
        self._emit(json.encode(event), kind)

    def _place(self) -> dict[str, object]:
        return {"item_id": self._item_id, "output_index": 0, "content_index": 0}

    def _message(self, status: str, content: list[object]) -> dict[str, object]:
        return {
            "id": self._item_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content,
        }

    def _resource(self, status: str, output: list[dict[str, object]]) -> dict[str, object]:
        return {
            "id": self.id,
            **_RESOURCE,
            "status": status,
            "model": self._request.model,
            "store": self._request.store is not False,
            "previous_response_id": self._request.previous_response_id,
            "output": output,
            "usage": _USAGE if status == "completed" else None,
        }


def _part(text: str) -> dict[str, object]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
