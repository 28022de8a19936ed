"""`LLM` as ``responses.LLM``, its name in ``livekit.plugins.openai``."""

from .llm import LLM

__all__ = ["LLM"]
