"""One WebSocket of a caller, with its lanes.

A lane inward is not a lane upward: each request takes the place that is best for it. So a caller's socket
outlives those of the gateway, and what its lanes remember does too.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw

from .._face.answering import Events
from .._face.call import Header
from .._face.outcome import Answer, Broken, Elsewhere
from .._network.gateways import KEY_HEADER
from .._network.world import World
from .._protocol.json import encode
from .._protocol.sse import EventParser
from ..errors import ConfigurationError, UsageError
from .asgi import Send
from .body import Bodies
from .caller import Caller
from .configuration import Bounds
from .failures import cut_short, error_event, reason_of
from .forwarding import forwarded
from .heartbeat import Heartbeat
from .life import Cut, Life
from .refusal import Refused
from .responses import admitted, taken
from .screening import check_ids, members_of, value_of

MAX_NAMES: Final = 32
MAX_IN_FLIGHT: Final = 16
BEAT_S: Final = 4.0
"""The silence of a running answer after which its caller gets a harmless event."""
_LANE: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_OF_THE_FRAME: Final = frozenset({"generate", "stream", "stream_id", "type"})
_OF_A_STEER: Final = frozenset({"input", "previous_response_id", "type"})
_GOING_AWAY: Final = 1001
REVOKED: Final = 1008
_TOO_LARGE: Final = 1009
_LIMIT: Final = {
    "type": "error",
    "status": 400,
    "error": {
        "type": "invalid_request_error",
        "code": "websocket_connection_limit_reached",
        "message": "The gateway is shutting down; open another connection.",
        "param": None,
    },
}


@dataclass(frozen=True, slots=True, repr=False)
class _Frame:
    """One ``response.create``: its members, and its size in bytes."""

    members: dict[str, Raw]
    size: int


class _Lane:
    """One lane of a caller's socket: its requests run one after another."""

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.waiting: deque[_Frame] = deque()
        self.task: asyncio.Task[None] | None = None
        self.events: Events | None = None


