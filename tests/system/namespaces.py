"""Two machines and a router between them, as network namespaces of Linux.

::

    client 10.77.1.1 ── 10.77.1.2 router 10.77.2.2 ── 10.77.2.1 server
"""

from __future__ import annotations

import os
import shutil
import subprocess
from types import TracebackType
from typing import Self

SERVER = "10.77.2.1"


def can_be_made() -> bool:
    """Whether this process may make network namespaces. It needs `ip` and the rights of root."""
    if shutil.which("ip") is None:
        return False
    name = f"trunkline-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode:
        return False
    subprocess.run(["ip", "netns", "del", name], check=True)
    return True


class Machines:
    """The namespaces. Commands run in one of them with `within`."""

    def __init__(self) -> None:
        self._names = {role: f"trunkline-{role}-{os.getpid()}" for role in ("client", "router", "server")}

    def __enter__(self) -> Self:
        for name in self._names.values():
            _ip("netns", "add", name)
        for number, role in enumerate(("client", "server"), 1):
            here, router = self._names[role], self._names["router"]
            _ip("link", "add", "near", "netns", here, "type", "veth", "peer", f"far{number}", "netns", router)
            for name, link, last in ((here, "near", 1), (router, f"far{number}", 2)):
                _ip("-n", name, "address", "add", f"10.77.{number}.{last}/24", "dev", link)
                _ip("-n", name, "link", "set", link, "up")
                _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", here, "route", "add", "default", "via", f"10.77.{number}.2")
        self.heal()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self._names.values():
            _ip("netns", "del", name)

    def within(self, role: str, *command: str) -> list[str]:
        """The command that runs another one in the namespace of a machine."""
        return ["ip", "netns", "exec", self._names[role], *command]

    def part(self) -> None:
        """Drop every packet without a word."""
        self._forward("0")

    def heal(self) -> None:
        """Pass packets."""
        self._forward("1")

    def _forward(self, value: str) -> None:
        path = "/proc/sys/net/ipv4/ip_forward"
        subprocess.run(self.within("router", "sh", "-c", f"echo {value} > {path}"), check=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
