"""The manifests of deploy/kubernetes, and pods: replicas with a kubelet that probes and ends them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from .balancers import DEPLOY

MANIFESTS = DEPLOY / "kubernetes"

JSON = dict[str, Any]


def documents() -> list[JSON]:
    """All manifests, but for those that kustomize and Helm read."""
    listed = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())["resources"]
    found: list[JSON] = []
    for name in listed:
        found += [each for each in yaml.safe_load_all((MANIFESTS / name).read_text()) if each]
    return found


def manifest(kind: str, name: str = "trunkline") -> JSON:
    (found,) = [each for each in documents() if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def required(container: JSON) -> list[str]:
    """The variables of a container that come from a Secret and must be there."""
    sources = {each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"]}
    return [name for name, source in sources.items() if not source.get("optional")]


@dataclass(frozen=True)
class Probe:
    """A probe of the kubelet, with the defaults of Kubernetes."""

    path: str
    period_s: float
    timeout_s: float
    failures: int

    @classmethod
    def of(cls, source: JSON) -> Probe:
        return cls(
            path=source["httpGet"]["path"],
            period_s=source.get("periodSeconds", 10),
            timeout_s=source.get("timeoutSeconds", 1),
            failures=source.get("failureThreshold", 3),
        )


@dataclass(frozen=True)
class Settings:
    """What the manifests say about the life of a replica."""

    arguments: tuple[str, ...]
    variables: tuple[str, ...]
    startup: Probe
    readiness: Probe
    liveness: Probe
    grace_s: float
    pre_stop_s: float
    min_ready_s: float
    surge: int
    unavailable: int
    least: int

    @classmethod
    def shipped(cls) -> Settings:
        spec = manifest("Deployment")["spec"]
        pod = spec["template"]["spec"]
        (container,) = pod["containers"]
        rolling = spec["strategy"]["rollingUpdate"]
        return cls(
            arguments=tuple(container["args"]),
            variables=tuple(required(container)),
            startup=Probe.of(container["startupProbe"]),
            readiness=Probe.of(container["readinessProbe"]),
            liveness=Probe.of(container["livenessProbe"]),
            grace_s=pod["terminationGracePeriodSeconds"],
            pre_stop_s=container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0),
            min_ready_s=spec["minReadySeconds"],
            surge=rolling["maxSurge"],
            unavailable=rolling["maxUnavailable"],
            least=manifest("HorizontalPodAutoscaler")["spec"]["minReplicas"],
        )


class Pod:
    """A replica and its kubelet.

    Attributes:
        address: its address.
        is_ready: the last readiness probes succeeded.
        available: it has been ready for `min_ready_s`.
        restarts: how often the liveness probe has failed.
        was_killed: the grace period ended before the process.
    """

    def __init__(self, settings: Settings, address: str, port: int, folder: Path, key: str) -> None:
        self.address = address
        self.is_ready = False
        self.available = asyncio.Event()
        self.restarts = 0
        self.was_killed = False
        self._settings = settings
        self._url = f"http://{address}:{port}"
        self._folder = folder
        self._environment = {
            **os.environ,
            **dict.fromkeys(settings.variables, key),
            "TRUNKLINE_HOST": address,
            "TRUNKLINE_PORT": str(port),
            "TRUNKLINE_ADMIN_PORT": "0",  # all pods are on one machine
        }
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, changed: Callable[[], None]) -> None:
        """Start it and probe it until cancelled."""
        arguments = [each.replace("/etc/trunkline", str(self._folder)) for each in self._settings.arguments]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "trunkline", "serve", *arguments),
            stdout=asyncio.subprocess.DEVNULL,
            env=self._environment,
        )
        async with httpx.AsyncClient(trust_env=False) as http:
            while not await self._succeeds(http, self._settings.startup):
                await asyncio.sleep(self._settings.startup.period_s)
            async with asyncio.TaskGroup() as probes:
                probes.create_task(self._watch_readiness(http, changed))
                probes.create_task(self._watch_liveness(http))

    async def _watch_readiness(self, http: httpx.AsyncClient, changed: Callable[[], None]) -> None:
        failures, ready_since = 0, 0.0
        clock = asyncio.get_running_loop().time
        probe = self._settings.readiness
        while True:
            failures = 0 if await self._succeeds(http, probe) else failures + 1
            before, self.is_ready = (
                self.is_ready,
                not failures or (self.is_ready and failures < probe.failures),
            )
            if self.is_ready and not before:
                ready_since = clock()
            if self.is_ready and clock() - ready_since >= self._settings.min_ready_s:
                self.available.set()
            if before is not self.is_ready:
                changed()
            await asyncio.sleep(probe.period_s)

    async def _watch_liveness(self, http: httpx.AsyncClient) -> None:
        failures, probe = 0, self._settings.liveness
        while True:
            failures = 0 if await self._succeeds(http, probe) else failures + 1
            if failures == probe.failures:
                self.restarts += 1
            await asyncio.sleep(probe.period_s)

    async def _succeeds(self, http: httpx.AsyncClient, probe: Probe) -> bool:
        try:
            response = await http.get(self._url + probe.path, timeout=probe.timeout_s)
        except httpx.HTTPError:
            return False
        return 200 <= response.status_code < 400

    async def end(self) -> None:
        """The end by the kubelet: preStop, SIGTERM, and SIGKILL when the grace period is over."""
        assert self._process is not None
        try:
            async with asyncio.timeout(self._settings.grace_s):
                await asyncio.sleep(self._settings.pre_stop_s)
                self._process.send_signal(signal.SIGTERM)
                await self._process.wait()
        except TimeoutError:
            self.was_killed = True
            await self.kill()

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
