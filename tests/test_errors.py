from __future__ import annotations

import inspect
import re

import pytest

from trunkline import errors
from trunkline.errors import (
    ConfigurationError,
    ConnectionLost,
    DeadlineExceeded,
    MaxTurnsExceeded,
    ResponseFailed,
    ResponseRefused,
    SlowConsumer,
    TrunklineError,
    TurnError,
    UpgradeRefused,
)

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, TrunklineError)]
EXAMPLES: list[TurnError] = [
    SlowConsumer(3),
    DeadlineExceeded("first_event", 2.5, sent=True),
    errors.ConnectFailed("no route"),
    UpgradeRefused(426, headers={"server": "x"}, body=b"no", retry_after_s=1.0),
    ConnectionLost(close_code=1006, reason="gone", sent=True, started=True),
    errors.ProtocolViolation("not JSON"),
    ResponseRefused(
        "slow down", code="c", status=429, error_type="t", param="p", retry_after_s=2.0, request_id="r"
    ),
    ResponseFailed("failed", response={"id": "resp_1"}, code="c", response_id="resp_1", started=True),
]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    parents: list[tuple[int, str]] = []
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│├└─ ]*)([A-Z]\w+)(?: \((\w+)\))?", line)
        if found is None:
            continue
        depth = len(found[1]) // 4
        parents = [(level, name) for level, name in parents if level < depth]
        drawn[found[2]] = ([name for _, name in parents[-1:]] or ["Exception"]) + [found[3]] * bool(found[3])
        parents.append((depth, found[2]))
    real = {cls.__name__: [base.__name__ for base in cls.__bases__] for cls in CLASSES}
    real["DeadlineExceeded"].remove("TimeoutError")
    assert drawn == real


def test_every_exception_says_what_it_is_for() -> None:
    assert all(cls.__doc__ for cls in CLASSES)


def test_local_network_and_service_faults_are_different_types() -> None:
    assert not issubclass(errors.NetworkError, errors.ServiceError)
    assert not issubclass(SlowConsumer, (errors.NetworkError, errors.ServiceError))
    assert not issubclass(errors.UsageError, TurnError)


def test_a_turn_error_begins_with_no_output_seen() -> None:
    assert all(error.output_seen is False for error in EXAMPLES)


def test_facts_are_fields() -> None:
    refused = EXAMPLES[6]
    assert isinstance(refused, ResponseRefused)
    assert (refused.code, refused.status, refused.error_type, refused.param) == ("c", 429, "t", "p")
    assert (refused.retry_after_s, refused.request_id, refused.response_id) == (2.0, "r", None)
    assert (refused.sent, refused.started) == (True, False)
    lost = ConnectionLost(close_code=1006, reason="gone", sent=True, started=True)
    assert (lost.close_code, lost.reason, lost.sent, lost.started) == (1006, "gone", True, True)
    failed = ResponseFailed("failed", response={"id": "resp_1"}, code="c", response_id="resp_1", started=True)
    assert (failed.response, failed.code, failed.started) == ({"id": "resp_1"}, "c", True)
    upgrade = UpgradeRefused(426, headers={"server": "x"}, body=b"no", retry_after_s=1.0)
    assert (upgrade.status, upgrade.headers, upgrade.body, upgrade.sent) == (
        426,
        {"server": "x"},
        b"no",
        False,
    )


def test_messages_are_rendered_from_the_facts() -> None:
    assert str(DeadlineExceeded("first_event", 2.5)) == "first_event: nothing came within 2.5 s"
    assert "HTTP status 426" in str(UpgradeRefused(426, headers={}))
    assert "after 7 responses" in str(MaxTurnsExceeded(7))
    assert MaxTurnsExceeded(7).max_turns == 7
    assert str(SlowConsumer(3)).startswith("3 events were waiting")


def test_a_deadline_is_a_timeout_and_a_wrong_argument_a_value_error() -> None:
    with pytest.raises(TimeoutError, match="first_event"):
        raise DeadlineExceeded("first_event", 1)
    with pytest.raises(ValueError, match="wrong"):
        raise ConfigurationError("wrong", argument="model")
    assert ConfigurationError("wrong", argument="model").argument == "model"


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_a_fresh_twin_has_the_same_facts_and_is_another_exception(error: TurnError) -> None:
    twin = error.fresh()
    assert type(twin) is type(error)
    assert twin is not error
    assert str(twin) == str(error) != ""
    assert vars(twin) == vars(error)
    twin.output_seen = True
    assert not error.output_seen


@pytest.mark.parametrize(
    ("error", "is_transient"),
    [
        (ResponseRefused("x", status=429), True),
        (ResponseRefused("x", status=503), True),
        (ResponseRefused("x", code="rate_limit_exceeded"), True),
        (ResponseRefused("x", error_type="server_error"), True),
        (ResponseRefused("x", status=400, code="invalid_prompt"), False),
        (ResponseRefused("x"), False),
        (ResponseFailed("x"), True),
        (ResponseFailed("x", code="server_error"), True),
        (ResponseFailed("x", code="invalid_prompt"), False),
    ],
)
def test_errors_of_the_service_say_whether_asking_later_may_help(
    error: errors.ServiceError, is_transient: bool
) -> None:
    assert error.is_transient is is_transient
