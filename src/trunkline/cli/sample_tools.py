"""The tools of ``trunkline chat --tools``: the time, and arithmetic."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

_MAX_LENGTH = 200
_MAX_EXPONENT = 1000

_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_SIGNS: dict[type[ast.unaryop], Callable[[float], float]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


async def current_time(timezone: Annotated[str, "An IANA name, such as Europe/Oslo"] = "UTC") -> str:
    """The date and the time in a time zone."""
    try:
        zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        return f"{timezone!r} is not a time zone"
    return f"{datetime.now(zone):%A %Y-%m-%d %H:%M:%S} {timezone}"


async def calculate(expression: Annotated[str, "Such as (17 + 4) * 2"]) -> str:
    """The value of an arithmetic expression with + - * / // % ** and parentheses."""
    if len(expression) > _MAX_LENGTH:
        return f"the expression has more than {_MAX_LENGTH} characters"
    try:
        return str(_value(ast.parse(expression.strip(), mode="eval").body))
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError) as error:
        return f"{expression!r} has no value: {error}"


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        return _SIGNS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left), _value(node.right)
        is_large = abs(left) > _MAX_EXPONENT or abs(right) > _MAX_EXPONENT
        if isinstance(node.op, ast.Pow) and is_large:
            raise ValueError(f"base and exponent may be at most {_MAX_EXPONENT}")
        value = _OPERATORS[type(node.op)](left, right)
        if isinstance(value, complex):
            raise ValueError("it is not a real number")
        return value
    raise ValueError("it is not arithmetic")
