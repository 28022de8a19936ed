"""The service of a fleet in a process of its own, with a line of JSON for each response that it begins.

    python -m tests.fleet.upstream --first-token-s 0.01 --tokens-per-second 300

The first line is the base URL. Each further one is a `Seen`: which conversation and turn the context of the
response belongs to, by the tags in its texts, and whether a part of it was made for another conversation.
The soak compares it with what the caller of the response holds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from trunkline.emulator import Emulator, RequestRecord, ResponseRecord
from trunkline.emulator._service.generation import unseal

from ..promise.canonical import canonical

TAG = re.compile(r"\b(q[0-9a-f]{10})\.(\d+)\b")
"""The conversation and the turn of a text."""
HISTORY = 20_000
"""Responses that the service stores."""
MAX_REMEMBERED = 10 * HISTORY
"""Responses and reasoning items whose conversation is remembered: more than the service stores."""
MAX_RUNNING = 500
"""Responses that may still make reasoning. Those that were abandoned never end."""
_ACTING = "mcp"


class Seen(msgspec.Struct, array_like=True):
    """A response as the service saw its request.

    Attributes:
        id: its id.
        tag: the tag of the newest tagged text: the turn. Empty without tags.
        fingerprint: of the whole context.
        foreign: what was not made for its conversation; empty for nothing.
        acts: the request has a hosted tool that may act.
    """

    id: str
    tag: str
    fingerprint: str
    foreign: str
    acts: bool


def fingerprint(items: Iterable[Mapping[str, Any]], instructions: str | None) -> str:
    """A hash of texts, calls and outputs in their order, and of the instructions."""
    form = canonical(items, ordered=False)
    return blake2b(msgspec.json.encode((form, instructions or "")), digest_size=8).hexdigest()


class Watch:
    """Tells of each response to whom its context, its parent and its reasoning belong.

    Args:
        emulator: the service.
        out: takes each line.
    """

    def __init__(self, emulator: Emulator, out: Any) -> None:
        self._emulator = emulator
        self._out = out
        # Of responses and of reasoning items, by id: the conversations to which they belong.
        self._owners: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._running: list[ResponseRecord] = []

    def __call__(self, request: RequestRecord) -> None:
        """Write the line of a request whose response begins."""
        record = self._emulator.responses.get(request.response_id or "")
        if record is not None and request.error is None:
            self._out.write(msgspec.json.encode(self._seen(record)) + b"\n")
            self._out.flush()

    def _seen(self, record: ResponseRecord) -> Seen:
        context = record.effective_context
        text = msgspec.json.encode(context).decode()
        tags = TAG.findall(f"{record.instructions} {text}")
        owners = frozenset(conversation for conversation, _ in tags)
        self._remember_reasoning()
        self._remember(record.id, owners)
        self._running.append(record)
        acts = any(tool.get("type") == _ACTING for tool in record.tools)
        return Seen(
            record.id,
            ".".join(tags[-1]) if tags else "",
            fingerprint(context, record.instructions),
            self._foreign(record, owners, context),
            acts,
        )

    def _foreign(
        self, record: ResponseRecord, owners: frozenset[str], context: Sequence[Mapping[str, Any]]
    ) -> str:
        if len(owners) > 1:
            return f"texts of {len(owners)} conversations"
        parent = record.previous_response_id
        if parent is not None and (fault := self._fault_of(parent, owners)):
            return f"parent {parent} {fault}"
        for item in context:
            if item.get("type") == "reasoning" and (fault := self._fault_of(_id_of(item), owners)):
                return f"reasoning {_id_of(item)} {fault}"
        return ""

    def _fault_of(self, name: str, owners: frozenset[str]) -> str:
        """What is wrong with a response or a reasoning item; empty if it was made for these conversations."""
        found = self._owners.get(name)
        if found is None:
            return "is not known"
        return "" if found <= owners else f"was made for {' and '.join(sorted(found))}"

    def _remember(self, name: str, owners: frozenset[str]) -> None:
        self._owners[name] = owners
        if len(self._owners) > MAX_REMEMBERED:
            self._owners.popitem(last=False)

    def _remember_reasoning(self) -> None:
        """Note whose the reasoning is that was made since the last request."""
        for record in self._running:
            for item in record.output:
                if item["type"] == "reasoning":
                    self._remember(item["id"], self._owners[record.id])
        self._running = [each for each in self._running if each.status == "in_progress"][-MAX_RUNNING:]


def _id_of(reasoning: Mapping[str, Any]) -> str:
    """The id of a reasoning item, which may be in its encrypted content only."""
    return str(reasoning.get("id") or (unseal(reasoning.get("encrypted_content") or "") or "").split(" ")[0])


async def _serve(emulator: Emulator) -> None:
    out = os.fdopen(sys.stdout.fileno(), "wb", closefd=False)
    async with emulator:
        out.write(f"{emulator.base_url}\n".encode())
        out.flush()
        emulator.on_request.append(Watch(emulator, out))
        await asyncio.Event().wait()


def main() -> None:
    """Serve until the process is ended."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--first-token-s", type=float, default=0.0)
    arguments.add_argument("--tokens-per-second", type=float)
    given = arguments.parse_args()
    emulator = Emulator(
        first_token_s=given.first_token_s, tokens_per_second=given.tokens_per_second, history=HISTORY
    )
    asyncio.run(_serve(emulator))


if __name__ == "__main__":
    main()
