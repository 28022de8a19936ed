from __future__ import annotations

import inspect

import pytest

from trunkline import Client, Deadlines
from trunkline._face.upstream import Settings, limited, unread_bytes
from trunkline._protocol.fields import Fields

BASE = Deadlines(connect=10.0, first_event=10.0, total=None)


def test_the_limits_of_a_stream_are_those_of_its_request() -> None:
    found = limited(BASE, 5.0, 60.0, is_streamed=True)
    assert found == Deadlines(
        connect=5.0, first_event=10.0, first_output=60.0, between_events=60.0, total=None
    )


def test_an_answer_that_is_no_stream_is_complete_within_the_read_timeout() -> None:
    assert limited(BASE, 5.0, 60.0, is_streamed=False).total == 65.0
    assert limited(BASE, None, 60.0, is_streamed=False).total == 60.0


@pytest.mark.parametrize("is_streamed", [True, False])
def test_without_limits_of_the_request_those_of_the_caller_remain(is_streamed: bool) -> None:
    base = Deadlines(connect=10.0, first_event=20.0, total=30.0)
    found = limited(base, None, None, is_streamed=is_streamed)
    assert found == Deadlines(
        connect=10.0, first_event=20.0, first_output=None, between_events=None, total=30.0
    )


def test_the_shorter_limit_counts() -> None:
    found = limited(Deadlines(total=30.0), 20.0, 5.0, is_streamed=False)
    assert (found.connect, found.first_event, found.total) == (10.0, 5.0, 25.0)


def test_nothing_of_the_settings_is_shown() -> None:
    assert "secret" not in repr(Settings(proxy="http://user:secret@proxy:1"))


def test_the_fields_that_the_service_repeats_need_no_reader() -> None:
    small = unread_bytes(1000, Fields.of({"model": "m"}))
    assert 1000 < small < 1200
    assert unread_bytes(1000, Fields.of({"model": "m", "instructions": "i" * 5000})) > small + 2 * 5000
    assert unread_bytes(1000, Fields.of({"model": "m", "tools": [{"type": "image_generation"}]})) > 16_000


def test_the_defaults_are_those_of_a_client() -> None:
    settings, parameters = Settings(), inspect.signature(Client).parameters
    for name in ("ping_interval_s", "max_buffered_bytes", "log_content"):
        assert getattr(settings, name) == parameters[name].default
