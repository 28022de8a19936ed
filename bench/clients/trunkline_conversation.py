"""trunkline, with a `Conversation` that keeps the history."""

from __future__ import annotations

from typing import Literal

from clients.base import API_KEY, MODEL, Client, Heard, Seed, Talk, Told, tool_function
from trunkline import Client as Trunkline
from trunkline import InstructionsPlacement, PoolLimits, World
from trunkline.events import OutputTextDelta, ServerEvent

LIMITS = PoolLimits(max_connections=200)


class TrunklineTalk(Talk):
    """A conversation."""

    placement: InstructionsPlacement = "field"

    def __init__(self, client: Trunkline, seed: Seed) -> None:
        self._new = ""
        tools = [tool_function(index) for index in range(seed.tools)]
        self._chat = client.conversation(
            model=MODEL,
            instructions=seed.instructions,
            instructions_placement=self.placement,
            tools=tools,
            items=seed.messages(),
        )

    def say(self, text: str) -> None:
        self._new = text

    async def ask(self, heard: Heard | None = None, limit: int = 0) -> Told:
        deltas = 0
        async with self._chat.send(self._new) as stream:
            async for event in stream:
                if type(event) is OutputTextDelta:
                    deltas += 1
                    if heard is not None:
                        heard(event.delta)
                    if deltas == limit:
                        break
        return Told(deltas)

    async def work(self) -> Told:
        responses = 0

        def count(event: ServerEvent) -> None:
            nonlocal responses
            responses += event.type == "response.completed"

        await self._chat.run(self._new, max_turns=1000, on_event=count)
        return Told(0, responses)

    async def prepare(self) -> None:
        await self._chat.warm()


class MessageTalk(TrunklineTalk):
    """A conversation whose instructions are a message, as with ``api.openai.com``."""

    placement = "message"


class PushTalk(TrunklineTalk):
    """A conversation whose events are passed to a function."""

    async def ask(self, heard: Heard | None = None, limit: int = 0) -> Told:
        if limit:
            return await super().ask(heard, limit)
        deltas = 0

        def hear(event: ServerEvent) -> None:
            nonlocal deltas
            if type(event) is OutputTextDelta:
                deltas += 1
                if heard is not None:
                    heard(event.delta)

        async with self._chat.send(self._new) as stream:
            await stream.finish(hear)
        return Told(deltas)


class TrunklineConversation(Client):
    """One client, one pool."""

    speed = 250_000
    transport: Literal["websocket", "http"] = "websocket"
    talks = TrunklineTalk
    world = World()

    async def open(self, url: str) -> None:
        self._client = Trunkline(
            base_url=url,
            api_key=API_KEY,
            lanes=True,
            limits=LIMITS,
            transport=self.transport,
            world=self.world,
            max_buffered_bytes=2**30,
            max_buffered_events=1_000_000,  # a saturated stream buffers many events between two reads
        )

    async def talk(self, seed: Seed) -> Talk:
        return self.talks(self._client, seed)

    async def warm(self, sockets: int) -> None:
        await self._client.warm(model=MODEL, connections=sockets)

    async def close(self) -> None:
        await self._client.close()


class TrunklinePush(TrunklineConversation):
    """The same, read with `finish(on_event)`."""

    talks = PushTalk


class TrunklineMessage(TrunklineConversation):
    """The same with the instructions as a message at the beginning of the context, sent once."""

    talks = MessageTalk


class TrunklineHttp(TrunklineConversation):
    """The same over HTTP, chained by id."""

    speed = 20_000
    transport = "http"
