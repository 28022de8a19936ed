"""Compaction of a history by the service: ``POST /responses/compact``.

The service has no frame for it, so it goes over HTTP, also where turns use WebSocket. Failures are retried by
the rules of turns.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from .._decisions.recovery import Action, Facts, decide
from .._network.transports import Transports
from .._protocol.decoding import decode as decode_event
from .._protocol.document import document_frame
from .._protocol.events import ErrorEvent
from .._protocol.failure import Failure
from .._protocol.fields import Fields
from .._protocol.frames import compact_body
from .._protocol.history import History
from .._protocol.items import Item
from .._protocol.json import JSON, decode, encode
from .._protocol.refusals import refusal
from ..errors import ProtocolViolation
from ..options import Phase
from .settings import TurnSettings

_PATH: Final = "/compact"
_NOT_OFFERED: Final = frozenset(
    {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}
)


async def compact(
    transports: Transports, fields: Fields, history: History, settings: TurnSettings
) -> tuple[JSON, list[Item]]:
    """The service's answer, and the items that stand for the history from now on.

    Raises:
        TurnError: the last failure, if no further attempt is possible or permitted.
        ClientClosed: the client takes no new turns, or was closed.
    """
    transports.begin_turn()
    try:
        transports.check_admits()
        answer = await _answer(transports, compact_body(fields, history), settings)
    finally:
        transports.turn_ended()
    return _read(answer)


async def _answer(transports: Transports, body: bytes, settings: TurnSettings) -> bytes:
    world, total_s = transports.world, settings.deadlines.total
    started_at, attempt = world.clock(), 1
    while True:
        transports.check_open()
        content = await _attempt(transports, body, settings, started_at)
        if not isinstance(content, Failure):
            return content
        facts = Facts(
            failure=content,
            output_seen=False,
            attempt=attempt,
            remaining_s=None if total_s is None else started_at + total_s - world.clock(),
            may_replay=True,  # a compaction changes nothing
            names_parent=False,
            in_full=True,
            jitter=world.random(),
        )
        decision = decide(facts, settings.policy)
        if decision.action is Action.RAISE:
            raise content.exception()
        attempt += 1
        await transports.pause(decision.delay_s)


async def _attempt(
    transports: Transports, body: bytes, settings: TurnSettings, started_at: float
) -> bytes | Failure:
    now = transports.world.clock()
    due = settings.deadlines.due(Phase.FIRST_OUTPUT, started_at, now)
    try:
        async with asyncio.timeout(due.at - now if due is not None else None):
            answer = await transports.http.post_document(_PATH, body, patient=settings.policy.waits)
    except TimeoutError:
        if due is None:
            raise
        return Failure.deadline(due.phase, due.waited_s, sent=True)
    if isinstance(answer, Failure):
        return answer
    if answer.status == HTTPStatus.OK:
        return answer.content
    event = decode_event(document_frame(answer.content, answer.status, answer.headers))
    assert isinstance(event, ErrorEvent)
    failure = refusal(event, started=False, now=transports.world.wall_clock())
    if answer.status in _NOT_OFFERED:
        remedy = "the server may not offer compaction; shorten the history with replace()"
        return replace(failure, message=f"{failure.message}; {remedy}")
    return failure


def _read(content: bytes) -> tuple[JSON, list[Item]]:
    """The service's answer, and the items of its output.

    Raises:
        ProtocolViolation: it is no answer to a compaction.
    """
    try:
        answer = decode(content)
        output = answer["output"]
        if not output or not all(isinstance(item, dict) for item in output):
            raise ValueError
        # A copy: ids of items have no meaning in a request.
        return answer, [Item.from_output(encode(item)) for item in output]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ProtocolViolation(
            "the answer to a compaction has no output items; check base_url", sent=True
        ) from None
