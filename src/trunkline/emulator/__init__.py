"""A strict stand-in for the Responses API: a real server on loopback with deterministic models."""

from .emulator import Emulator
from .errors import ApiError
from .prompt import Prompt
from .records import ConnectionRecord, RequestRecord, ResponseRecord
from .steps import Call, Fail, Reason, Refuse, Say, Step

__all__ = [
    "ApiError",
    "Call",
    "ConnectionRecord",
    "Emulator",
    "Fail",
    "Prompt",
    "Reason",
    "Refuse",
    "RequestRecord",
    "ResponseRecord",
    "Say",
    "Step",
]
