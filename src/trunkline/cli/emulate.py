"""``trunkline emulate``: the emulator as a server, with a live log."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import shlex
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console
from yaml import YAMLError

from ..emulator import Emulator, Faults, RequestRecord, load_faults
from .terminal import printable

# Bounds the memory of a server that runs for days.
_HISTORY = 1000


@dataclass(frozen=True, slots=True)
class Settings:
    """The command's options."""

    host: str
    port: int
    api_key: str = field(repr=False)
    zdr: bool
    first_token_s: float
    tokens_per_second: float | None
    model: str | None = None
    faults: Path | None = None
    quirks: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()


def run(settings: Settings, out: Console, err: Console) -> int:
    """Serve until Ctrl-C or SIGTERM. Return the exit code."""
    try:
        faults = load_faults(settings.faults) if settings.faults is not None else None
    except (OSError, ValueError, TypeError, YAMLError) as error:
        reason = " ".join(str(error).split())
        err.out(f"trunkline: {settings.faults} is not a valid fault file: {reason}", highlight=False)
        return 1
    try:
        emulator = _emulator(settings, faults)
    except ValueError as error:
        err.out(f"trunkline: {error}", highlight=False)
        return 1
    emulator.on_request.append(_Log(out))
    # Refusals are logged as warnings, and have their line in the log of requests already.
    logging.getLogger("trunkline.emulator").setLevel(logging.ERROR)
    try:
        asyncio.run(_serve(emulator, settings, out, err))
    except OSError as error:
        err.out(
            f"trunkline: cannot listen on {settings.host}:{settings.port}: {_reason(error)}", highlight=False
        )
        return 1
    except KeyboardInterrupt:  # on platforms without signal handlers in the loop
        pass
    return 0


def _emulator(settings: Settings, faults: Faults | None) -> Emulator:
    """The server with these settings.

    Raises:
        ValueError: a quirk is unknown, two contradict each other, or an origin is not one.
    """
    return Emulator(
        settings.host,
        settings.port,
        api_key=settings.api_key,
        zdr=settings.zdr,
        first_token_s=settings.first_token_s,
        tokens_per_second=settings.tokens_per_second,
        history=_HISTORY,
        faults=faults,
        default_model=settings.model,
        quirks=settings.quirks,
        allowed_origins=settings.allowed_origins,
    )


async def _serve(emulator: Emulator, settings: Settings, out: Console, err: Console) -> None:
    with _until_signalled() as stopped:
        async with emulator:
            _announce(emulator, settings, out, err)
            await stopped.wait()
    err.out("stopped", highlight=False)


@contextlib.contextmanager
def _until_signalled() -> Iterator[asyncio.Event]:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    with contextlib.suppress(NotImplementedError):
        for number in signals:
            loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in signals:
                loop.remove_signal_handler(number)


def _announce(emulator: Emulator, settings: Settings, out: Console, err: Console) -> None:
    if not _is_loopback(settings.host):
        warning = "warning: other machines can reach this server; --host 127.0.0.1 prevents it"
        err.out(warning, style="yellow", highlight=False)
    out.out(f"The emulator listens at {emulator.base_url}", style="bold", highlight=False)
    out.out(f"Live page: {emulator.live_url}", highlight=False)
    out.out(f"export OPENAI_BASE_URL={shlex.quote(emulator.base_url)}", highlight=False)
    out.out(f"export OPENAI_API_KEY={shlex.quote(settings.api_key)}", highlight=False)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno)


class _Log:
    """Prints one line per request."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._sockets: dict[str, int] = {}
        self._numbers = count(1)

    def __call__(self, request: RequestRecord) -> None:
        """Print an accepted or refused request."""
        line = " ".join([f"{datetime.now():%H:%M:%S}", self._place(request), *_facts(request)])
        style = "red" if request.error else None
        self._out.out(printable(line).replace("\n", " "), style=style, highlight=False)

    def _place(self, request: RequestRecord) -> str:
        """The transport, with the socket's number: its id would be too long to read."""
        if request.connection_id is None:
            return request.transport
        number = self._sockets.pop(request.connection_id, None) or next(self._numbers)
        self._sockets[request.connection_id] = number
        if len(self._sockets) > _HISTORY:
            del self._sockets[next(iter(self._sockets))]
        return f"socket {number} {request.lane or 'default lane'}"


def _facts(request: RequestRecord) -> list[str]:
    body = request.body or {}
    facts = [request.kind, _text(body.get("model")), f"{request.size_bytes} B", _items(body)]
    return [fact for fact in [*facts, _result(request)] if fact]


def _items(body: dict[str, Any]) -> str:
    given = body.get("input")
    number = len(given) if isinstance(given, list) else 1 if given else 0
    items = f"{number} {'item' if number == 1 else 'items'}"
    parent = _text(body.get("previous_response_id"))
    return f"{items} after {parent}" if parent else items


def _result(request: RequestRecord) -> str:
    if request.error is not None:
        # A refused steer has a code and no status.
        parts = (request.error.get("status"), request.error["code"] or request.error["message"])
        return " ".join(["->", *(str(part) for part in parts if part is not None)])
    return f"-> {request.response_id}" if request.response_id else ""


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