class Session:
    """One WebSocket of a caller."""

    def __init__(
        self,
        caller: Caller,
        headers: Sequence[Header],
        query: str,
        send: Send,
        bounds: Bounds,
        bodies: Bodies,
        life: Life,
        world: World,
    ) -> None:
        self.caller = caller
        self.headers = headers
        # Clients name a model in the URL too. Each frame has its own, which the upgrades of the gateway name.
        # With the caller's query, each model would have sockets and a memory of its own.
        self._query = _without_model(query)
        self._send = send
        self._bounds = bounds
        self._bodies = bodies
        self._life = life
        self._world = world
        self._lanes: dict[str | None, _Lane] = {}
        self._places = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._drains = False

    async def take(self, frame: bytes) -> None:
        """Take one frame of the caller."""
        name: str | None = None
        try:
            if len(frame) > self._bounds.body_bytes:
                await self._close(_TOO_LARGE)
                return
            members = members_of(frame)
            name = self._name_of(members)
            kind = value_of(members, "type")
            if kind == "response.steer":
                await self._steer(frame, members)
            elif kind != "response.create":
                raise Refused(400, f"the type {kind!r} is not supported; send response.create", param="type")
            elif self._drains or not self._life.takes_work:
                await self._refuse_late(name)
            else:
                self._begin(self._lane(name), _Frame(members, len(frame)))
        except Refused as refused:
            await self._write(refused.event(), name)

    async def _refuse_late(self, name: str | None) -> None:
        """Refuse a request that came after the drain began.

        A notice without ``stream_id`` refuses all requests without an event, and a running answer may have
        none: its beginning is held back until its output. Such a request would be repeated and run twice. So
        the notice names its lane; where it cannot, the one that follows the running answers counts.
        """
        running = {lane.name for lane in self._lanes.values() if lane.task is not None}
        if not running or (name is not None and name not in running):
            await self._write(_LIMIT, name)

    async def drain(self) -> None:
        """Execute no further frame, and close when nothing runs."""
        self._drains = True
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if tasks:
            await asyncio.wait(tasks)
        await self._write(_LIMIT)
        await self._close(_GOING_AWAY)

    async def close(self, code: int = _GOING_AWAY) -> None:
        """End what runs, and close."""
        await self.end()
        await self._close(code)

    async def end(self) -> None:
        """Leave what runs: the caller has gone."""
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for lane in self._lanes.values():
            self._drop_waiting(lane)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # Lanes.

    def _drop_waiting(self, lane: _Lane) -> None:
        while lane.waiting:
            self._bodies.give_back(lane.waiting.popleft().size, self.caller.name)

    def _name_of(self, members: Mapping[str, Raw]) -> str | None:
        if "stream_id" not in members:
            return None
        name = value_of(members, "stream_id")
        if not isinstance(name, str) or _LANE.fullmatch(name) is None:
            raise Refused(
                400,
                "stream_id must have 1 to 256 characters of A-Z, a-z, 0-9, '_', '.' and '-'",
                code="invalid_stream_id",
                param="stream_id",
            )
        return name

    def _lane(self, name: str | None) -> _Lane:
        found = self._lanes.get(name)
        if found is None:
            if name is not None and len(self._lanes.keys() - {None}) >= MAX_NAMES:
                raise Refused(
                    400,
                    f"a connection has at most {MAX_NAMES} stream_ids",
                    code="websocket_stream_limit_reached",
                    param="stream_id",
                )
            found = self._lanes[name] = _Lane(name)
        return found

    def _begin(self, lane: _Lane, frame: _Frame) -> None:
        bound = self._bounds.waiting_frames
        if sum(len(each.waiting) for each in self._lanes.values()) >= bound:
            raise Refused(
                429,
                f"{bound} requests wait on this WebSocket, and bounds.waiting_frames allows no more; "
                "wait for answers, or use another connection",
                code="too_many_waiting_requests",
                retry_after_s=1.0,
            )
        self._bodies.take(frame.size, self.caller.name)
        lane.waiting.append(frame)
        if lane.task is None:
            lane.task = asyncio.get_running_loop().create_task(self._run(lane), name="trunkline lane")

    async def _run(self, lane: _Lane) -> None:
        """Answer the requests of a lane, one after another."""
        try:
            while lane.waiting:
                async with self._places:
                    if not lane.waiting:
                        return
                    frame = lane.waiting.popleft()
                    self._life.begin()
                    try:
                        await self._respond(lane, frame.members)
                    except Cut:  # requests that wait are refused by the notice of the drain
                        self._drop_waiting(lane)
                    finally:
                        self._life.end()
                        self._bodies.give_back(frame.size, self.caller.name)
        finally:
            lane.task = None

    async def _respond(self, lane: _Lane, members: dict[str, Raw]) -> None:
        body = {"stream": Raw(b"true")}
        body |= {name: value for name, value in members.items() if name not in _OF_THE_FRAME}
        generate = bytes(members.get("generate", b"")) != b"false"
        writer = _Writer(self, lane.name, self._world)
        call = None
        try:
            with self._life.until_cut(), taken(self.caller, self._world):
                raw = msgspec.json.encode(body)
                headers = self._headers_of_call()
                call, _ = admitted(self.caller, headers, self._query, raw, generate=generate)
                outcome = await self.caller.door.take(call)
                if isinstance(outcome, Elsewhere):
                    outcome = await forwarded(self.caller, call, outcome)
                await self._copy(lane, outcome, writer)
        except Refused as refused:
            await self._write(refused.event(), lane.name)
        except Broken as broken:
            code, message = reason_of(broken)
            acts = call is not None and self.caller.door.acts(call)
            await self._write(Refused(502, message, code=code, is_final=acts).event(), lane.name)
        except Cut:
            acts = call is not None and self.caller.door.acts(call)
            is_repeatable = not (writer.has_output or acts)
            await self._write(_LIMIT if is_repeatable else cut_short(is_repeatable=False).event(), lane.name)
            raise
        finally:
            writer.end()

    def _headers_of_call(self) -> list[Header]:
        # The key of an upgrade is for balancers: the socket has many conversations.
        given = [(name, value) for name, value in self.headers if name != KEY_HEADER]
        return [*given, ("content-type", "application/json")]

    async def _copy(self, lane: _Lane, answer: Answer, writer: _Writer) -> None:
        """Write the events of an answer as frames."""
        parser = EventParser()
        if isinstance(answer.body, bytes):
            frames, document = parser.feed(answer.body), answer.body
        else:
            lane.events = answer.body if isinstance(answer.body, Events) else None
            try:
                async for chunk in answer.body:
                    await writer.frames(parser.feed(chunk))
            finally:
                lane.events = None
                await answer.body.aclose()
            frames, document = parser.end(), parser.document
        await writer.frames(frames)
        if answer.status >= 400:
            await self._write(error_event(answer, document), writer.lane)

    async def _steer(self, frame: bytes, members: Mapping[str, Raw]) -> None:
        """Steer a running answer of this socket, or hand the input back.

        Raises:
            Refused: the frame is too malformed to be handed back.
        """
        target, given = value_of(members, "previous_response_id"), value_of(members, "input")
        if not isinstance(target, str) or not isinstance(given, str | list):
            raise Refused(400, "a steer needs previous_response_id and input", param="previous_response_id")
        refusal = self._refusal_of_steer(frame, members, target, given)
        if refusal is not None:
            code, message = refusal
            error = {"type": "invalid_request_error", "code": code, "message": message, "param": None}
            steer = {"previous_response_id": target, "input": given}
            await self._write({"type": "response.steer.failed", "steer": steer, "error": error})

    def _refusal_of_steer(
        self, frame: bytes, members: Mapping[str, Raw], target: str, given: Any
    ) -> tuple[str, str] | None:
        """Why a steer is handed back: a code and a message; ``None`` if it was sent."""
        if members.keys() != _OF_A_STEER:
            return "invalid_input", f"a steer has exactly the fields {', '.join(sorted(_OF_A_STEER))}"
        if self._drains or not self._life.takes_work:
            return "response_not_active", "The gateway is shutting down; send the input as the next turn."
        if self.caller.is_shared:
            try:
                check_ids(frame, {}, lambda _: False)
            except Refused as refused:
                return "invalid_input", str(refused)
        running = [lane.events for lane in self._lanes.values() if lane.events is not None]
        try:
            for events in running:
                if events.runs(target):
                    wait_s = self.caller.allowance.steer(self._world.clock())
                    if wait_s:
                        return "rate_limit_exceeded", f"the limit is reached; try again in {wait_s:.3g} s"
                    events.steer(given)
                    return None
        except ConfigurationError as error:
            return "invalid_input", str(error)
        except UsageError as error:
            return "response_not_active", str(error)
        return "response_not_found", "No response with this id runs on this WebSocket."

    # Writing.

    async def _write(self, event: Mapping[str, Any], lane: str | None = None) -> None:
        named = {**event, "stream_id": lane} if lane is not None else event
        await self.write(encode(named))

    async def write(self, frame: bytes) -> None:
        """Send one frame. Does nothing once the socket is closed."""
        with suppress(OSError, RuntimeError):  # closed meanwhile
            await self._send({"type": "websocket.send", "text": frame.decode("utf-8", "replace")})

    async def _close(self, code: int) -> None:
        with suppress(OSError, RuntimeError):
            await self._send({"type": "websocket.close", "code": code})


class _Writer:
    """Writes the events of one answer on a lane, and harmless ones in its silences."""

    def __init__(self, session: Session, lane: str | None, world: World) -> None:
        self.lane = lane
        self.has_output = False
        self._session = session
        self._opening = b"{" if lane is None else b'{"stream_id":%b,' % encode(lane)
        self._heartbeat = Heartbeat(world, BEAT_S, self._sign)

    async def frames(self, frames: Sequence[bytes]) -> None:
        """Write events, with the name of the lane."""
        if not frames:
            return
        self.has_output = True
        self._heartbeat.begin_write()
        for frame in frames:
            await self._session.write(self._opening + frame[1:])
        self._heartbeat.end_write()

    def end(self) -> None:
        """Write no more."""
        self._heartbeat.end()

    def _sign(self) -> Coroutine[None, None, None]:
        return self._session.write(self._opening + b'"type":"keepalive"}')


def _without_model(query: str) -> str:
    parts = query.removeprefix("?").split("&")
    kept = "&".join(part for part in parts if part.partition("=")[0] != "model")
    return f"?{kept}" if kept else ""


__all__ = ["MAX_IN_FLIGHT", "MAX_NAMES", "REVOKED", "Session"]
