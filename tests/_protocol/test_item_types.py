"""The types of items and fields know what the openai package knows."""

from __future__ import annotations

import typing
from typing import Any

import pytest
from openai.types.responses import (
    EasyInputMessageParam,
    ResponseCompactionItemParamParam,
    ResponseCustomToolCallOutputParam,
    ResponseCustomToolCallParam,
    ResponseFunctionToolCallParam,
    ResponseInputFileParam,
    ResponseInputImageParam,
    ResponseInputTextParam,
    ResponseOutputMessageParam,
    ResponseOutputRefusalParam,
    ResponseOutputTextParam,
    ResponsePromptParam,
    ResponseReasoningItemParam,
    ResponseTextConfigParam,
    response_create_params,
    response_input_item_param,
)
from openai.types.shared_params import Reasoning

import trunkline
from trunkline._protocol.fields import Fields

PAIRS: list[tuple[Any, Any]] = [
    (trunkline.InputText, ResponseInputTextParam),
    (trunkline.InputImage, ResponseInputImageParam),
    (trunkline.InputFile, ResponseInputFileParam),
    (trunkline.OutputText, ResponseOutputTextParam),
    (trunkline.Refusal, ResponseOutputRefusalParam),
    (trunkline.Message, EasyInputMessageParam),
    (trunkline.Message, response_input_item_param.Message),
    (trunkline.Message, ResponseOutputMessageParam),
    (trunkline.FunctionCall, ResponseFunctionToolCallParam),
    (trunkline.FunctionCallOutput, response_input_item_param.FunctionCallOutput),
    (trunkline.CustomToolCall, ResponseCustomToolCallParam),
    (trunkline.CustomToolCallOutput, ResponseCustomToolCallOutputParam),
    (trunkline.ComputerCallOutput, response_input_item_param.ComputerCallOutput),
    (trunkline.LocalShellCallOutput, response_input_item_param.LocalShellCallOutput),
    (trunkline.ShellCallOutput, response_input_item_param.ShellCallOutput),
    (trunkline.ApplyPatchCallOutput, response_input_item_param.ApplyPatchCallOutput),
    (trunkline.McpApprovalResponse, response_input_item_param.McpApprovalResponse),
    (trunkline.ReasoningItem, ResponseReasoningItemParam),
    (trunkline.Compaction, ResponseCompactionItemParamParam),
    (trunkline.CompactionTrigger, response_input_item_param.CompactionTrigger),
    (trunkline.ItemReference, response_input_item_param.ItemReference),
    (trunkline.ReasoningOptions, Reasoning),
    (trunkline.TextOptions, ResponseTextConfigParam),
    (trunkline.PromptCacheOptions, response_create_params.PromptCacheOptions),
    (trunkline.ContextManagement, response_create_params.ContextManagement),
    (trunkline.PromptReference, ResponsePromptParam),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda each: each.__name__)
def test_a_type_has_every_field_that_the_openai_package_knows(ours: Any, theirs: Any) -> None:
    missing = typing.get_type_hints(theirs).keys() - typing.get_type_hints(ours).keys()
    assert missing == set()


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda each: each.__name__)
def test_the_type_of_an_item_is_its_name_on_the_wire(ours: Any, theirs: Any) -> None:
    name, known = (typing.get_type_hints(each).get("type") for each in (ours, theirs))
    if name is not None and known is not str:
        assert typing.get_args(name)[0] in repr(known)


def test_every_item_that_applications_write_is_of_the_union() -> None:
    items = {ours for ours, theirs in PAIRS if "input_item" in theirs.__module__}
    assert items <= set(typing.get_args(trunkline.InputItem))


REFUSED = {"background", "background_options", "stream", "stream_options"}
ARGUMENTS = {"input"}


def test_every_field_of_a_request_is_known_or_an_argument_or_refused() -> None:
    theirs = typing.get_type_hints(response_create_params.ResponseCreateParamsStreaming).keys()
    ours = typing.get_type_hints(trunkline.TurnFields).keys()
    assert theirs - ours - ARGUMENTS - REFUSED == set()
    assert not ours & REFUSED


def test_a_field_that_has_a_type_is_not_refused() -> None:
    for name in typing.get_type_hints(trunkline.RequestFields):
        value: Any = True if name == "store" else ["x"] if name == "include" else "x"
        assert name in repr(Fields.of({"model": "m", name: value}))
