"""Rules of the models ``gpt-6.2-*``: fields that they refuse, and the order of a prompt."""

from __future__ import annotations

import re
from typing import Any

from .errors import ApiError

_NAME = re.compile(r"gpt-6\.2(?:-|$)")
_REFUSED = ("temperature", "top_p", "top_logprobs")
_EFFORTS = "'minimal', 'low', 'medium', 'high', 'xhigh' and 'max'"


def has_prefix_rule(model: str) -> bool:
    """Whether a model puts ``instructions`` after the input, and drops reasoning after an edited prefix."""
    return _NAME.match(model) is not None


def check_fields(body: dict[str, Any], model: str) -> None:
    """Check that a request leaves out the fields that such a model refuses.

    Raises:
        ApiError: it has sampling fields, log probabilities, or the effort ``none``.
    """
    given = next((name for name in _REFUSED if body.get(name) is not None), None)
    if given is not None:
        raise _unsupported(given, given)
    if "message.output_text.logprobs" in (body.get("include") or ()):
        raise _unsupported("message.output_text.logprobs", "include")
    if (body.get("reasoning") or {}).get("effort") == "none":
        raise ApiError(
            f"Unsupported value: 'none' is not supported with the '{model}' model."
            f" Supported values are: {_EFFORTS}.",
            code="unsupported_value",
            param="reasoning.effort",
        )


def _unsupported(name: str, param: str) -> ApiError:
    return ApiError(
        f"Unsupported parameter: '{name}' is not supported with this model.",
        code="unsupported_parameter",
        param=param,
    )
