"""Spans and metrics for OpenTelemetry, by its conventions for generative AI. Needs the extra ``otel``.

::

    from trunkline import otel

    client = trunkline.Client(hooks=otel.hooks())

Sockets, dials, recoveries and abandoned tokens of the client are observed when metrics are collected.

Each turn is a span ``chat MODEL`` of kind CLIENT, a child of the caller's current span, and is recorded in
three histograms: duration, tokens, and time to the first output. Spans and metrics hold no content.
Attributes without a name in the conventions begin with ``trunkline.``. ``error.type`` is the error code of
the service if it sent one, else the name of the exception.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from functools import partial
from typing import TypeAlias
from weakref import WeakKeyDictionary

from ._observe.client_view import ClientView
from ._observe.hooks import Hooks
from ._observe.metrics import PoolMetrics, PoolState, TurnKey, TurnMetrics
from .extras import how_to_install

try:
    from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation, get_meter
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
    raise ImportError(f"trunkline.otel needs OpenTelemetry: {how_to_install('otel')}") from _missing

SCOPE = "trunkline"
OPERATION = "chat"
PROVIDER = "openai"

# The bucket boundaries of the conventions.
_SECONDS = tuple(0.01 * 2**step for step in range(14))
_TOKENS = tuple(float(4**step) for step in range(14))

_Attributes = dict[str, AttributeValue]
_Server: TypeAlias = tuple[str, int]
_Read: TypeAlias = Callable[[PoolMetrics], Iterable[tuple[tuple[tuple[str, str], ...], int]]]
"""Gives counts with their attributes."""


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
    return Hooks(
        turn_started=telemetry.started,
        turn_finished=telemetry.finished,
        client_made=_Clients(meter_provider).add,
    )


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
        self._input_tokens = meter.create_counter(
            "trunkline.input_tokens",
            unit="{token}",
            description="Input tokens, by their use of the service's prompt cache.",
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
        for use, tokens in _uses_of_cache(metrics):
            self._input_tokens.add(tokens, shared | {"trunkline.cache": use})

    def _record(
        self, instrument: Histogram, value: float | None, attributes: _Attributes, span: Span
    ) -> None:
        if value is not None:
            # The context of the span makes the measurement an exemplar of it.
            instrument.record(value, attributes, context=set_span_in_context(span))


def _uses_of_cache(metrics: TurnMetrics) -> Iterator[tuple[str, int]]:
    """The input tokens that were read from the cache, written to it, and neither."""
    total = metrics.input_tokens
    if total is None:
        return
    read, written = metrics.cached_tokens or 0, metrics.cache_write_tokens or 0
    yield "read", read
    yield "write", written
    yield "none", max(0, total - read - written)


class _Clients:
    """The clients, and instruments that observe them. Callbacks are called in any thread."""

    def __init__(self, meter_provider: MeterProvider | None) -> None:
        self._views: list[ClientView] = []
        self._gone: dict[_Server, PoolMetrics] = {}
        self._lock = threading.Lock()
        meter = get_meter(SCOPE, meter_provider=meter_provider)
        meter.create_observable_up_down_counter(
            "trunkline.client.connections",
            [self._connections],
            unit="{connection}",
            description="WebSocket connections, by state.",
        )
        meter.create_observable_up_down_counter(
            "trunkline.client.requests",
            [self._requests],
            unit="{request}",
            description="Requests that are being answered, by transport.",
        )
        for name, unit, description, read in _COUNTERS:
            meter.create_observable_counter(
                f"trunkline.client.{name}",
                [partial(self._counted, read)],
                unit=unit,
                description=description,
            )

    def add(self, view: ClientView) -> None:
        """Observe a client until it is gone; its counts stay."""
        with self._lock:
            self._views.append(view)

    def _connections(self, _: CallbackOptions) -> Iterator[Observation]:
        for server, states in self._states().items():
            for name in ("sockets", "dialling", "retired"):
                number = sum(getattr(state, name) for state in states)
                if name == "sockets":
                    number -= sum(state.retired for state in states)
                kind = "open" if name == "sockets" else name
                yield Observation(number, {**_at(server), "trunkline.connection.state": kind})

    def _requests(self, _: CallbackOptions) -> Iterator[Observation]:
        for server, states in self._states().items():
            for transport, name in (("websocket", "in_flight"), ("http", "http")):
                number = sum(getattr(state, name) for state in states)
                yield Observation(number, {**_at(server), "trunkline.transport": transport})

    def _counted(self, read: _Read, _: CallbackOptions) -> Iterator[Observation]:
        totals: Counter[tuple[_Server, tuple[tuple[str, str], ...]]] = Counter()
        with self._lock:
            self._drop_the_gone()
            found = [(_server_of(view), view.metrics) for view in self._views]
            found += self._gone.items()
        for server, metrics in found:
            for attributes, number in read(metrics):
                totals[server, attributes] += number
        for (server, attributes), number in totals.items():
            yield Observation(number, {**_at(server), **dict(attributes)})

    def _states(self) -> dict[_Server, list[PoolState]]:
        states: dict[_Server, list[PoolState]] = {}
        with self._lock:
            for view in self._views:
                found = states.setdefault(_server_of(view), [])
                state = view.state()
                if state is not None:
                    found.append(state)
        return states

    def _drop_the_gone(self) -> None:
        for view in [view for view in self._views if view.state() is None]:
            self._views.remove(view)
            server, counts = _server_of(view), view.metrics
            before = self._gone.get(server)
            self._gone[server] = _sum(before, counts) if before is not None else counts


def _server_of(view: ClientView) -> _Server:
    return view.server_address, view.server_port


def _at(server: _Server) -> _Attributes:
    return {"server.address": server[0], "server.port": server[1]}


def _sum(first: PoolMetrics, second: PoolMetrics) -> PoolMetrics:
    return PoolMetrics(
        **{each.name: getattr(first, each.name) + getattr(second, each.name) for each in fields(PoolMetrics)}
    )


_COUNTERS: tuple[tuple[str, str, str, _Read], ...] = (
    ("dials", "{dial}", "Connections dialled, the failed ones included.", lambda of: [((), of.dials)]),
    ("failed_dials", "{dial}", "Connections that could not be made.", lambda of: [((), of.failed_dials)]),
    ("fallbacks", "{turn}", "Turns that fell back to HTTP.", lambda of: [((), of.fallbacks)]),
    (
        "recoveries",
        "{attempt}",
        "Further attempts of turns, by cause.",
        lambda of: [((("trunkline.cause", cause.value),), number) for cause, number in of.recoveries.items()],
    ),
    (
        "abandoned_tokens",
        "{token}",
        "Tokens of answers that were left before their end.",
        lambda of: [
            ((("gen_ai.token.type", kind),), of.abandoned_usage[f"{kind}_tokens"])
            for kind in ("input", "output")
        ],
    ),
)


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
        "gen_ai.usage.cache_creation.input_tokens": metrics.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": metrics.reasoning_tokens,
        "error.type": _error_type(metrics) if metrics.outcome == "failed" else None,
        "trunkline.cached_share": metrics.cached_share,
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
