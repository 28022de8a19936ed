"""The same `LLM` under the name that ``livekit.plugins.openai`` gives it: ``responses.LLM``."""

from .llm import LLM

__all__ = ["LLM"]
