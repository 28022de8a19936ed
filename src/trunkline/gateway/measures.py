"""Metrics of the gateway, in the format of Prometheus. Labels come from the configuration only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from .._observe.hooks import Hooks
from .._observe.metrics import TurnMetrics
from .caller import Caller
from .leases import LeasedAllowance
from .life import Life, Stage

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
NAMELESS: Final = "anyone"
"""The label of callers where there are no tenants."""


@dataclass
class Summary:
    """The turns of one caller in a few numbers.

    Attributes:
        delta: turns that sent new items only.
        full: turns that sent the whole context.
        failed: turns that failed.
        first_output_ms: a moving average of the time to the first output, in milliseconds.
    """

    delta: int = 0
    full: int = 0
    failed: int = 0
    first_output_ms: float | None = None

    def add(self, turn: TurnMetrics) -> None:
        """Count a turn."""
        self.delta += turn.mode == "delta"
        self.full += turn.mode == "full"
        self.failed += turn.outcome == "failed"
        if turn.first_output_s is not None:
            latest = 1000 * turn.first_output_s
            before = latest if self.first_output_ms is None else self.first_output_ms
            self.first_output_ms = round(before + (latest - before) / 16, 1)


class Measures:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._summaries: dict[str, Summary] = {}
        self._registry = CollectorRegistry()
        self._present: _Present | None = None
        self._turns = Counter(
            "trunkline_turns",
            "Turns that ended.",
            ("tenant", "mode", "transport", "outcome"),
            registry=self._registry,
        )
        self._first_output = Histogram(
            "trunkline_first_output_seconds",
            "Seconds from the beginning of a turn to its first output.",
            ("tenant",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._bytes = Counter(
            "trunkline_bytes",
            "Bytes of requests and answers upstream.",
            ("tenant", "direction"),
            registry=self._registry,
        )
        self._recoveries = Counter(
            "trunkline_recoveries",
            "Attempts after the first one.",
            ("tenant", "cause"),
            registry=self._registry,
        )
        self._left = Counter(
            "trunkline_callers_left",
            "Callers that left before the end of their answer.",
            registry=self._registry,
        )

        self._lease_failures = Counter(
            "trunkline_lease_failures",
            "Renewals of leases that Valkey did not answer.",
            registry=self._registry,
        )

    def hooks(self, name: str) -> Hooks:
        """The hooks that count the turns of a caller."""
        tenant = name or NAMELESS
        summary = self._summaries.setdefault(name, Summary())

        # Looking a counter up by its labels costs more than counting.
        turns: dict[tuple[str, str, str], Counter] = {}
        up, down = self._bytes.labels(tenant, "up"), self._bytes.labels(tenant, "down")
        first_output = self._first_output.labels(tenant)

        def finished(turn: TurnMetrics) -> None:
            kind = turn.mode, turn.transport, turn.outcome or "left"
            summary.add(turn)
            if kind not in turns:
                turns[kind] = self._turns.labels(tenant, *kind)
            turns[kind].inc()
            up.inc(turn.bytes_sent)
            down.inc(turn.bytes_received)
            if turn.first_output_s is not None:
                first_output.observe(turn.first_output_s)
            for cause in turn.recoveries:
                self._recoveries.labels(tenant, cause.value).inc()

        return Hooks(turn_finished=finished)

    def summary(self, name: str) -> Summary:
        """The turns of a caller in a few numbers."""
        return self._summaries[name]

    def left(self) -> None:
        """A caller has left before the end of its answer."""
        self._left.inc()

    def lease_failed(self) -> None:
        """Valkey has not renewed the leases."""
        self._lease_failures.inc()

    def watch(self, life: Life, callers: Mapping[str, Caller]) -> None:
        """Report the sockets of these callers, instead of others, and the stage of the process."""
        if self._present is not None:
            self._registry.unregister(self._present)
        self._present = _Present(life, callers)
        self._registry.register(self._present)

    def text(self) -> bytes:
        """All metrics as text."""
        return generate_latest(self._registry)


class _Present(Collector):
    """What is true at the moment of the question."""

    def __init__(self, life: Life, callers: Mapping[str, Caller]) -> None:
        self._life = life
        self._callers = callers

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The values at this moment."""
        draining = GaugeMetricFamily("trunkline_draining", "Whether the process drains.")
        draining.add_metric([], float(self._life.stage is not Stage.SERVING))
        running = GaugeMetricFamily("trunkline_running_answers", "Answers that run.")
        running.add_metric([], self._life.running)
        sockets = GaugeMetricFamily("trunkline_upstream_sockets", "Open sockets upstream.", labels=["tenant"])
        lanes = GaugeMetricFamily("trunkline_upstream_lanes", "Lanes of these sockets.", labels=["tenant"])
        in_flight = GaugeMetricFamily("trunkline_in_flight", "Running turns upstream.", labels=["tenant"])
        abandoned = GaugeMetricFamily(
            "trunkline_abandoned_output_tokens",
            "Output tokens of answers whose caller had left.",
            labels=["tenant"],
        )
        quota = GaugeMetricFamily(
            "trunkline_quota", "The part of a shared limit for this replica.", labels=["tenant", "limit"]
        )
        leased = GaugeMetricFamily(
            "trunkline_quota_leased", "Whether that part is a lease.", labels=["tenant", "limit"]
        )
        for name, caller in self._callers.items():
            if isinstance(caller.allowance, LeasedAllowance):
                for limit, lease in caller.allowance.leases.items():
                    quota.add_metric([name, limit], lease.quota)
                    leased.add_metric([name, limit], float(lease.is_held))
            tenant, state, metrics = [name or NAMELESS], caller.door.state(), caller.door.metrics
            sockets.add_metric(tenant, state.sockets)
            lanes.add_metric(tenant, state.lanes)
            in_flight.add_metric(tenant, state.in_flight)
            abandoned.add_metric(tenant, metrics.abandoned_usage.get("output_tokens", 0))
        return [draining, running, sockets, lanes, in_flight, abandoned, quota, leased]


__all__ = ["Measures"]
