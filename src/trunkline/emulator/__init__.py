"""A strict stand-in for the Responses API: a real server on loopback with deterministic models."""

from ._service.records import ConnectionRecord, RequestRecord, ResponseRecord
from ._wire.frame_log import FrameRecord
from .behaviour import Expectation
from .emulator import Emulator, ThreadedEmulator
from .errors import ApiError
from .faults.action import Action
from .faults.fault import Fault, Fired
from .faults.faults import Faults
from .faults.file import load_faults, parse_faults
from .models import Model
from .prompt import Prompt
from .steps import Call, Compact, Fail, Reason, Refuse, Say, Step
from .testing import assert_context

__all__ = [
    "Action",
    "ApiError",
    "Call",
    "Compact",
    "ConnectionRecord",
    "Emulator",
    "Expectation",
    "Fail",
    "Fault",
    "Faults",
    "Fired",
    "FrameRecord",
    "Model",
    "Prompt",
    "Reason",
    "Refuse",
    "RequestRecord",
    "ResponseRecord",
    "Say",
    "Step",
    "ThreadedEmulator",
    "assert_context",
    "load_faults",
    "parse_faults",
]
