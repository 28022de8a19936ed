"""``trunkline doctor``: stepwise checks of an endpoint, with advice for failures."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Self

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ... import __version__
from ..._network.credentials import auth_headers
from ..._network.endpoint import Endpoint
from ...client import DEFAULT_BASE_URL
from ...emulator import Emulator
from ..terminal import printable
from .findings import Finding, Verdict, skipped
from .network import network
from .service import HTTP_TURN, WEBSOCKET_TURN, Service, service

_STYLES = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "bold red", Verdict.SKIPPED: "dim"}
_LONG_KEY = 16
_PATIENCE_S = 2.0
_OF_THE_SERVICE = ("upgrade", "key", "lanes", "warm-up", WEBSOCKET_TURN, HTTP_TURN)


@dataclass(frozen=True, slots=True)
class Settings:
    """The command's options."""

    base_url: str | None = field(repr=False)
    model: str
    api_key_env: str
    emulator: bool
    within_s: float
    as_json: bool = False


def run(settings: Settings, out: Console, err: Console) -> int:
    """Run all checks and print the report. Return the exit code: 1 if a required check failed."""
    return asyncio.run(_run(settings, out, err))


async def _run(settings: Settings, out: Console, err: Console) -> int:
    async with AsyncExitStack() as stack:
        key = os.environ.get(settings.api_key_env, "")
        base_url = settings.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
        if settings.emulator:
            emulator = await stack.enter_async_context(Emulator(first_token_s=0.05))
            key, base_url = emulator.api_key or "", emulator.base_url
        endpoint = Endpoint.of(base_url)
        place = endpoint.http_url.partition("?")[0]
        report = _Report(key, out)
        err.out(report.shown(f"Checking {settings.model} at {place}."), style="dim", highlight=False)
        with err.status("") if err.is_terminal else nullcontext() as status:
            shown = status.update if status is not None else partial(err.out, highlight=False)
            with _Progress(shown, is_live=status is not None) as progress:
                async for finding in _findings(replace(settings, base_url=base_url), key, endpoint):
                    report.add(finding)
                    progress.note(f"{finding.name}: {finding.verdict.value}")
        if settings.as_json:
            report.print_json(settings.model, place)
        else:
            report.print()
        return 1 if report.has_failed else 0


async def _findings(settings: Settings, key: str, endpoint: Endpoint) -> AsyncIterator[Finding]:
    is_reached = True
    async for finding in network(endpoint.websocket_url, settings.within_s):
        is_reached = is_reached and finding.verdict is not Verdict.FAILED
        yield finding
    if not is_reached:
        for name in _OF_THE_SERVICE:
            yield skipped(name, "the server could not be reached")
    elif not key:
        advice = f"Set {settings.api_key_env}, or name the variable that holds the key: --api-key-env NAME."
        yield Finding("key", Verdict.FAILED, f"{settings.api_key_env} is not set", None, advice)
    else:
        async for finding in service(_service(settings, key)):
            yield finding


def _service(settings: Settings, key: str) -> Service:
    headers = auth_headers(
        api_key=key,
        organization=os.environ.get("OPENAI_ORG_ID"),
        project=os.environ.get("OPENAI_PROJECT_ID"),
    )
    return Service(settings.base_url or DEFAULT_BASE_URL, key, settings.model, headers, settings.within_s)


class _Progress:
    """The latest result: at once in a terminal, elsewhere if the next one takes long. A context manager."""

    def __init__(self, show: Callable[[str], object], *, is_live: bool) -> None:
        self._show = show
        self._is_live = is_live
        self._timer: asyncio.TimerHandle | None = None

    def note(self, result: str) -> None:
        """Take a result."""
        if self._is_live:
            self._show(result)
        else:
            self._wait(f"{result}; the next check takes longer …")

    def _wait(self, text: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self._show, text)

    def __enter__(self) -> Self:
        if not self._is_live:
            self._wait("The first check takes longer …")
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Report:
    """The table and the advice below it, or JSON. All output passes through here without the key."""

    def __init__(self, key: str, out: Console) -> None:
        self._key = _pattern_of(key) if key else None
        self._out = out
        self._findings: list[Finding] = []

    @property
    def has_failed(self) -> bool:
        """Whether a required check failed."""
        return any(finding.verdict is Verdict.FAILED for finding in self._findings)

    def add(self, finding: Finding) -> None:
        """Add a line."""
        self._findings.append(finding)

    def print(self) -> None:
        """Print the report."""
        table = Table(box=box.SIMPLE_HEAD if self._out.is_terminal else None, pad_edge=False)
        table.add_column("check", no_wrap=True)
        table.add_column("result", no_wrap=True)
        table.add_column("time", justify="right", no_wrap=True)
        table.add_column("found", overflow="fold")
        for finding in self._findings:
            table.add_row(*self._cells(finding))
        self._out.print(table)
        advised = [finding for finding in self._findings if finding.advice]
        for advice in dict.fromkeys(finding.advice for finding in advised):
            names = "; ".join(finding.name for finding in advised if finding.advice == advice)
            self._say(f"\n{names}: {advice}", "")
        self._say(*self._sum())

    def print_json(self, model: str, place: str) -> None:
        """Print the report as one JSON object."""
        checks = [
            {
                "name": finding.name,
                "result": finding.verdict.value,
                "seconds": finding.seconds,
                "found": self.shown(finding.detail),
                "advice": self.shown(finding.advice) or None,
            }
            for finding in self._findings
        ]
        report = {
            "trunkline": __version__,
            "endpoint": self.shown(place),
            "model": self.shown(model),
            "passed": not self.has_failed,
            "checks": checks,
        }
        self._out.out(json.dumps(report, indent=2), highlight=False)

    def _cells(self, finding: Finding) -> list[Text]:
        seconds = "" if finding.seconds is None else f"{finding.seconds * 1000:.0f} ms"
        return [
            Text(finding.name),
            Text(finding.verdict.value, style=_STYLES[finding.verdict]),
            Text(seconds),
            Text(self.shown(finding.detail)),
        ]

    def _sum(self) -> tuple[str, str]:
        failed = [finding.name for finding in self._findings if finding.verdict is Verdict.FAILED]
        if failed:
            return f"\nFailed: {'; '.join(failed)}.", _STYLES[Verdict.FAILED]
        if any(finding.verdict is Verdict.WARNING for finding in self._findings):
            return "\nAll required checks passed.", _STYLES[Verdict.WARNING]
        return "\nAll checks passed.", _STYLES[Verdict.OK]

    def _say(self, text: str, style: str) -> None:
        self._out.print(Text(self.shown(text), style=style), soft_wrap=not self._out.is_terminal)

    def shown(self, text: str) -> str:
        """A text without the key and without control characters."""
        return printable(self._key.sub("[the key]", text) if self._key else text)


def _pattern_of(key: str) -> re.Pattern[str]:
    """What to remove: a long key wherever it stands, a short one only as a word of its own.

    Local servers take keys such as "e" or "test", which are parts of ordinary words.
    """
    if len(key) >= _LONG_KEY:
        return re.compile(re.escape(key))
    return re.compile(rf"(?<![\w-]){re.escape(key)}(?![\w-])")
