"""Failures of tools: logged with a traceback, and reported to the model without the message."""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pydantic
import pytest

from trunkline.tools import FunctionTool, OnToolError, ToolFailure, tool

from ..waiting import runs_briefly

SECRET = "sk-secret"


def find(row: str) -> str:
    raise LookupError(f"no row {row}")


async def find_later(row: str) -> str:
    await asyncio.sleep(0)
    raise LookupError(f"no row {row}")


async def hang() -> None:
    await asyncio.get_running_loop().create_future()


def give_objects() -> object:
    return object()


class Picky(pydantic.BaseModel):
    row: str

    @pydantic.field_validator("row")
    @classmethod
    def check(cls, row: str) -> str:
        raise RuntimeError(f"a bug in the validator: {row}")


def take(picky: Picky) -> None: ...


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "trunkline.tools")
    return caplog


async def call(made: FunctionTool, arguments: str = "{}", **options: object) -> str:
    timeout_s = runs_briefly(0.05) if made.name == hang.__name__ else 60
    return await made.call(arguments, timeout_s=timeout_s, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "arguments", "kind", "place"),
    [
        (find, {"row": SECRET}, LookupError, "raise LookupError"),
        (find_later, {"row": SECRET}, LookupError, "raise LookupError"),
        (hang, {}, TimeoutError, "create_future()"),
        (give_objects, {}, TypeError, "raised in trunkline.tools.result"),
        (take, {"picky": {"row": SECRET}}, RuntimeError, "a bug in the validator"),
    ],
)
async def test_a_failure_leaves_a_traceback_in_the_log_and_no_message_for_the_model(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    kind: type[Exception],
    place: str,
    log: pytest.LogCaptureFixture,
) -> None:
    made = FunctionTool.of(function)
    text = await call(made, json.dumps(arguments))
    assert list(json.loads(text)) == ["error"]
    assert made.name in text
    assert kind.__name__ in text
    assert SECRET not in text
    (record,) = log.records
    assert (record.name, record.levelname) == ("trunkline.tools", "ERROR")
    assert made.name in record.getMessage()
    assert SECRET not in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], kind)
    assert place in "".join(traceback.format_exception(record.exc_info[1]))


async def test_arguments_that_do_not_fit_are_no_failure_and_stay_out_of_the_log(
    log: pytest.LogCaptureFixture,
) -> None:
    made = FunctionTool.of(find)
    assert "Expected `str`" in await call(made, '{"row":7}', on_error=lambda failure: "never")
    assert SECRET in await call(made, json.dumps({SECRET: 1, "row": "1"}))
    assert [record.levelname for record in log.records] == ["INFO", "INFO"]
    assert all("find" in record.getMessage() and record.exc_info is None for record in log.records)
    assert not any(SECRET in record.getMessage() for record in log.records)


async def test_on_error_chooses_what_the_model_gets(log: pytest.LogCaptureFixture) -> None:
    failures: list[ToolFailure] = []

    def explain(failure: ToolFailure) -> str:
        failures.append(failure)
        return f"{failure.error} \ud83d"

    assert await call(FunctionTool.of(find), '{"row":"7"}', on_error=explain) == "no row 7 \ufffd"
    (failure,) = failures
    assert failure.tool == "find"
    assert isinstance(failure.error, LookupError)
    assert failure.text == '{"error":"find failed: LookupError"}'
    assert len(log.records) == 1


async def test_on_error_of_a_tool_overrides_that_of_the_call() -> None:
    @tool(on_error=lambda failure: "of the tool")
    def fail() -> None:
        raise LookupError

    assert await call(FunctionTool.of(fail), on_error=lambda failure: "of the call") == "of the tool"


def raises(failure: ToolFailure) -> str:
    raise RuntimeError("a bug")


def returns_no_text(failure: ToolFailure) -> str:
    return 7  # type: ignore[return-value]


@pytest.mark.parametrize("on_error", [raises, returns_no_text])
async def test_an_on_error_that_fails_is_logged_and_the_default_is_used(
    on_error: OnToolError, log: pytest.LogCaptureFixture
) -> None:
    text = await call(FunctionTool.of(find), '{"row":"7"}', on_error=on_error)
    assert text == '{"error":"find failed: LookupError"}'
    first, second = log.records
    assert "on_error" in second.getMessage()
    assert first.exc_info
    assert second.exc_info
