"""A gate at which responses wait until a test opens it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable


class Gate:
    """Holds responses at one place until `open` is called.

    `Faults.hold` makes one. A gate stays open: responses that arrive later pass at once. All methods may be
    called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_open = False
        self._waiting: dict[Callable[[], None], asyncio.AbstractEventLoop] = {}

    @property
    def is_open(self) -> bool:
        """Whether `open` has been called."""
        return self._is_open

    @property
    def held(self) -> int:
        """Number of responses that wait at the gate now."""
        return len(self._waiting)

    def open(self) -> None:
        """Let every waiting response continue, and all later ones pass."""
        with self._lock:
            self._is_open = True
            waiting, self._waiting = self._waiting, {}
        for callback, loop in waiting.items():
            loop.call_soon_threadsafe(callback)

    def wait(self, callback: Callable[[], None], loop: asyncio.AbstractEventLoop) -> bool:
        """Call back in `loop` once the gate opens.

        Returns False if the gate is open already; then there is no callback.
        """
        with self._lock:
            if self._is_open:
                return False
            self._waiting[callback] = loop
            return True

    def leave(self, callback: Callable[[], None]) -> None:
        """Do not call back."""
        with self._lock:
            self._waiting.pop(callback, None)

    def __repr__(self) -> str:
        return f"<Gate {'open' if self._is_open else f'closed, {self.held} held'}>"
