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

from ._decisions.recovery import Cause
from ._network.credentials import ApiKey
from ._network.world import World
from ._observe.client_view import ClientView
from ._observe.hooks import ClientHook, Hooks, TurnHook
from ._observe.metrics import PoolMetrics, PoolState, TurnMetrics
from ._protocol.item_types import (
    ApplyPatchCallOutput,
    Caller,
    Compaction,
    CompactionTrigger,
    ComputerCallOutput,
    CustomToolCall,
    CustomToolCallOutput,
    DirectCaller,
    FunctionCall,
    FunctionCallOutput,
    InputFile,
    InputImage,
    InputItem,
    InputPart,
    InputText,
    ItemInput,
    ItemReference,
    LocalShellCallOutput,
    McpApprovalResponse,
    Message,
    MessagePart,
    OutputText,
    ProgramCaller,
    PromptCacheBreakpoint,
    ReasoningItem,
    ReasoningText,
    Refusal,
    ShellCallOutput,
    SummaryText,
    ToolCall,
    TurnInput,
)
from ._protocol.response import Response
from .client import Client
from .conversation import Conversation
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
from .instructions import InstructionsPlacement
from .options import Deadlines, Phase, Policy, PoolLimits
from .request_fields import (
    ContextManagement,
    PromptCacheOptions,
    PromptReference,
    ReasoningOptions,
    RequestFields,
    TextOptions,
    ToolChoice,
    ToolChoiceAllowed,
    ToolChoiceNamed,
    TurnFields,
)
from .run import ConversationRun
from .stream import EventHook, ResponseStream
from .tools import FunctionTool, OnToolError, Tool, ToolFailure, tool

__version__ = "0.2.0"

__all__ = [
    "ApiKey",
    "ApplyPatchCallOutput",
    "Caller",
    "Cause",
    "Client",
    "ClientClosed",
    "ClientHook",
    "ClientView",
    "Compaction",
    "CompactionTrigger",
    "ComputerCallOutput",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionLost",
    "ContextManagement",
    "Conversation",
    "ConversationBusy",
    "ConversationRun",
    "CustomToolCall",
    "CustomToolCallOutput",
    "DeadlineExceeded",
    "Deadlines",
    "DirectCaller",
    "EventHook",
    "FunctionCall",
    "FunctionCallOutput",
    "FunctionTool",
    "Hooks",
    "InputFile",
    "InputImage",
    "InputItem",
    "InputPart",
    "InputText",
    "InstructionsPlacement",
    "ItemInput",
    "ItemReference",
    "LocalShellCallOutput",
    "MaxTurnsExceeded",
    "McpApprovalResponse",
    "Message",
    "MessagePart",
    "NetworkError",
    "OnToolError",
    "OutputText",
    "Phase",
    "Policy",
    "PoolLimits",
    "PoolMetrics",
    "PoolState",
    "ProgramCaller",
    "PromptCacheBreakpoint",
    "PromptCacheOptions",
    "PromptReference",
    "ProtocolViolation",
    "ReasoningItem",
    "ReasoningOptions",
    "ReasoningText",
    "Refusal",
    "RequestFields",
    "Response",
    "ResponseFailed",
    "ResponseRefused",
    "ResponseStream",
    "ServerEvent",
    "ServiceError",
    "ShellCallOutput",
    "SlowConsumer",
    "SteerRefused",
    "SummaryText",
    "TextOptions",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolChoiceAllowed",
    "ToolChoiceNamed",
    "ToolFailure",
    "TrunklineError",
    "TurnError",
    "TurnFields",
    "TurnHook",
    "TurnInput",
    "TurnMetrics",
    "UpgradeRefused",
    "UsageError",
    "World",
    "WrongEventLoop",
    "tool",
]
