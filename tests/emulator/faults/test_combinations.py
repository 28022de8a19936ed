"""Several faults at one event, on each server: each combination is sent, whatever another has removed."""

from __future__ import annotations

import json
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from trunkline.emulator import Action, Fault, Faults
from trunkline.emulator._protocol.events import Event
from trunkline.emulator._service.moves import HangUp, Move, Raw, Wait
from trunkline.emulator._wire.shaping import shape
from trunkline.emulator.faults import Place
from trunkline.emulator.quirks import QUIRKS, combined

ELSEWHERE: Final = {
    "refuse_upgrade",
    "ignore_upgrade",
    "reject",
    "forget",
    "slow_read",
    "ignore_parent",
    "one_place",
}
AT_EVENTS: Final = [action for action in Action if action not in ELSEWHERE]
UNKNOWN: Final = "response.emulator.unheard_of"
EVENTS: Final[dict[str, dict[str, Any]]] = {
    "response.output_text.delta": {"sequence_number": 4, "item_id": "msg_1", "delta": "hello"},
    "response.failed": {
        "sequence_number": 5,
        "response": {"error": {"code": "server_error", "message": "m"}},
    },
    "error": {"status": 429, "error": {"code": "rate_limit_exceeded", "headers": {"retry-after": "1"}}},
}
FIELDS: Final = ("type", "sequence_number", "error", "response", "status")

faults = st.builds(
    Fault,
    st.sampled_from(AT_EVENTS),
    times=st.sampled_from((1, None)),
    seconds=st.just(0.1),
    size_bytes=st.just(300),
    fields=st.lists(st.sampled_from(FIELDS), min_size=1).map(tuple),
)


def event_of(kind: str) -> Event:
    return Event(kind, json.dumps({"type": kind} | EVENTS[kind], separators=(",", ":")).encode())


@given(
    st.lists(faults, min_size=1, max_size=6), st.sampled_from(list(EVENTS)), st.sampled_from(["", *QUIRKS])
)
def test_faults_at_one_event_are_all_sent(laid: list[Fault], kind: str, quirk: str) -> None:
    place = Place(connection=1, request=1, lane=None)
    events: list[Move] = [event_of(kind)]
    sent = list(shape(Faults(laid).play(iter(events), place), combined([quirk] if quirk else [])))
    assert all(isinstance(move, Event | HangUp | Raw | Wait) for move in sent)
    for move in sent:
        if isinstance(move, Event):
            content = json.loads(move.data)
            assert (move.type == UNKNOWN) == (content.get("detail") == {"anything": [1, None, "x"]})


def test_an_invented_event_before_an_error_stays_as_it_is() -> None:
    for action in ("flat_error", "codex_error", "omit", "unknown_field", "oversize", "truncate"):
        alone = list(Faults([Fault("unknown_event")]).play(iter([event_of("error")]), Place()))
        struck = list(
            Faults([Fault("unknown_event"), Fault(action, fields=("status",))]).play(
                iter([event_of("error")]), Place()
            )
        )
        assert struck[0] == alone[0]
        assert len(struck) == 2
        assert struck[1] != alone[1]
