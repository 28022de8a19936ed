"""The parts of Kubernetes that a rollout meets, with real processes and the values of deploy/kubernetes.

Each pod has a loopback address of its own. The name of the headless Service is served by a name server that
learns of changes late. HAProxy finds the replicas there, with the shipped configuration.
"""

from __future__ import annotations

import asyncio
import random
import re
import struct
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

from .balancers import program
from .pods import MANIFESTS, Pod, Settings
from .processes import Process, free_port

LATE_S = 5.0
"""Seconds until a change of the endpoints is seen in DNS: the TTL of the cluster's DNS."""
KEY = "sk-of-the-tenant"
_NAME = "replicas.cluster.test"
_NOBODY = "0" * 64


class Names(asyncio.DatagramProtocol):
    """A name server for one name.

    Attributes:
        addresses: the addresses of the name.
    """

    def __init__(self) -> None:
        self.addresses: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += 1 + data[at]
        (kind,) = struct.unpack_from("!H", data, at + 1)
        is_known = ".".join(labels).lower() == _NAME
        found = self.addresses if is_known and kind == 1 else []
        head = data[:2] + struct.pack("!5H", 0x8580 | (0 if is_known else 3), 1, len(found), 0, 0)
        answers = [
            struct.pack("!HHHIH", 0xC00C, 1, 1, int(LATE_S), 4) + bytes(map(int, each.split(".")))
            for each in found
        ]
        self._transport.sendto(head + data[12 : at + 5] + b"".join(answers), addr)


class Cluster:
    """A Deployment with its pods, the headless Service and the balancer.

    Args:
        settings: the values of the manifests.
        folder: where the files of the ConfigMaps are.
        names: the name server.
        balancer: the balancer.
        port: the port of all replicas.
        key: the key of the service.

    Attributes:
        pods: the pods that are not ending.
        ended: those that have ended.
    """

    def __init__(
        self, settings: Settings, folder: Path, names: Names, balancer: Process, port: int, key: str
    ) -> None:
        self.settings = settings
        self.pods: list[Pod] = []
        self.ended: list[Pod] = []
        self._folder = folder
        self._names = names
        self._balancer = balancer
        self._port = port
        self._key = key
        self._network = f"127.{random.randint(2, 250)}.{random.randint(0, 250)}"
        self._number = 0
        self._running: dict[Pod, asyncio.Task[None]] = {}
        self._ending: dict[Pod, asyncio.Task[None]] = {}

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._balancer.port}/v1"

    async def scale(self, number: int) -> None:
        """Have so many pods, and return when they are available and the others have ended."""
        while len(self.pods) < number:
            self._create()
        for pod in self.pods[number:]:
            self._delete(pod)
        await self._settled()

    async def roll(self) -> None:
        """A rolling update of all pods, by the strategy of the manifest."""
        old, desired = list(self.pods), len(self.pods)
        while old:
            new = [pod for pod in self.pods if pod not in old]
            room = min(desired - len(new), desired + self.settings.surge - len(self.pods))
            new += [self._create() for _ in range(room)]
            spare = sum(pod.available.is_set() for pod in self.pods) - (desired - self.settings.unavailable)
            for pod in old[: max(spare, 0)]:
                self._delete(pod)
                old.remove(pod)
            if spare <= 0:
                await asyncio.gather(*(pod.available.wait() for pod in new))
        await self._settled()

    async def served(self) -> None:
        """Wait until the balancer has found a replica."""
        async with httpx.AsyncClient(trust_env=False) as http:
            while not await self._is_served(http):
                await asyncio.sleep(0.1)

    async def _is_served(self, http: httpx.AsyncClient) -> bool:
        try:
            return (await http.get(self.base_url.replace("/v1", "/readyz"))).is_success
        except httpx.HTTPError:
            return False

    async def close(self) -> None:
        """End everything at once."""
        tasks = [*self._running.values(), *self._ending.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(pod.kill() for pod in [*self._running, *self._ending]))

    def _create(self) -> Pod:
        self._number += 1
        address = f"{self._network}.{self._number}"
        pod = Pod(self.settings, address, self._port, self._folder, self._key)
        self.pods.append(pod)
        self._running[pod] = asyncio.create_task(pod.run(self._publish))
        return pod

    def _delete(self, pod: Pod) -> None:
        """At once: the pod leaves the endpoints, and its kubelet ends it. Balancers learn of it later."""
        self.pods.remove(pod)
        self._publish()
        self._ending[pod] = asyncio.create_task(self._end(pod))

    async def _end(self, pod: Pod) -> None:
        # The kubelet stops the liveness probe of a pod that ends. It has no endpoint, whatever its readiness.
        probes = self._running[pod]
        probes.cancel()
        await asyncio.gather(probes, return_exceptions=True)
        await pod.end()
        self.ended.append(pod)

    async def _settled(self) -> None:
        await asyncio.gather(*(pod.available.wait() for pod in self.pods))
        await asyncio.gather(*self._ending.values())

    def _publish(self) -> None:
        ready = [pod.address for pod in self.pods if pod.is_ready]
        asyncio.get_running_loop().call_later(LATE_S, setattr, self._names, "addresses", ready)


def haproxy_configuration(listens: int, replicas: int, names: int) -> str:
    """The shipped configuration with the ports of the balancer, the replicas and the name server."""
    text = (MANIFESTS / "haproxy.cfg").read_text()
    for old, new in {
        "maxconn 8192": "maxconn 400",  # within the limit of descriptors of any machine
        "bind :8080": f"bind 127.0.0.1:{listens}",
        '"${REPLICAS}:8787"': f"{_NAME}:{replicas}",
        "parse-resolv-conf": f"nameserver test 127.0.0.1:{names}",
    }.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    version = subprocess.run(
        [program("haproxy", "haproxy"), "-v"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"version (\d+)", version)
    assert found is not None
    if int(found[1]) < 3:  # Debian 12 has 2.6; one balancer needs no agreement with others
        text = text.replace(" hash-key addr-port", "")
    return text


def replica_configuration(upstream: str) -> str:
    """The shipped configuration of the replicas with this upstream and a key of the tenant."""
    text = (MANIFESTS / "trunkline.toml").read_text()
    assert _NOBODY in text
    text = text.replace(_NOBODY, sha256(KEY.encode()).hexdigest())
    return text.replace("[upstream.openai]\n", f'[upstream.openai]\nbase_url = "{upstream}"\nlanes = true\n')


@asynccontextmanager
async def cluster(folder: Path, upstream: str, key: str, **changes: Any) -> AsyncIterator[Cluster]:
    """A cluster without pods.

    Args:
        folder: where it may write.
        upstream: the URL of the service.
        key: the key of the service.
        changes: values that differ from the manifests'.
    """
    (folder / "trunkline.toml").write_text(replica_configuration(upstream))
    transport, names = await asyncio.get_running_loop().create_datagram_endpoint(
        Names, local_addr=("127.0.0.1", 0)
    )
    listens, replicas = free_port(), free_port()
    path = folder / "haproxy.cfg"
    path.write_text(haproxy_configuration(listens, replicas, transport.get_extra_info("sockname")[1]))
    balancer = Process(listens, program("haproxy", "haproxy"), "-db", "-f", str(path))
    settings = replace(Settings.shipped(), **changes)
    found = Cluster(settings, folder, names, balancer, replicas, key)
    try:
        await balancer.start()
        yield found
    finally:
        await found.close()
        await balancer.stop()
        transport.close()
