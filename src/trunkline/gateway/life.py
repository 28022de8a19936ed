"""Life of the gateway: it serves, gives notice, drains and ends.

::

    SERVING ──drain──▶ NOTICE ──notice_s──▶ DRAINING ──the last answer, or within_s──▶ ENDED
                          └──────────cut─────────┴─────────────────────────────────────▶

    SERVING   everything is served.
    NOTICE    everything is served, but ``/readyz`` says 503, so that balancers send nothing new.
    DRAINING  new requests are refused; running answers may end.
    ENDED     running answers end with an error: see `Life.until_cut`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum, auto
from types import TracebackType
from typing import Final

from .configuration import Drain

CUT_S: Final = 2.0
"""The time in which callers must take the error that ends their answer, in seconds."""


class Cut(Exception):
    """The time of the drain is over: the running answer ends.

    Attributes:
        acts: the request may have side effects: the caller must not repeat it.
    """

    def __init__(self, *, acts: bool = False) -> None:
        super().__init__()
        self.acts = acts

    def __str__(self) -> str:
        return "the time of the drain is over"


class Stage(IntEnum):
    """A stage of the life of the gateway."""

    SERVING = auto()
    NOTICE = auto()
    DRAINING = auto()
    ENDED = auto()


class Life:
    """The stages of one process, and its running answers.

    Args:
        drain: the times of the stages.

    Attributes:
        stage: the current stage.
        running: the number of running answers.
    """

    def __init__(self, drain: Drain) -> None:
        self.stage: Stage = Stage.SERVING
        self.running: int = 0
        self._drain = drain
        self._waiting: set[asyncio.Future[None]] = set()
        self._scopes: set[_UntilCut] = set()

    @property
    def is_ready(self) -> bool:
        """Whether balancers should send requests."""
        return self.stage is Stage.SERVING

    @property
    def takes_work(self) -> bool:
        """Whether new requests are served."""
        return self.stage <= Stage.NOTICE

    def begin(self) -> None:
        """An answer begins."""
        self.running += 1

    def end(self) -> None:
        """An answer has ended."""
        self.running -= 1
        if not self.running:
            self._tell()

    def until_cut(self) -> _UntilCut:
        """A context manager that cancels its block at the end of the process, and raises `Cut` then."""
        return _UntilCut(self.stage, self._scopes)

    async def changed(self) -> None:
        """Wait until the stage changes, or the last answer ends."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    async def drain(self) -> None:
        """Go through the stages to the end. Cancelling leaves the stage as it is."""
        if self.stage is Stage.SERVING:
            self._enter(Stage.NOTICE)
            await self._until(lambda: self.stage > Stage.NOTICE, self._drain.notice_s)
        if self.stage is Stage.NOTICE:
            self._enter(Stage.DRAINING)
        await self._until(lambda: not self.running or self.stage is Stage.ENDED, self._drain.within_s)
        self.cut()
        await self._until(lambda: not self.running, CUT_S)

    def cut(self) -> None:
        """End now."""
        if self.stage is not Stage.ENDED:
            self._enter(Stage.ENDED)
            for scope in self._scopes:
                scope.cut()

    async def _until(self, condition: Callable[[], bool], within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    await self.changed()
        except TimeoutError:
            pass

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        self._tell()

    def _tell(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)


class _UntilCut:
    """The block of one task, as that of `asyncio.timeout`, with the end of the process instead of a time."""

    def __init__(self, stage: Stage, scopes: set[_UntilCut]) -> None:
        self._stage = stage
        self._scopes = scopes
        self._is_cut = False

    def __enter__(self) -> None:
        if self._stage is Stage.ENDED:
            raise Cut
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._scopes.add(self)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scopes.discard(self)
        # A task that was cancelled by others as well stays cancelled.
        if self._is_cut and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise Cut from None

    def cut(self) -> None:
        """Cancel the block."""
        self._is_cut = True
        self._task.cancel()


__all__ = ["CUT_S", "Cut", "Life", "Stage"]
