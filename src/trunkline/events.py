"""The events of a response, as `ResponseStream` gives them.

``event.type`` tells the class of an event, also to type checkers::

    async for event in stream:
        if event.type == "response.output_text.delta":
            print(event.delta, end="")

An event of a type that trunkline does not know is an `UnknownEvent`; its ``type`` is ``unknown`` and its
``wire_type`` what the server sent. Events are immutable.
"""

from ._protocol.events import (
    CustomToolCallInputDelta,
    CustomToolCallInputDone,
    Delta,
    ErrorBody,
    ErrorEvent,
    Event,
    FunctionCallArgumentsDelta,
    FunctionCallArgumentsDone,
    OutputItemAdded,
    OutputItemDone,
    OutputTextDelta,
    OutputTextDone,
    ReasoningSummaryTextDelta,
    ReasoningTextDelta,
    RefusalDelta,
    ResponseCompleted,
    ResponseCreated,
    ResponseFailedEvent,
    ResponseIncomplete,
    ResponseInProgress,
    ResponseQueued,
    ServerEvent,
    Steer,
    SteerAccepted,
    SteerFailed,
    SteerPending,
    UnknownEvent,
)

__all__ = [
    "CustomToolCallInputDelta",
    "CustomToolCallInputDone",
    "Delta",
    "ErrorBody",
    "ErrorEvent",
    "Event",
    "FunctionCallArgumentsDelta",
    "FunctionCallArgumentsDone",
    "OutputItemAdded",
    "OutputItemDone",
    "OutputTextDelta",
    "OutputTextDone",
    "ReasoningSummaryTextDelta",
    "ReasoningTextDelta",
    "RefusalDelta",
    "ResponseCompleted",
    "ResponseCreated",
    "ResponseFailedEvent",
    "ResponseInProgress",
    "ResponseIncomplete",
    "ResponseQueued",
    "ServerEvent",
    "Steer",
    "SteerAccepted",
    "SteerFailed",
    "SteerPending",
    "UnknownEvent",
]
