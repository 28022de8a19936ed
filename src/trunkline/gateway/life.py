"""Life of the gateway: it serves, gives notice, drains and ends.

::

    SERVING ──drain──▶ NOTICE ──notice_s──▶ DRAINING ──the last answer, or within_s──▶ ENDED
                          └──────────cut─────────┴─────────────────────────────────────▶

    SERVING   everything is served.
    NOTICE    everything is served, but ``/readyz`` says 503, so that balancers send nothing new.
    DRAINING  new requests are refused; running answers may end.
    ENDED     what runs is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import IntEnum, auto

from .configuration import Drain


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

    def cut(self) -> None:
        """End now."""
        if self.stage is not Stage.ENDED:
            self._enter(Stage.ENDED)

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


__all__ = ["Life", "Stage"]
