"""Types of events in the public API. Checked by mypy and pyright, never run.

Each ``type: ignore`` is an assertion: a checker reports it as unused if the line has no error.
"""

from __future__ import annotations

from typing import Literal, assert_never, assert_type

import trunkline
from trunkline import Response, events
from trunkline.events import (
    ErrorEvent,
    OutputItemDone,
    OutputTextDelta,
    ResponseCompleted,
    ResponseFailedEvent,
    ServerEvent,
    UnknownEvent,
)


def type_narrows_the_union(event: ServerEvent) -> None:
    print(event.delta)  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    if event.type == "response.output_text.delta":
        assert_type(event, OutputTextDelta)
        assert_type(event.delta, str)
    elif event.type == "response.completed":
        assert_type(event, ResponseCompleted)
        assert_type(event.response, Response)
    elif event.type == "response.failed":
        assert_type(event, ResponseFailedEvent)
    elif event.type == "response.output_item.done":
        assert_type(event, OutputItemDone)
    elif event.type == "error":
        assert_type(event, ErrorEvent)
        assert_type(event.code, str | None)
    elif event.type == "unknown":
        assert_type(event, UnknownEvent)
        assert_type(event.wire_type, str)


def match_narrows_too(event: ServerEvent) -> str:
    match event.type:
        case "response.output_text.delta" | "response.refusal.delta":
            return event.delta
        case "response.output_text.done":
            return event.text
        case _:
            return ""


def the_class_narrows_too(event: ServerEvent) -> str:
    match event:
        case events.Delta(delta=text):
            return text
        case UnknownEvent(wire_type=kind):
            return kind
        case _:
            return event.type


def a_type_that_does_not_exist_is_an_error(event: ServerEvent) -> None:
    if event.type == "response.output_text.dalta":  # type: ignore[comparison-overlap]  # pyright: ignore[reportUnnecessaryComparison]
        pass


def the_types_are_literals(delta: OutputTextDelta, unknown: UnknownEvent) -> None:
    assert_type(delta.type, Literal["response.output_text.delta"])
    assert_type(unknown.type, Literal["unknown"])
    assert_type(delta.wire_type, str)
    assert_type(delta.is_delta, bool)
    assert_type(delta.item_id, str | None)


def events_are_immutable(delta: OutputTextDelta, unknown: UnknownEvent, done: ResponseCompleted) -> None:
    delta.delta = "x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    delta.raw = b"x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    unknown.wire_type = "x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    done.response = done.response  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def the_union_is_closed(event: ResponseCompleted | UnknownEvent) -> None:
    if event.type == "response.completed":
        assert_type(event, ResponseCompleted)
    elif event.type == "unknown":
        assert_type(event, UnknownEvent)
    else:
        assert_never(event)


def internal_events_are_not_public() -> None:
    print(events.InvalidEvent)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    print(events.Struct)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def streams_give_events(stream: trunkline.ResponseStream) -> None:
    async for event in stream:
        assert_type(event, ServerEvent)


def a_response_has_plain_types(response: Response) -> None:
    assert_type(response.status, str | None)
    assert_type(response.model, str | None)
    assert_type(response.store, bool | None)
    assert_type(response.previous_response_id, str | None)
    response.status = "x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
