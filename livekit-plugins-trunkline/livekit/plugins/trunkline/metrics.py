"""LiveKit's metrics of one request, with the facts of trunkline."""

from __future__ import annotations

import time
from typing import Any, Literal, TypeAlias

from livekit.agents import llm
from livekit.agents import metrics as livekit_metrics
from livekit.agents.llm import CompletionUsage
from livekit.agents.metrics.base import Metadata
from pydantic import Field
from trunkline import TurnMetrics

JSON: TypeAlias = dict[str, Any]


class LLMMetrics(livekit_metrics.LLMMetrics):
    """LiveKit's metrics of one request, with the facts of trunkline. ``metrics_collected`` emits it.

    The attributes below are those of `trunkline.TurnMetrics`. They concern the last request that LiveKit made
    for the turn.

    Attributes:
        transport: ``websocket`` or ``http``.
        mode: ``delta`` if only new items were sent, else ``full``.
        lane: the ``stream_id``; None without lanes.
        connection: the number of the connection within its client; None over HTTP.
        items_sent: the number of input items sent.
        bytes_sent: the size of all frames sent.
        bytes_received: the size of all frames received.
        full_bytes: the size of a frame with the whole context, for comparison.
        attempts: the number of requests that trunkline sent for this one.
        recoveries: the cause of each further attempt.
    """

    transport: Literal["websocket", "http"] = "websocket"
    mode: Literal["delta", "full"] = "full"
    lane: str | None = None
    connection: int | None = None
    items_sent: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    full_bytes: int = 0
    attempts: int = 0
    recoveries: list[str] = Field(default_factory=list)


def with_facts(metrics: livekit_metrics.LLMMetrics, turn: TurnMetrics) -> LLMMetrics:
    """Metrics of LiveKit, with the facts of the turn."""
    return LLMMetrics(**metrics.__dict__, **_facts(turn))


def unlistened(model: llm.LLM[Any], turn: TurnMetrics, *, cancelled: bool) -> LLMMetrics:
    """The usage of an answer that LiveKit does not count: it was left, or has no output.

    ``ttft`` is -1, and ``duration`` and ``tokens_per_second`` are 0, so that no latency includes it.
    """
    usage = usage_of(turn.usage or {}, None)
    return LLMMetrics(
        label=model.label,
        request_id=turn.response_id or "",
        timestamp=time.time(),
        duration=0.0,
        ttft=-1.0,
        cancelled=cancelled,
        completion_tokens=usage.completion_tokens,
        prompt_tokens=usage.prompt_tokens,
        prompt_cached_tokens=usage.prompt_cached_tokens,
        cache_creation_tokens=usage.cache_creation_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        total_tokens=usage.total_tokens,
        tokens_per_second=0.0,
        metadata=Metadata(model_name=model.model, model_provider=model.provider),
        **_facts(turn),
    )


def usage_of(usage: JSON, service_tier: str | None) -> CompletionUsage:
    """LiveKit's usage, from the service's."""
    of_input = usage.get("input_tokens_details") or {}
    of_output = usage.get("output_tokens_details") or {}
    return CompletionUsage(
        completion_tokens=usage.get("output_tokens") or 0,
        prompt_tokens=usage.get("input_tokens") or 0,
        prompt_cached_tokens=of_input.get("cached_tokens") or 0,
        cache_creation_tokens=of_input.get("cache_write_tokens") or 0,
        reasoning_tokens=of_output.get("reasoning_tokens") or 0,
        total_tokens=usage.get("total_tokens") or 0,
        service_tier=service_tier,
    )


def _facts(turn: TurnMetrics) -> JSON:
    return {
        "transport": turn.transport,
        "mode": turn.mode,
        "lane": turn.lane,
        "connection": turn.connection,
        "items_sent": turn.items_sent,
        "bytes_sent": turn.bytes_sent,
        "bytes_received": turn.bytes_received,
        "full_bytes": turn.full_bytes,
        "attempts": turn.attempts,
        "recoveries": [cause.value for cause in turn.recoveries],
    }
