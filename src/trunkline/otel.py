"""Spans and metrics for OpenTelemetry, by its conventions for generative AI. Needs the extra ``otel``.

::

    from trunkline import otel

    client = trunkline.Client(hooks=otel.hooks())

Each turn is a span ``chat MODEL`` of kind CLIENT, a child of the caller's current span, and is recorded in
three histograms: duration, tokens, and time to the first output. Spans and metrics hold no content.
Attributes without a name in the conventions begin with ``trunkline.``. ``error.type`` is the error code of
the service if it sent one, else the name of the exception.
"""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from ._observe.hooks import Hooks
from ._observe.metrics import TurnKey, TurnMetrics

try:
    from opentelemetry.metrics import Histogram, MeterProvider, get_meter
    from opentelemetry.trace import (
        Span,
        SpanKind,
        Status,
        StatusCode,
        TracerProvider,
        get_tracer,
        set_span_in_context,
    )
    from opentelemetry.util.types import AttributeValue
except ImportError as _missing:
    raise ImportError("trunkline.otel needs OpenTelemetry: run pip install 'trunkline[otel]'") from _missing

SCOPE = "trunkline"
OPERATION = "chat"
PROVIDER = "openai"

# The bucket boundaries of the conventions.
_SECONDS = tuple(0.01 * 2**step for step in range(14))
_TOKENS = tuple(float(4**step) for step in range(14))

_Attributes = dict[str, AttributeValue]


def hooks(
    tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Hooks:
    """Hooks for `Client` that make spans and metrics.

    To combine them with other hooks: ``otel.hooks().and_also(Hooks(…))``.

    Args:
        tracer_provider: the provider of the tracer; by default the global one.
        meter_provider: the provider of the instruments; by default the global one.
    """
    telemetry = _Telemetry(tracer_provider, meter_provider)
    return Hooks(turn_started=telemetry.started, turn_finished=telemetry.finished)


class _Telemetry:
    """The open spans and the instruments."""

    def __init__(self, tracer_provider: TracerProvider | None, meter_provider: MeterProvider | None) -> None:
        self._tracer = get_tracer(SCOPE, tracer_provider=tracer_provider)
        meter = get_meter(SCOPE, meter_provider=meter_provider)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            unit="s",
            description="Time from the request to the first output.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        # Weak: a turn whose event loop was closed is never finished, and its span would be kept forever.
        self._spans: WeakKeyDictionary[TurnKey, Span] = WeakKeyDictionary()

    def started(self, metrics: TurnMetrics) -> None:
        """Start the span of a turn. Called in the context of the caller, whose span is the parent."""
        self._spans[metrics.turn] = self._tracer.start_span(
            f"{OPERATION} {metrics.model}", kind=SpanKind.CLIENT, attributes=_known_before(metrics)
        )

    def finished(self, metrics: TurnMetrics) -> None:
        """End the span of a turn and record its figures. Called in any task."""
        span = self._spans.pop(metrics.turn, None)
        if span is None:
            return
        span.set_attributes(dict(_known_after(metrics)))
        if metrics.outcome == "failed":
            span.set_status(Status(StatusCode.ERROR))
        self._count(metrics, span)
        span.end()

    def _count(self, metrics: TurnMetrics, span: Span) -> None:
        shared = _dimensions(metrics)
        failed = {"error.type": _error_type(metrics)} if metrics.outcome == "failed" else {}
        self._record(self._duration, metrics.total_s, shared | failed, span)
        self._record(self._first_chunk, metrics.first_output_s, shared, span)
        for kind, tokens in (("input", metrics.input_tokens), ("output", metrics.output_tokens)):
            self._record(self._tokens, tokens, shared | {"gen_ai.token.type": kind}, span)

    def _record(
        self, instrument: Histogram, value: float | None, attributes: _Attributes, span: Span
    ) -> None:
        if value is not None:
            # The context of the span makes the measurement an exemplar of it.
            instrument.record(value, attributes, context=set_span_in_context(span))


def _known_before(metrics: TurnMetrics) -> _Attributes:
    """Attributes known at the start, which samplers can read."""
    attributes: _Attributes = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": metrics.model,
        "gen_ai.request.stream": True,
        "openai.api.type": "responses",
        "server.address": metrics.server_address,
        "trunkline.warm_up": metrics.warm_up,
    }
    if metrics.server_port is not None:
        attributes["server.port"] = metrics.server_port
    if metrics.conversation_id is not None:
        attributes["gen_ai.conversation.id"] = metrics.conversation_id
    return attributes


def _known_after(metrics: TurnMetrics) -> Iterator[tuple[str, AttributeValue]]:
    found: dict[str, AttributeValue | None] = {
        "gen_ai.response.id": metrics.response_id,
        "gen_ai.response.model": metrics.response_model,
        "gen_ai.response.time_to_first_chunk": metrics.first_output_s,
        "gen_ai.usage.input_tokens": metrics.input_tokens,
        "gen_ai.usage.output_tokens": metrics.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": metrics.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": metrics.reasoning_tokens,
        "error.type": _error_type(metrics) if metrics.outcome == "failed" else None,
        "trunkline.outcome": metrics.outcome,
        "trunkline.mode": metrics.mode,
        "trunkline.transport": metrics.transport,
        "trunkline.connection": metrics.connection,
        "trunkline.lane": metrics.lane,
        "trunkline.fork": metrics.fork,
        "trunkline.attempts": metrics.attempts,
        "trunkline.recoveries": tuple(cause.value for cause in metrics.recoveries),
        "trunkline.items_sent": metrics.items_sent,
        "trunkline.removed_reasoning": metrics.removed_reasoning or None,
        "trunkline.bytes_sent": metrics.bytes_sent,
        "trunkline.bytes_received": metrics.bytes_received,
        "trunkline.bytes_in_full": metrics.full_bytes,
        "trunkline.time_to_connect": metrics.connected_s,
        "trunkline.time_to_first_event": metrics.first_event_s,
        "trunkline.time_to_first_token": metrics.ttft_s,
    }
    return ((name, value) for name, value in found.items() if value is not None)


def _dimensions(metrics: TurnMetrics) -> _Attributes:
    attributes: _Attributes = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": metrics.model,
        "server.address": metrics.server_address,
    }
    if metrics.response_model is not None:
        attributes["gen_ai.response.model"] = metrics.response_model
    if metrics.server_port is not None:
        attributes["server.port"] = metrics.server_port
    return attributes


def _error_type(metrics: TurnMetrics) -> str:
    return metrics.error_code or metrics.error or "_OTHER"


__all__ = ["hooks"]
