"""Many LLM conversations over few warm WebSockets to the Responses API.

::

    import trunkline

    async with trunkline.Client() as client:
        chat = client.conversation(model="gpt-6-astra", instructions="Be brief.")
        async with chat.send("What is the weather in Oslo?") as stream:
            async for text in stream.text():
                print(text, end="")

The service's events are in `trunkline.events`; every exception is a `TrunklineError`.
"""

from .client import Client
from .conversation import Conversation
from .deadlines import Deadlines
from .errors import (
    ClientClosed,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    ConversationBusy,
    DeadlineExceeded,
    MaxTurnsExceeded,
    NetworkError,
    ProtocolViolation,
    ResponseFailed,
    ResponseRefused,
    ServiceError,
    SlowConsumer,
    SteerRefused,
    TrunklineError,
    TurnError,
    UpgradeRefused,
    UsageError,
    WrongEventLoop,
)
from .events import ServerEvent
from .metrics import Hooks, PoolMetrics, PoolState, TurnMetrics
from .pool import PoolLimits
from .recovery import Cause, Policy
from .response import Response
from .run import ConversationRun
from .stream import EventHook, ResponseStream
from .tools import FunctionTool, ToolFailure, tool

__version__ = "0.1.0"

__all__ = [
    "Cause",
    "Client",
    "ClientClosed",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionLost",
    "Conversation",
    "ConversationBusy",
    "ConversationRun",
    "DeadlineExceeded",
    "Deadlines",
    "FunctionTool",
    "Hooks",
    "MaxTurnsExceeded",
    "NetworkError",
    "Policy",
    "PoolLimits",
    "PoolMetrics",
    "PoolState",
    "ProtocolViolation",
    "Response",
    "ResponseFailed",
    "ResponseRefused",
    "ResponseStream",
    "ServerEvent",
    "ServiceError",
    "SlowConsumer",
    "SteerRefused",
    "ToolFailure",
    "TrunklineError",
    "TurnError",
    "TurnMetrics",
    "UpgradeRefused",
    "UsageError",
    "WrongEventLoop",
    "tool",
]
