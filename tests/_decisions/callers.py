"""Callers of one service for the tests of the lineage: they send histories, and the service answers.

The service holds for each response what the model saw, hidden items included, so that a test can tell whose
hidden items are in a context.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trunkline._decisions.baselines import Baseline, Plan
from trunkline._decisions.lineage import Answered, Asked, Lineage, LineageLimits, Place
from trunkline._protocol.history import History
from trunkline._protocol.items import Item

JSON = dict[str, Any]


def user(text: str) -> JSON:
    return {"type": "message", "role": "user", "content": text}


def of(items: Sequence[JSON]) -> History:
    return History.of([Item.received(json.dumps(item).encode()) for item in items])


def asked(
    items: Sequence[JSON],
    *,
    instructions: str = "",
    fields: str = "",
    parent_id: str | None = None,
    key: str | None = None,
    has_context: bool = False,
    compacts: bool = False,
) -> Asked:
    """A request with these items, instructions and other fields."""
    other = b"fields " + fields.encode()
    return Asked(other + instructions.encode(), other, of(items), parent_id, key, has_context, compacts)


@dataclass
class Made:
    """A response.

    Attributes:
        id: its id.
        output: its output, as the caller gets it.
        context: what the model saw, and the output.
        place: the place of its request.
        mode: whether the request named a parent.
    """

    id: str
    output: list[JSON]
    context: list[JSON]
    place: Place
    mode: str


@dataclass
class Service:
    """A service that stores all responses, unless a test deletes them.

    Attributes:
        lineage: the memory under test.
        now: the time.
        made: the responses by id.
    """

    lineage: Lineage = field(default_factory=Lineage)
    now: float = 0.0
    made: dict[str, Made] = field(default_factory=dict)
    numbers: Any = field(default_factory=itertools.count)

    def plan(self, place: Place) -> Plan:
        """What the core sends: the delta after the longest baseline, else everything."""
        if place.owner is None:
            return Plan(None, place.context.items())
        return place.owner.baselines.plan(place.context, "m", lambda parent: parent.response_id in self.made)

    def begin(self, request: Asked) -> Place:
        return self.lineage.find(request, self.now)

    def end(
        self,
        place: Place,
        output: Sequence[JSON],
        *,
        response_id: str | None = None,
        is_stored: bool = True,
        is_complete: bool = True,
    ) -> Made:
        """The response to a request, recorded."""
        name = response_id if response_id is not None else f"resp_{next(self.numbers)}"
        plan = self.plan(place)
        before = self.made[plan.parent.response_id].context if plan.parent is not None else []
        sent = [item.json() for item in plan.delta if item.is_resendable or item.has_id]
        items = tuple(Item.from_output(json.dumps(item).encode()) for item in output)
        made = Made(name, list(output), [*before, *sent, *output], place, "full" if plan.is_full else "delta")
        self.made[name] = made
        if place.owner is not None and is_complete:
            context = place.context
            place.owner.baselines.commit(
                Baseline(name, "m", is_stored, None, len(context), context.mark, items)
            )
        self.lineage.record(place, Answered(name, items, output, is_stored), self.now)
        return made

    def turn(self, request: Asked, output: Sequence[JSON], **how: Any) -> Made:
        """A request and its response."""
        return self.end(self.begin(request), output, **how)


def service(**limits: Any) -> Service:
    """A service with a lineage of these limits."""
    return Service(Lineage(LineageLimits(**limits)))
