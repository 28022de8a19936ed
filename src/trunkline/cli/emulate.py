"""``trunkline emulate``: the emulator as a server with a live log, or for the duration of one program."""

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
_PORT = 8765
# Exit codes of shells.
_NOT_EXECUTABLE, _NOT_FOUND, _SIGNALLED = 126, 127, 128


@dataclass(frozen=True, slots=True)
class Settings:
    """The command's options."""

    host: str
    port: int | None
    api_key: str = field(repr=False)
    zdr: bool
    first_token_s: float
    tokens_per_second: float | None
    model: str | None = None
    faults: Path | None = None
    quirks: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    command: tuple[str, ...] = field(default=(), repr=False)  # arguments of other programs may be secrets

    @property
    def bound_port(self) -> int:
        """The port to listen on; any free one beside a program, which is told."""
        if self.port is not None:
            return self.port
        return 0 if self.command else _PORT


def run(settings: Settings, out: Console, err: Console) -> int:
    """Serve until Ctrl-C or SIGTERM, or until the command has ended. Return the exit code."""
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
    if not settings.command:
        emulator.on_request.append(_Log(out))
    # Refusals are logged as warnings, and have their line in the log of requests already.
    logging.getLogger("trunkline.emulator").setLevel(logging.ERROR)
    try:
        return asyncio.run(_serve(emulator, settings, out, err))
    except OSError as error:
        place = f"{settings.host}:{settings.bound_port}"
        err.out(f"trunkline: cannot listen on {place}: {_reason(error)}", highlight=False)
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
        settings.bound_port,
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


async def _serve(emulator: Emulator, settings: Settings, out: Console, err: Console) -> int:
    code = 0
    with _until_signalled(ctrl_c_ends=not settings.command) as stopped:
        async with emulator:
            _warn(settings, err)
            if settings.command:
                err.out(f"The emulator answers; live page: {emulator.live_url}", highlight=False)
                code = await _run(settings.command, emulator, stopped, err)
            else:
                _announce(emulator, settings, out)
                await stopped.wait()
                err.out("stopped", highlight=False)
    return code


async def _run(command: tuple[str, ...], emulator: Emulator, stopped: asyncio.Event, err: Console) -> int:
    """Run a program with the emulator in its environment. Return its exit code, as a shell does."""
    env = {**os.environ, "OPENAI_BASE_URL": emulator.base_url, "OPENAI_API_KEY": emulator.api_key or ""}
    try:
        process = await asyncio.create_subprocess_exec(*command, env=env)
    except OSError as error:
        err.out(f"trunkline: cannot run {command[0]}: {_reason(error)}", highlight=False)
        return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE

    async def terminate() -> None:
        await stopped.wait()
        with contextlib.suppress(ProcessLookupError):
            process.terminate()

    terminating = asyncio.create_task(terminate())
    try:
        code = await process.wait()
    finally:
        terminating.cancel()
    return _SIGNALLED - code if code < 0 else code


@contextlib.contextmanager
def _until_signalled(*, ctrl_c_ends: bool) -> Iterator[asyncio.Event]:
    """An event that SIGTERM sets, and Ctrl-C too unless another program in the terminal decides about it."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    handlers = {signal.SIGTERM: stopped.set, signal.SIGINT: stopped.set if ctrl_c_ends else lambda: None}
    with contextlib.suppress(NotImplementedError):
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
    try:
        yield stopped
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in handlers:
                loop.remove_signal_handler(number)


def _warn(settings: Settings, err: Console) -> None:
    if not _is_loopback(settings.host):
        warning = "warning: other machines can reach this server; --host 127.0.0.1 prevents it"
        err.out(warning, style="yellow", highlight=False)


def _announce(emulator: Emulator, settings: Settings, out: Console) -> None:
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
