"""WebSockets of callers: lanes inward, as the service has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from .._face.call import Header
from .._network.world import World
from .asgi import MARK, Receive, Send
from .body import Bodies
from .caller import Caller
from .configuration import Bounds
from .life import Life
from .refusal import Refused
from .session import REVOKED, Session


class Sockets:
    """The WebSockets of all callers.

    Args:
        bounds: the bounds of requests and sockets.
        bodies: the memory for frames.
        life: the stage of the process.
        world: the clock and its timers.
    """

    def __init__(self, bounds: Bounds, bodies: Bodies, life: Life, world: World) -> None:
        self._bounds = bounds
        self._bodies = bodies
        self._life = life
        self._world = world
        self._open: set[Session] = set()

    async def serve(
        self, caller: Caller, headers: Sequence[Header], query: str, receive: Receive, send: Send
    ) -> None:
        """Serve one WebSocket to its end.

        Raises:
            Refused: there are too many.
        """
        self._check_room(caller)
        await receive()
        await send({"type": "websocket.accept", "headers": [MARK]})
        session = Session(caller, headers, query, send, self._bounds, self._bodies, self._life, self._world)
        self._open.add(session)
        try:
            while True:
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    return
                frame = message.get("text")
                await session.take(frame.encode() if frame is not None else message["bytes"])
        finally:
            self._open.discard(session)
            await session.end()

    def _check_room(self, caller: Caller) -> None:
        bound, of_all = self._bounds.sockets_inward, len(self._open)
        bound_of_one = caller.tenant.sockets_inward if caller.tenant is not None else None
        of_one = sum(each.caller.name == caller.name for each in self._open) if bound_of_one else 0
        if bound_of_one is not None and of_one >= bound_of_one:
            raise Refused(
                429,
                f"{of_one} WebSockets of {caller.name} are open, and its sockets_inward allows no more; "
                "use lanes, or close some",
                code="too_many_sockets",
                retry_after_s=1.0,
            )
        if of_all >= bound:
            raise Refused(
                503,
                f"{of_all} WebSockets are open, and bounds.sockets_inward allows no more; "
                "try another replica",
                code="too_many_sockets",
                retry_after_s=1.0,
            )

    async def revoke(self, is_served: Callable[[Caller, Sequence[Header]], bool]) -> None:
        """Close the sockets of callers that are not served any more."""
        gone = [each for each in self._open if not is_served(each.caller, each.headers)]
        await asyncio.gather(*(session.close(REVOKED) for session in gone), return_exceptions=True)

    async def drain(self) -> None:
        """Tell each socket to open another connection, once nothing runs on it."""
        await asyncio.gather(*(session.drain() for session in list(self._open)), return_exceptions=True)

    async def close(self) -> None:
        """Close all sockets."""
        await asyncio.gather(*(session.close() for session in list(self._open)), return_exceptions=True)


__all__ = ["Sockets"]
