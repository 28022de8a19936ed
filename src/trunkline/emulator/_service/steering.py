"""Steering: user input queued for a running response and committed by its successor."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .._models.context import Item, call_id_of
from .._protocol.errors import ApiError
from .._protocol.events import Event, EventWriter
from .._protocol.items import CONTENT, TEXT, user_message
from .._protocol.schema import array, by_type, choice, fields, missing, tagged, unknown, wrong_type
from .generation import Generation
from .records import ResponseRecord

MAX_PENDING = 8
"""Maximum number of pending steers of one response."""

_UNSUPPORTED = re.compile(r"(?:gpt-[1-5]|o\d|chatgpt|codex|computer-use)\b")
_USER_MESSAGE = fields(
    {
        "role": choice("user"),
        "content": by_type(
            "one of an array of objects or a string", str=TEXT, list=array(tagged(CONTENT), of_what="objects")
        ),
    },
    {"type": choice("message")},
)
_INPUT = by_type(
    "one of an array of objects or a string",
    str=TEXT,
    list=array(_USER_MESSAGE, min_length=1, of_what="objects"),
)
_MESSAGES = {
    "response_not_found": "The response is not available on this connection.",
    "steering_not_supported": "The model or the way the response is made does not support steering.",
    "too_many_pending_steers": "Too much steering input is pending for the response.",
    "response_already_completed": "The response completed and no longer accepts steering input.",
    "response_not_active": "The response no longer accepts steering input.",
    "successor_creation_failed": "The successor response could not be created.",
}


@dataclass(frozen=True, slots=True)
class Steer:
    """One steer, as received."""

    target: str
    given: Any = field(repr=False)
    size_bytes: int
    id: str | None = None

    @property
    def items(self) -> list[Item]:
        """The input as items."""
        return [user_message(self.given)] if isinstance(self.given, str) else self.given


@dataclass(slots=True, eq=False)
class Steering:
    """Pending steers of one connection, for running responses and for those waiting for tool outputs."""

    queued: dict[str, list[Steer]] = field(default_factory=dict)
    """Steers of running responses, by response id."""
    pending: dict[str, tuple[Generation, list[Steer]]] = field(default_factory=dict)
    """Steers of ended responses whose tool outputs are missing, by response id."""

    def accept(self, generation: Generation, steer: Steer) -> Event:
        """Queue a steer for a running response."""
        self.queued.setdefault(steer.target, []).append(steer)
        generation.stop_for_steering()
        fields_ = {"id": steer.id, "previous_response_id": steer.target}
        return generation.writer.event("response.steer.accepted", steer=fields_)

    def refusal(self, target: str, generation: Generation | None, known: ResponseRecord | None) -> str | None:
        """Return the code to refuse a steer of this response with, or None."""
        if generation is None or generation.ended:
            return _code_of_ended(known)
        if not supports_steering(generation.record):
            return "steering_not_supported"
        full = len(self.queued.get(target, ())) >= MAX_PENDING
        return "too_many_pending_steers" if full else None

    def hold(self, generation: Generation, steers: list[Steer]) -> list[Event]:
        """Hold steers until the request that brings the response's tool outputs."""
        record = generation.record
        self.pending[record.wire_id] = (generation, steers)
        stubs = [stub for item in record.output if (stub := required_input(item)) is not None]
        return [
            generation.writer.event(
                "response.steer.pending",
                steer={"id": steer.id, "previous_response_id": steer.target},
                reason="waiting_for_required_input",
                required_input=stubs,
            )
            for steer in steers
        ]

    def release(self, lane: str | None, parent: str | None) -> tuple[list[Steer], list[Event]]:
        """Return the steers for a request starting on this lane, and failure events for the others."""
        taken: list[Steer] = []
        failures: list[Event] = []
        for target, (generation, steers) in list(self.pending.items()):
            if generation.record.lane != lane:
                continue
            del self.pending[target]
            if target == parent:
                taken = steers
            else:
                failures += [failed(steer, "response_not_active", generation.writer) for steer in steers]
        return taken, failures


def check_steer(body: dict[str, Any]) -> tuple[str, Any]:
    """Return the target and input of a steer.

    Raises:
        ApiError: target or input is missing or of the wrong type, so that it cannot be returned.
    """
    for name in ("previous_response_id", "input"):
        if name not in body:
            raise missing(name)
    if not isinstance(body["previous_response_id"], str):
        raise wrong_type("previous_response_id", "a string", body["previous_response_id"])
    if not isinstance(body["input"], str | list):
        raise wrong_type("input", "one of an array of objects or a string", body["input"])
    return body["previous_response_id"], body["input"]


def check_input(body: dict[str, Any]) -> None:
    """Check the fields and the input of a steer.

    Raises:
        ApiError: an unknown field, or input other than text, images and files of a user.
    """
    for name in body:
        if name not in ("type", "previous_response_id", "input"):
            raise unknown(name)
    if body["input"] == "":
        raise ApiError("Invalid 'input': empty string.", code="empty_string", param="input")
    _INPUT(body["input"], "input")


def failed(steer: Steer, code: str, writer: EventWriter, message: str | None = None) -> Event:
    """The event that returns the input of a failed steer."""
    returned: dict[str, Any] = {"previous_response_id": steer.target, "input": steer.given}
    if steer.id is not None:
        returned = {"id": steer.id} | returned
    error = {"type": "invalid_request_error", "code": code, "message": message or _MESSAGES[code]}
    return writer.event("response.steer.failed", steer=returned, error=error)


def supports_steering(record: ResponseRecord) -> bool:
    """Whether the model and the request's settings support steering."""
    return not _UNSUPPORTED.match(record.model) and record.steerable


def required_input(item: Item) -> Item | None:
    """Return a stub of the input that the client must send for an output item, or None."""
    kind = item["type"]
    if kind == "function_call":
        return {"type": "function_call_output", "call_id": item["call_id"], "name": item["name"]}
    if kind == "custom_tool_call":
        return {"type": "custom_tool_call_output", "call_id": call_id_of(item)}
    if kind == "mcp_approval_request":
        return {"type": "mcp_approval_response", "approval_request_id": item["id"]}
    return None


def _code_of_ended(known: ResponseRecord | None) -> str:
    if known is None:
        return "response_not_found"
    return "response_already_completed" if known.status == "completed" else "response_not_active"
