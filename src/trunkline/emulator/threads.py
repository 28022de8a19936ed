"""The emulator in a thread of its own, for test suites that are not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from .emulator import Emulator

Result = TypeVar("Result")

_TIMEOUT_S = 10.0


class ThreadedEmulator:
    """A running emulator whose event loop lives in another thread.

    Every attribute of `Emulator` can be read here; what acts on connections runs over there and is awaited.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="trunkline emulator", daemon=True)

    def start(self) -> None:
        """Listen. The port is known when this returns."""
        self._thread.start()
        self._call(self.emulator.start())

    def stop(self) -> None:
        """Close every socket, stop listening and end the thread."""
        self._call(self.emulator.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_TIMEOUT_S)
        self._loop.close()

    def drop_connections(self, code: int | None = None) -> None:
        """Close all sockets, as `Emulator.drop_connections` does."""
        self._call(self.emulator.drop_connections(code))

    def forget(self, response_id: str | None = None) -> None:
        """Drop what lanes remember, as `Emulator.forget` does."""
        self._do(lambda: self.emulator.forget(response_id))

    def delete(self, response_id: str) -> None:
        """Drop a response from memory and store, as `Emulator.delete` does."""
        self._do(lambda: self.emulator.delete(response_id))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _call(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_TIMEOUT_S)

    def _do(self, action: Callable[[], None]) -> None:
        async def done() -> None:
            action()

        self._call(done())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.emulator, name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
