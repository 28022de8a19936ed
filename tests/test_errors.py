from __future__ import annotations

import copy
import inspect
import multiprocessing
import pickle
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

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
    SteerRefused,
    TrunklineError,
    TurnError,
    UpgradeRefused,
)

from .built import Builder, classes

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


class Refusal(ConfigurationError):
    """An application's exception, with its own parameters and message."""

    def __init__(self, city: str, count: int) -> None:
        super().__init__(f"{city} is refused {count} times", argument="city")
        self.city = city
        self.count = count


class Late(DeadlineExceeded):
    def __init__(self, city: str, count: int) -> None:
        super().__init__("total", count)
        self.city = city
        self.count = count


class WithSlots(TurnError):
    __slots__ = ("city", "count")

    def __init__(self, city: str, count: int) -> None:
        super().__init__(city, sent=True)
        self.city = city
        self.count = count


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


def test_every_exception_has_a_docstring() -> None:
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


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            DeadlineExceeded("first_event", 2.5),
            "no event within 2.5 s of sending the request; to wait longer, raise Deadlines.first_event",
        ),
        (
            DeadlineExceeded("a_new_phase", 1),
            "nothing received within 1 s; to wait longer, raise Deadlines.a_new_phase",
        ),
        (
            UpgradeRefused(401, headers={}),
            "the server refused the WebSocket upgrade with HTTP status 401; check api_key and headers",
        ),
        (
            UpgradeRefused(503, headers={}, retry_after_s=2.0),
            "the server refused the WebSocket upgrade with HTTP status 503; retry after 2 s",
        ),
        (UpgradeRefused(500, headers={}), "the server refused the WebSocket upgrade with HTTP status 500"),
        (
            MaxTurnsExceeded(7),
            "the model still calls tools after 7 responses; raise max_turns, or continue with run([])",
        ),
        (
            SlowConsumer(3),
            "the stream's buffer is full (3 unread events); "
            "read faster, or raise max_buffered_events and max_buffered_bytes",
        ),
        (
            SlowConsumer(3, buffered_bytes=20_000_000),
            "the stream's buffer is full (3 unread events of 20,000,000 bytes); "
            "read faster, or raise max_buffered_events and max_buffered_bytes",
        ),
        (ResponseRefused("too fast"), "too fast"),
        (
            ResponseRefused("too fast", status=429, code="slow_down", retry_after_s=1.5, request_id="req_1"),
            "too fast (HTTP status 429, code slow_down, retry after 1.5 s, request req_1)",
        ),
        (
            ResponseRefused("HTTP status 503: slow_down", status=503, code="slow_down"),
            "HTTP status 503: slow_down",
        ),
    ],
)
def test_messages_are_rendered_from_the_facts(error: TrunklineError, message: str) -> None:
    assert str(error) == message


def test_a_refused_steer_carries_its_code_and_its_input() -> None:
    refused = errors.SteerRefused("handed back", code="steering_not_supported", input="and Rome?")
    assert (str(refused), refused.code, refused.input) == (
        "handed back",
        "steering_not_supported",
        "and Rome?",
    )


def test_a_refused_upgrade_names_transport_http_as_remedy() -> None:
    assert "transport='http'" in str(UpgradeRefused(426, headers={}))


def test_messages_are_rendered_from_the_current_facts() -> None:
    error = SlowConsumer(3)
    error.buffered = 4
    assert "4 unread events" in str(error)


def test_a_deadline_is_a_timeout_and_a_wrong_argument_a_value_error() -> None:
    with pytest.raises(TimeoutError, match="first_event"):
        raise DeadlineExceeded("first_event", 1)
    with pytest.raises(ValueError, match="wrong"):
        raise ConfigurationError("wrong", argument="model")
    assert ConfigurationError("wrong", argument="model").argument == "model"


# Copies. Process pools, Celery and Ray pickle exceptions.


