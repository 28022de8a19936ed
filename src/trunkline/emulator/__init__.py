"""A strict stand-in for the Responses API: a real server on loopback with deterministic models."""

from .action import Action
from .behaviour import Expectation
from .emulator import Emulator, ThreadedEmulator
from .errors import ApiError
from .fault import Fault, Fired
from .fault_file import load_faults, parse_faults
from .faults import Faults
from .frame_log import FrameRecord
from .models import Model
from .prompt import Prompt
from .records import ConnectionRecord, RequestRecord, ResponseRecord
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
