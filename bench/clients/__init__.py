"""The measured clients, each used as its documentation recommends. One module each."""

from __future__ import annotations

from importlib import import_module

from clients.base import Client

NAMES = {
    "floor": "floor:Floor",
    "floor-task": "floor:FloorTask",
    "trunkline": "trunkline_conversation:TrunklineConversation",
    "trunkline-push": "trunkline_conversation:TrunklinePush",
    "trunkline-keyed": "trunkline_keyed:TrunklineKeyed",
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


def client_named(name: str) -> Client:
    """The client of this name. Only its own packages are imported."""
    module, _, attribute = NAMES[name].partition(":")
    made: Client = getattr(import_module(f"clients.{module}"), attribute)()
    return made
