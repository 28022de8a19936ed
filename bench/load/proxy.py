"""Proxies of the Responses API, each in its own process, in front of the scripted server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clients.base import MODEL

LITELLM = Path(sys.prefix) / "litellm" / "bin" / "litellm"
"""LiteLLM has an environment of its own: its versions of packages are not those of the other clients."""
KEY = "sk-bench-0123456789abcdef"
_READY_S = 90.0
_TRUNKLINE = """
listen = {{ port = {port} }}
admin = {{ port = false }}
upstream.bench = {{ base_url = "http://127.0.0.1:{server}/v1", lanes = true }}
drain = {{ notice_s = 0, within_s = 0 }}
"""
_LITELLM = """
model_list:
  - model_name: {model}
    litellm_params:
      model: openai/{model}
      api_base: http://127.0.0.1:{server}/v1
      api_key: {key}
general_settings:
  master_key: {key}
"""


@dataclass(frozen=True)
class Proxy:
    """A proxy that runs.

    Attributes:
        port: its port.
        pid: its process.
    """

    port: int
    pid: int

    def cpu_s(self) -> float:
        """The CPU time of all of its threads, in seconds."""
        total = 0
        for path in Path(f"/proc/{self.pid}/task").iterdir():
            total += int((path / "schedstat").read_text().split()[0])
        return total / 1e9

    def system_s(self) -> float:
        """The part of it that the kernel spent for them, in clock ticks of usually 10 ms."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[12]) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def proxy(name: str, server: int) -> Iterator[Proxy]:
    """Run a proxy in front of the scripted server.

    Args:
        name: ``trunkline-gateway`` or ``litellm-proxy``.
        server: the port of the scripted server.
    """
    with tempfile.TemporaryDirectory() as place, _free_port() as port:
        path = Path(place) / ("gateway.toml" if name == "trunkline-gateway" else "litellm.yaml")
        if name == "trunkline-gateway":
            port = gateway_configuration(path, server)
            command = [sys.executable, "-m", "trunkline", "serve", "--config", str(path)]
        else:
            path.write_text(_LITELLM.format(model=MODEL, server=server, key=KEY))
            command = [str(LITELLM), "--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
        env = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        process = subprocess.Popen(
            command, env=env, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_for(port, process)
            yield Proxy(port, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def gateway_configuration(path: Path, server: int) -> int:
    """Write the configuration of a gateway in front of the scripted server. Returns its port."""
    with _free_port() as port:
        path.write_text(_TRUNKLINE.format(port=port, server=server))
        return port


@contextmanager
def _free_port() -> Iterator[int]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    yield port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"RuntimeError: the proxy ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"RuntimeError: the proxy did not listen within {_READY_S:g} s")
