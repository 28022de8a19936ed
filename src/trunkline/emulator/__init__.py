"""A strict Responses API server for tests, on a loopback port, with deterministic models."""

from ._models.behaviour import Expectation
from ._models.models import Model
from ._models.prompt import Prompt
from ._models.steps import Call, Compact, Fail, Hosted, Reason, Refuse, Say, Step, words
from ._protocol.errors import ApiError
from ._service.records import ConnectionRecord, RequestRecord, ResponseRecord
from ._wire.frame_log import FrameRecord
from .emulator import Emulator, ThreadedEmulator
from .fake_network import FakeClock, FakeNetwork, FakeSocket, FakeTimer
from .faults.action import Action
from .faults.fault import Fault, Fired
from .faults.faults import Faults
from .faults.file import load_faults, parse_faults
from .gate import Gate
from .pace import Pace
from .quirks.catalogue import QUIRKS
from .quirks.deviation import Deviation
from .testing import assert_context

__all__ = [
    "QUIRKS",
    "Action",
    "ApiError",
    "Call",
    "Compact",
    "ConnectionRecord",
    "Deviation",
    "Emulator",
    "Expectation",
    "Fail",
    "FakeClock",
    "FakeNetwork",
    "FakeSocket",
    "FakeTimer",
    "Fault",
    "Faults",
    "Fired",
    "FrameRecord",
    "Gate",
    "Hosted",
    "Model",
    "Pace",
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
    "words",
]
