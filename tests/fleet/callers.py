"""Callers of a fleet: conversations that keep their own history, by each client that can hold them.

A caller takes one turn and notes what it hears as it hears it, so that a broken turn shows its part. It never
repeats a turn; its client may.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import openai
from openai import AsyncOpenAI

import trunkline
from trunkline.events import OutputTextDelta, ResponseCreated

from ..talk import WEATHER, assistant

JSON = dict[str, Any]
FUNCTIONS: list[JSON] = [WEATHER]
ACTING: JSON = {"type": "mcp", "server_label": "orders", "server_url": "https://orders.example/mcp"}
"""A hosted tool that may act: a request with it must never run twice."""


@dataclass
class Asked:
    """A turn.

    Attributes:
        held: the history before the turn.
        new: the items of the turn.
        model: the emulator's model.
        is_streamed: the answer is a stream, where the caller has the choice.
    """

    held: Sequence[JSON]
    new: Sequence[JSON]
    model: str
    is_streamed: bool


@dataclass
class Heard:
    """What a caller heard of one turn.

    Attributes:
        beginnings: the number of responses that began.
        text: the text of all deltas; of a whole answer its text.
        response_id: the id of the response; empty without a complete one.
        output: the output of a complete response.
        full_text: the text of that output.
        has_output: output of an incomplete response was heard, perhaps without text.
    """

    beginnings: int = 0
    text: str = ""
    response_id: str = ""
    output: list[JSON] = field(default_factory=list)
    full_text: str = ""
    has_output: bool = False


class Caller(Protocol):
    """One conversation."""

    async def take(self, turn: Asked, heard: Heard) -> None:
        """Take a turn.

        Raises:
            trunkline.TurnError, openai.OpenAIError: the turn failed.
        """

    def after(self, turn: Asked, heard: Heard, held: Sequence[JSON]) -> None:
        """The caller's history is this one, after a complete or partial answer."""

    def rewrite(self, held: Sequence[JSON]) -> None:
        """Replace the history."""


class Chat:
    """A conversation of `trunkline.Client`, which keeps the history itself."""

    def __init__(self, client: trunkline.Client, settings: JSON) -> None:
        self._chat = client.conversation(model="echo", **settings)

    async def take(self, turn: Asked, heard: Heard) -> None:
        await _listen(self._chat.send(turn.new, model=turn.model), heard)

    def after(self, turn: Asked, heard: Heard, held: Sequence[JSON]) -> None:
        pass

    def rewrite(self, held: Sequence[JSON]) -> None:
        self._chat.replace(held)


class Keyed:
    """A history given to `trunkline.Client.stream`, by its key or without one."""

    def __init__(self, client: trunkline.Client, key: str | None, settings: JSON) -> None:
        self._client = client
        self._key = key
        self._settings = settings

    async def take(self, turn: Asked, heard: Heard) -> None:
        whole = [*turn.held, *turn.new]
        await _listen(
            self._client.stream(model=turn.model, input=whole, key=self._key, **self._settings), heard
        )

    def after(self, turn: Asked, heard: Heard, held: Sequence[JSON]) -> None:
        pass

    def rewrite(self, held: Sequence[JSON]) -> None:
        pass


class Sdk:
    """A conversation of the openai SDK, plain or with the drop-in.

    Args:
        client: the SDK.
        key: the value of ``x-trunkline-key``.
        chains: each turn names the response before it, and brings its own items only.
        settings: the fields of each request.
    """

    def __init__(self, client: AsyncOpenAI, key: str | None, *, chains: bool, settings: JSON) -> None:
        self._client = client
        self._headers = {"x-trunkline-key": key} if key is not None else {}
        self._chains = chains
        self._settings = settings
        self._parent: str | None = None
        self._known = 0

    async def take(self, turn: Asked, heard: Heard) -> None:
        parent = self._parent
        try:
            await self._take(turn, heard, parent)
        except openai.BadRequestError as error:
            if error.code != "previous_response_not_found":
                raise
            # It chains by ids that are not stored, and its replica is gone: see docs/gateway.md.
            self._parent, self._known = None, 0
            raise

    async def _take(self, turn: Asked, heard: Heard, parent: str | None) -> None:
        held = turn.held[self._known :] if parent is not None else turn.held
        fields = {
            **self._settings,
            "model": turn.model,
            "input": [*held, *turn.new],
            "extra_headers": self._headers,
        }
        if parent is not None:
            fields["previous_response_id"] = parent
        if not turn.is_streamed:
            response = await self._client.responses.create(**fields)
            heard.beginnings = 1
            heard.text = response.output_text
            _complete(response, heard)
            return
        stream = await self._client.responses.create(**fields, stream=True)
        async with stream:
            async for event in stream:
                if event.type == "response.created":
                    heard.beginnings += 1
                elif event.type == "response.output_text.delta":
                    heard.text += event.delta
                elif event.type == "response.completed":
                    _complete(event.response, heard)
                elif event.type == "error":  # one amid the stream, which the SDK passes on as an event
                    raise openai.OpenAIError(f"error {event.code}")
                elif event.type in ("response.failed", "response.incomplete"):
                    raise openai.OpenAIError(event.type)

    def after(self, turn: Asked, heard: Heard, held: Sequence[JSON]) -> None:
        if self._chains and heard.response_id:
            self._parent, self._known = heard.response_id, len(held)

    def rewrite(self, held: Sequence[JSON]) -> None:
        self._parent, self._known = None, 0


def _complete(response: Any, heard: Heard) -> None:
    heard.response_id = response.id
    heard.output = [item.model_dump(mode="json", exclude_none=True) for item in response.output]
    heard.full_text = response.output_text


async def _listen(stream: trunkline.ResponseStream, heard: Heard) -> None:
    try:
        async with stream:
            async for event in stream:
                if isinstance(event, ResponseCreated):
                    heard.beginnings += 1
                elif isinstance(event, OutputTextDelta):
                    heard.text += event.delta
    except trunkline.TurnError as error:
        heard.has_output = error.output_seen
        raise
    response = stream.response
    heard.response_id = response.id
    heard.output = [dict(item) for item in response.output]
    heard.full_text = response.output_text


def held_after(turn: Asked, heard: Heard, *, keeps_reasoning: bool) -> list[JSON]:
    """The history after a turn: with the output of a complete one, or the text heard of a broken one."""
    if heard.response_id:
        output: Sequence[Mapping[str, Any]] = heard.output
        kept = [dict(item) for item in output if keeps_reasoning or item["type"] != "reasoning"]
    elif heard.text or heard.has_output:
        kept = [assistant(heard.text)] if heard.text else []
    else:
        return list(turn.held)
    return [*turn.held, *turn.new, *kept]