def tree(*roots: type[BaseException]) -> Iterator[type[BaseException]]:
    """The classes and all their subclasses."""
    for root in roots:
        yield root
        yield from tree(*root.__subclasses__())


DEFINED = [
    cls
    for cls in classes()
    if issubclass(cls, TrunklineError) or (issubclass(cls, Exception) and not cls.__name__.startswith("_"))
]
"""Every exception that the package defines, without private ones, which never reach the caller."""


def through_pickle(error: BaseException, protocol: int) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": partial(through_pickle, protocol=protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


def example(cls: type[BaseException]) -> BaseException:
    """An exception with a value for every parameter of its constructor."""
    if not inspect.isfunction(cls.__init__):
        return cls("a message")
    return Builder().build(cls)


def assert_same(twin: BaseException, error: BaseException) -> None:
    assert type(twin) is type(error)
    assert twin is not error
    assert (str(twin), repr(twin), twin.args) == (str(error), repr(error), error.args)
    assert vars(twin) == vars(error)


def test_the_walk_finds_every_exception() -> None:
    assert {*CLASSES} <= {*DEFINED}
    assert {*DEFINED} >= {cls for cls in tree(TrunklineError) if cls.__module__.startswith("trunkline")}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("cls", DEFINED, ids=lambda cls: cls.__name__)
def test_every_exception_survives_copies_with_all_attributes(cls: type[BaseException], how: str) -> None:
    error = example(cls)
    assert str(error)
    error.later = ["set afterwards"]  # type: ignore[attr-defined]
    error.add_note("a note")
    error.__cause__ = OSError(threading.Lock())  # cannot be pickled, and is not copied
    twin = COPIES[how](error)
    assert_same(twin, error)


@pytest.mark.parametrize("cls", DEFINED, ids=lambda cls: cls.__name__)
def test_facts_given_to_an_exception_are_its_attributes(cls: type[BaseException]) -> None:
    if inspect.isfunction(cls.__init__):
        given = Builder().arguments(cls)
        error = cls(**given)
        told = given.pop("message", None)
        assert told is None or told in str(error)
        assert given.items() <= vars(error).items()


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("cls", [Refusal, Late, WithSlots])
def test_exceptions_derived_from_ours_survive_copies(cls: type[TrunklineError], how: str) -> None:
    error: Any = cls("Oslo", 3)
    twin = COPIES[how](error)
    assert_same(twin, error)
    assert (twin.city, twin.count) == ("Oslo", 3)


def test_an_exception_may_refer_to_itself() -> None:
    error: Any = ConnectionLost()
    error.first = error
    for twin in (copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert twin.first is twin


def test_a_note_on_a_copy_is_not_on_the_original() -> None:
    error = ConnectionLost()
    error.add_note("of all")
    twin = copy.copy(error)
    twin.add_note("of one turn")
    assert error.__notes__ == ["of all"]


def test_a_process_pool_raises_the_exception_of_its_worker() -> None:
    program = "import trunkline; raise trunkline.DeadlineExceeded('first_event', 15.0, sent=True)"
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as workers:
        with pytest.raises(DeadlineExceeded) as failure:
            workers.submit(exec, program).result(timeout=60)
        assert (failure.value.phase, failure.value.sent) == ("first_event", True)


def test_a_repr_shows_the_type_and_the_message_alone() -> None:
    refused = SteerRefused("not now", code="c", input="secret")
    failed = ResponseFailed("failed", response={"output": "secret"}, code="c")
    upgrade = UpgradeRefused(401, headers={"x": "secret"}, body=b"secret")
    assert repr(refused) == "SteerRefused('not now')"
    assert repr(upgrade) == f"UpgradeRefused({str(upgrade)!r})"
    assert "secret" not in f"{refused} {failed!r} {failed} {upgrade}"


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
def test_is_transient_tells_whether_a_retry_may_help(error: errors.ServiceError, is_transient: bool) -> None:
    assert error.is_transient is is_transient
