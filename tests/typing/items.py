"""Types of items in the public API. Checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

from trunkline import (
    Client,
    Conversation,
    CustomToolCall,
    FunctionCall,
    FunctionCallOutput,
    ItemReference,
    Message,
    Response,
    ToolCall,
    TurnInput,
)


def every_kind_of_input_is_taken(chat: Conversation, client: Client, any_items: list[dict[str, Any]]) -> None:
    chat.send("words")
    chat.send({"role": "user", "content": "words"})
    chat.send([{"role": "user", "content": [{"type": "input_text", "text": "words"}]}])
    chat.send(
        [
            {"type": "message", "role": "developer", "content": "be brief"},
            {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
            {"type": "item_reference", "id": "msg_1"},
        ]
    )
    chat.send(any_items)
    chat.send(any_items[0])
    client.conversation(model="m", items=chat.items)
    client.stream(model="m", input=[*chat.items, {"role": "user", "content": "words"}])
    chat.replace(chat.items[:2])
    chat.send(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    chat.send([5])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]


def unknown_items_pass(chat: Conversation, mapping: Mapping[str, Any]) -> None:
    chat.send({"type": "brand_new", "thing": {"deep": 1}})
    chat.send([{"type": "message", "role": "user", "content": "x", "brand_new": True}])
    chat.send(mapping)


def named_types_reject_wrong_items() -> None:
    message: Message = {"role": "user", "content": "words"}
    image: Message = {
        "role": "user",
        "content": [{"type": "input_image", "image_url": "https://example.com/a.png"}],
    }
    output: FunctionCallOutput = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    reference: ItemReference = {"type": "item_reference", "id": "msg_1"}
    several: TurnInput = [message, image, output, reference]
    assert_type(message["role"] == "user", bool)
    print(several)
    wrong: Message = {"role": "narrator", "content": "words"}  # type: ignore[typeddict-item]  # pyright: ignore[reportAssignmentType]
    missing: FunctionCallOutput = {"type": "function_call_output", "output": "x"}  # type: ignore[typeddict-item]  # pyright: ignore[reportAssignmentType]
    print(wrong, missing)


def items_that_are_read_have_plain_types(response: Response, chat: Conversation) -> None:
    assert_type(response.output, list[dict[str, Any]])
    assert_type(chat.items, list[dict[str, Any]])
    assert_type(response.output_text, str)
    assert_type(response.tool_calls, list[ToolCall])


def calls_are_narrowed_by_their_type(response: Response) -> list[FunctionCallOutput]:
    outputs: list[FunctionCallOutput] = []
    for call in response.tool_calls:
        assert_type(call["call_id"], str)
        assert_type(call["name"], str)
        if call["type"] == "function_call":
            assert_type(call, FunctionCall)
            assert_type(call["arguments"], str)
            outputs.append({"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"})
        else:
            assert_type(call, CustomToolCall)
            assert_type(call["input"], str)
            print(call["arguments"])  # type: ignore[typeddict-item]  # pyright: ignore[reportGeneralTypeIssues]
    return outputs


def outputs_of_calls_are_an_input(chat: Conversation, response: Response) -> None:
    chat.send(calls_are_narrowed_by_their_type(response))
    outputs = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        for call in response.tool_calls
    ]
    chat.send(outputs)
