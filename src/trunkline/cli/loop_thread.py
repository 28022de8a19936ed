"""An event loop in a thread of its own.

The main thread waits for the keyboard and Ctrl-C while the loop keeps serving the sockets.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

_T = TypeVar("_T")

# On Windows, Ctrl-C does not interrupt a wait without a time-out.
_CHECK_S = 0.2


class LoopThread:
    """Runs coroutines for the main thread; a context manager."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="trunkline cli")
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the loop and return its result.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed; the coroutine was cancelled and has ended.
        """
        tasks: list[asyncio.Task[_T]] = []
        ended = threading.Event()

        def begin() -> None:
            tasks.append(self._loop.create_task(coroutine))
            tasks[0].add_done_callback(lambda _: ended.set())

        def cancel() -> None:
            if tasks:
                tasks[0].cancel()
            else:  # Ctrl-C came before the loop was asked to begin
                coroutine.close()
                ended.set()

        try:
            self._loop.call_soon_threadsafe(begin)
            _wait(ended)
        except KeyboardInterrupt:
            self._loop.call_soon_threadsafe(cancel)
            _wait(ended)
            raise
        return tasks[0].result()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


def _wait(ended: threading.Event) -> None:
    while not ended.wait(_CHECK_S):
        pass
