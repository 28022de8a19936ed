from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import trunkline
from trunkline import otel
from trunkline.emulator import Emulator
from trunkline.emulator.pace import Pace

from .talk import ask, client_of, first_text, hold_after_first_word
from .waiting import until

SECRET = "the butler did it"
KEY = "sk-secret-key-0123456789"


class Telemetry:
    """Providers that keep spans and metrics in memory."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._reader])

    @property
    def hooks(self) -> trunkline.Hooks:
        return otel.hooks(self.tracers, self.meters)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._spans.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.spans
        return span

    def points(self, name: str) -> list[HistogramDataPoint]:
        """The points of a histogram."""
        return [point for point in self._points(name) if isinstance(point, HistogramDataPoint)]

    def observed(self, name: str, by: str = "") -> dict[Any, float | int]:
        """The values of an instrument of the clients, by an attribute."""
        points = self._points(f"trunkline.client.{name}")
        return {
            (point.attributes or {}).get(by): point.value
            for point in points
            if isinstance(point, NumberDataPoint)
        }

    def sums(self, name: str, by: str) -> dict[Any, float | int]:
        """The values of a counter, by an attribute."""
        return {(point.attributes or {}).get(by): point.value for point in self._points(name)}

    def places(self, name: str = "connections") -> list[Mapping[str, Any]]:
        """The attributes of an instrument of the clients."""
        return [point.attributes or {} for point in self._points(f"trunkline.client.{name}")]

    def _points(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_turn_is_a_client_span_by_the_conventions(emulator: Emulator, telemetry: Telemetry) -> None:
    async with client_of(emulator, hooks=telemetry.hooks) as client:
        stream = await ask(client.conversation(model="words-7"), SECRET)
    span, metrics, usage = telemetry.span, stream.metrics, stream.response.usage
    assert usage is not None
    assert (span.name, span.kind, span.status.status_code) == (
        "chat words-7",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "words-7",
        "gen_ai.request.stream": True,
        "gen_ai.response.id": stream.response.id,
        "gen_ai.response.model": stream.response.model,
        "gen_ai.usage.input_tokens": usage["input_tokens"],
        "gen_ai.usage.output_tokens": usage["output_tokens"],
        "gen_ai.usage.cache_read.input_tokens": usage["input_tokens_details"]["cached_tokens"],
        "gen_ai.usage.cache_creation.input_tokens": usage["input_tokens_details"]["cache_write_tokens"],
        "trunkline.cached_share": metrics.cached_share,
        "openai.api.type": "responses",
        "server.address": "127.0.0.1",
        "server.port": int(emulator.base_url.rsplit(":", 1)[1].partition("/")[0]),
        "trunkline.outcome": "answered",
        "trunkline.mode": "full",
        "trunkline.transport": "websocket",
        "trunkline.connection": 1,
        "trunkline.lane": "lane-0",
        "trunkline.attempts": 1,
        "trunkline.recoveries": (),
        "trunkline.bytes_sent": metrics.bytes_sent,
        "trunkline.bytes_received": metrics.bytes_received,
        "trunkline.time_to_first_token": metrics.ttft_s,
        "trunkline.warm_up": False,
    }
    assert expected.items() <= attributes_of(span).items()
    assert "error.type" not in attributes_of(span)


async def test_spans_are_children_of_the_callers(emulator: Emulator, telemetry: Telemetry) -> None:
    tracer = telemetry.tracers.get_tracer("test")

    async def call(client: trunkline.Client, name: str) -> None:
        with tracer.start_as_current_span(name):
            chat = client.conversation(model="tools", tools=[weather])
            await chat.run(f"weather in {name}")

    def weather(city: str) -> str:
        """The weather in a city."""
        return "rain"

    async with client_of(emulator, hooks=telemetry.hooks) as client:
        await asyncio.gather(call(client, "Oslo"), call(client, "Bergen"))
    roots = {span.name: span.context for span in telemetry.spans if span.parent is None}
    assert set(roots) == {"Oslo", "Bergen"}
    turns = [span for span in telemetry.spans if span.parent is not None]
    for root in roots.values():
        assert root is not None
        own = [span for span in turns if span.parent and span.parent.span_id == root.span_id]
        assert [span.name for span in own] == ["chat tools", "chat tools"]


async def test_a_failed_turn_has_the_services_code(emulator: Emulator, telemetry: Telemetry) -> None:
    async with client_of(emulator, hooks=telemetry.hooks) as client:
        with pytest.raises(trunkline.ResponseRefused):
            await ask(client.conversation(model="refuse-400-invalid_prompt"), SECRET)
    assert telemetry.span.status.status_code is StatusCode.ERROR
    assert attributes_of(telemetry.span)["error.type"] == "invalid_prompt"
    assert attributes_of(telemetry.span)["trunkline.outcome"] == "failed"
    (duration,) = telemetry.points("gen_ai.client.operation.duration")
    assert dict(duration.attributes or {})["error.type"] == "invalid_prompt"


async def test_a_failure_without_a_code_has_the_name_of_the_exception(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    emulator.faults.add("drop", event_type="response.output_text.delta", times=None)
    policy = trunkline.Policy(max_attempts=1)
    async with client_of(emulator, hooks=telemetry.hooks, policy=policy) as client:
        with pytest.raises(trunkline.ConnectionLost):
            await ask(client.conversation(model="echo"), SECRET)
    assert attributes_of(telemetry.span)["error.type"] == "ConnectionLost"


async def test_a_turn_that_is_left_early_is_not_an_error(emulator: Emulator, telemetry: Telemetry) -> None:
    emulator.pace = Pace(0, 500)
    async with client_of(emulator, hooks=telemetry.hooks) as client:
        async with client.conversation(model="words-30").send(SECRET) as stream:
            await first_text(stream)
        found = attributes_of(telemetry.span)
        assert found["trunkline.outcome"] == "left"
        assert found["gen_ai.response.id"] in emulator.responses
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert "error.type" not in found
    assert telemetry.points("gen_ai.client.token.usage") == []


async def test_recoveries_are_attributes_of_the_span(emulator: Emulator, telemetry: Telemetry) -> None:
    emulator.faults.add("drop", event_type="response.in_progress")
    async with client_of(emulator, hooks=telemetry.hooks) as client:
        await ask(client.conversation(model="echo"), SECRET)
    found = attributes_of(telemetry.span)
    assert (found["trunkline.attempts"], found["trunkline.recoveries"]) == (2, ("connection",))


async def test_mode_and_transport_are_attributes_of_the_span(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    async with client_of(emulator, hooks=telemetry.hooks, transport="http") as client:
        chat = client.conversation(model="echo")
        await ask(chat, "one")
        await ask(chat, "two")
    found = [attributes_of(span) for span in telemetry.spans]
    assert [one["trunkline.mode"] for one in found] == ["full", "delta"]
    assert [one["trunkline.transport"] for one in found] == ["http", "http"]
    assert all("trunkline.lane" not in one for one in found)


async def test_warm_up_and_conversation_id_are_attributes_of_the_span(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    async with client_of(emulator, hooks=telemetry.hooks) as client:
        await client.conversation(model="echo").warm()
        with pytest.raises(trunkline.TurnError):
            await ask(client.conversation(model="refuse-400-x", conversation={"id": "conv_1"}), SECRET)
    first, second = (attributes_of(span) for span in telemetry.spans)
    assert (first["trunkline.warm_up"], second["trunkline.warm_up"]) == (True, False)
    assert second["gen_ai.conversation.id"] == "conv_1"
    assert "gen_ai.conversation.id" not in first


async def test_metrics_are_those_of_the_conventions(emulator: Emulator, telemetry: Telemetry) -> None:
    async with client_of(emulator, hooks=telemetry.hooks) as client:
        stream = await ask(client.conversation(model="words-7"), SECRET)
    (duration,) = telemetry.points("gen_ai.client.operation.duration")
    assert (duration.count, duration.sum) == (1, stream.metrics.total_s)
    assert duration.explicit_bounds[0] == 0.01
    assert duration.explicit_bounds[-1] == 81.92
    assert dict(duration.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "words-7",
        "gen_ai.response.model": stream.response.model,
        "server.address": "127.0.0.1",
        "server.port": stream.metrics.server_port,
    }
    (first,) = telemetry.points("gen_ai.client.operation.time_to_first_chunk")
    assert first.sum == stream.metrics.first_output_s
    tokens = {
        dict(point.attributes or {})["gen_ai.token.type"]: point.sum
        for point in telemetry.points("gen_ai.client.token.usage")
    }
    assert tokens == {"input": stream.metrics.input_tokens, "output": 7}


async def test_a_measurement_has_an_exemplar_of_its_span(emulator: Emulator, telemetry: Telemetry) -> None:
    async with client_of(emulator, hooks=telemetry.hooks) as client:
        await ask(client.conversation(model="echo"), SECRET)
    (duration,) = telemetry.points("gen_ai.client.operation.duration")
    (example,) = duration.exemplars
    assert telemetry.span.context is not None
    assert example.span_id == telemetry.span.context.span_id


async def test_neither_content_nor_key_is_in_spans_or_metrics(telemetry: Telemetry) -> None:
    async with Emulator(api_key=KEY) as emulator:
        emulator.faults.add("fail", event=4, status=400, message=SECRET)
        async with client_of(emulator, hooks=telemetry.hooks) as client:
            chat = client.conversation(model="echo", instructions=SECRET, metadata={"note": SECRET})
            with pytest.raises(trunkline.TurnError):
                await ask(chat, SECRET)
            await ask(chat, SECRET)
    assert len(telemetry.spans) == 2
    told = "".join(span.to_json() for span in telemetry.spans)
    told += repr(telemetry.points("gen_ai.client.operation.duration"))
    assert SECRET not in told
    assert KEY not in told


async def test_connections_and_requests_are_observed_while_they_are_there(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    gate = hold_after_first_word(emulator)
    async with client_of(emulator, hooks=telemetry.hooks) as client:
        assert telemetry.observed("connections", "trunkline.connection.state") == {
            "open": 0,
            "dialling": 0,
            "retired": 0,
        }
        async with client.conversation(model="echo").send(SECRET) as stream:
            await first_text(stream)
            connections = telemetry.observed("connections", "trunkline.connection.state")
            assert connections == {"open": 1, "dialling": 0, "retired": 0}
            assert telemetry.observed("requests", "trunkline.transport") == {"websocket": 1, "http": 0}
            gate.open()
            await stream.finish()
        assert telemetry.observed("requests", "trunkline.transport") == {"websocket": 0, "http": 0}
    assert telemetry.observed("connections", "trunkline.connection.state")["open"] == 0
    server = {"server.address": "127.0.0.1", "server.port": int(emulator.base_url.split(":")[2][:-3])}
    assert all(server.items() <= attributes.items() for attributes in telemetry.places())


async def test_dials_fallbacks_recoveries_and_abandoned_tokens_are_counted(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    hooks = telemetry.hooks

    async def talk() -> Mapping[str, int]:
        emulator.faults.add("refuse_upgrade", status=503)
        async with client_of(emulator, hooks=hooks) as client:
            await ask(client.conversation(model="echo"), SECRET)
        async with client_of(emulator, hooks=hooks) as client:
            emulator.faults.add("drop", event_type="response.in_progress")
            await ask(client.conversation(model="echo"), SECRET)
            async with client.conversation(model="echo").send(SECRET) as stream:
                await first_text(stream)
            await until(lambda: not client.state().draining, "the answer has drained")
            check(client.metrics.abandoned_usage)
            return client.metrics.abandoned_usage

    def check(expected: Mapping[str, int]) -> None:
        assert telemetry.observed("dials") == {None: 3}
        assert telemetry.observed("failed_dials") == {None: 1}
        assert telemetry.observed("fallbacks") == {None: 1}
        assert telemetry.observed("recoveries", "trunkline.cause") == {"upgrade": 1, "connection": 1}
        assert telemetry.observed("abandoned_tokens", "gen_ai.token.type") == {
            "input": expected["input_tokens"],
            "output": expected["output_tokens"],
        }

    expected = await talk()
    gc.collect()
    check(expected)  # the counts of clients that are gone stay
    assert telemetry.places("connections") == []


async def test_input_tokens_are_counted_by_their_use_of_the_cache(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    async with client_of(emulator, hooks=telemetry.hooks) as client:
        chat = client.conversation(model="words-7", instructions="Be brief. " * 2000)
        turns = [(await ask(chat, words)).metrics for words in ("go", "go on")]
        emulator.faults.add("reject", status=400, times=2)
        with pytest.raises(trunkline.ResponseRefused):
            await ask(chat, "no")
    counted = telemetry.sums("trunkline.input_tokens", "trunkline.cache")
    read, written = (sum(values) for values in zip(*map(_cache_of, turns), strict=True))
    total = sum(turn.input_tokens or 0 for turn in turns)
    assert counted == {"read": read, "write": written, "none": total - read - written}
    assert read > 1000
    assert turns[0].cached_share == 0
    assert turns[1].cached_share == read / (turns[1].input_tokens or 0)


def _cache_of(metrics: trunkline.TurnMetrics) -> tuple[int, int]:
    return metrics.cached_tokens or 0, metrics.cache_write_tokens or 0


async def test_hooks_of_the_application_are_called_as_well(emulator: Emulator, telemetry: Telemetry) -> None:
    heard: list[str] = []
    own = trunkline.Hooks(turn_finished=lambda metrics: heard.append(metrics.model))
    async with client_of(emulator, hooks=telemetry.hooks.and_also(own)) as client:
        await ask(client.conversation(model="echo"), SECRET)
    assert heard == ["echo"]
    assert telemetry.span.name == "chat echo"


async def test_a_stream_that_was_never_entered_leaves_no_span(
    emulator: Emulator, telemetry: Telemetry
) -> None:
    async with client_of(emulator, hooks=telemetry.hooks) as client:
        client.conversation(model="echo").send(SECRET).close()
    assert telemetry.spans == ()


async def test_without_providers_the_global_ones_are_used(
    emulator: Emulator, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: telemetry.tracers)
    monkeypatch.setattr("opentelemetry.metrics._internal.get_meter_provider", lambda: telemetry.meters)
    async with client_of(emulator, hooks=otel.hooks()) as client:
        await ask(client.conversation(model="echo"), SECRET)
    assert telemetry.span.name == "chat echo"
    assert len(telemetry.points("gen_ai.client.operation.duration")) == 1


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_importing_trunkline_does_not_import_opentelemetry() -> None:
    program = "import sys, trunkline; print(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert python(program).stdout == "False\n"


def test_without_the_extra_the_error_names_the_package_to_install() -> None:
    done = python("import sys; sys.modules['opentelemetry'] = None; import trunkline.otel")
    assert "ImportError: trunkline.otel needs OpenTelemetry: run pip install 'trunkline[otel]'" in done.stderr
