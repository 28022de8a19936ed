"""The measured clients, each used as its documentation recommends. One module each."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from clients.base import Client

NAMES = {
    "floor": "floor:Floor",
    "floor-task": "floor:FloorTask",
    "trunkline": "trunkline_conversation:TrunklineConversation",
    "trunkline-push": "trunkline_conversation:TrunklinePush",
    "trunkline-keyed": "trunkline_keyed:TrunklineKeyed",
    "trunkline-message": "trunkline_conversation:TrunklineMessage",
    "trunkline-http": "trunkline_conversation:TrunklineHttp",
    "livekit": "livekit_plugin:Livekit",
    "openai-lane": "openai_lane:OpenaiLane",
    "openai-lane-full": "openai_lane:OpenaiLaneFull",
    "openai-http": "openai_http:OpenaiHttp",
    "openai-http-chained": "openai_http:OpenaiHttpChained",
    "openai-dropin": "openai_dropin:OpenaiDropin",
    "openai-dropin-chained": "openai_dropin:OpenaiDropinChained",
    "openai-agents": "openai_agents:OpenaiAgents",
    "pydantic-ai": "pydantic_agent:PydanticAgent",
    "pipecat": "pipecat_service:Pipecat",
}


def label_of(name: str) -> str:
    """The name of a client in figures, tables and plots: of ``path/to/file.py:Class``, the class."""
    return name.rpartition(":")[2]


def client_named(name: str) -> Client:
    """The client of this name. Only its own packages are imported.

    Args:
        name: a name of `NAMES`, ``path/to/file.py:Class`` or ``package.module:Class``.

    Raises:
        LookupError: no client has this name.
    """
    place, _, attribute = name.rpartition(":")
    if not place:
        if name not in NAMES:
            raise LookupError(f"no client is named {name}; name one of {', '.join(NAMES)} or FILE.py:CLASS")
        place, _, attribute = f"clients.{NAMES[name]}".partition(":")
    module = _module_of(Path(place)) if place.endswith(".py") else import_module(place)
    if not hasattr(module, attribute):
        raise LookupError(f"{place} has no class {attribute}")
    made: Client = getattr(module, attribute)()
    return made


def _module_of(path: Path) -> ModuleType:
    """A module from a file, which may import its neighbours."""
    if not path.is_file():
        raise LookupError(f"no file is at {path}")
    sys.path.append(str(path.resolve().parent))
    spec = spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


__all__ = ["NAMES", "client_named", "label_of"]
