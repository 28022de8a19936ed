"""The servers whose deviations are known, and their combination."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

from .deviation import ALTERNATIVES, Deviation
from .quirks import Quirks

QUIRKS: Mapping[str, frozenset[Deviation]] = {
    # vLLM's agentic-api 0.9.
    "vllm": frozenset(
        {Deviation.SOCKETS, Deviation.LANES, Deviation.STEERS_REFUSED, Deviation.OVERFLOW_REFUSED}
    ),
    # The proxy of LiteLLM 1.110.
    "litellm": frozenset(
        {
            Deviation.SOCKETS,
            Deviation.LANES_IGNORED,
            Deviation.CREATES_ONLY,
            Deviation.MODEL_BOUND,
            Deviation.WARM_UPS_MADE_UP,
            Deviation.ERRORS_BARE,
        }
    ),
    "xai": frozenset(
        {
            Deviation.SOCKETS,
            Deviation.LANES_IGNORED,
            Deviation.ONE_RESPONSE_ID,
            Deviation.PARENT_WITHOUT_INSTRUCTIONS,
            Deviation.PARENT_STORED_ONLY,
        }
    ),
    "azure": frozenset(
        {
            Deviation.LANES_IGNORED,
            Deviation.REASON_AFTER_FAILURE,
            Deviation.WAITS_IN_MS,
            Deviation.MODELS_ARE_DEPLOYMENTS,
        }
    ),
    # Also mlx-vlm, LM Studio and llama.cpp.
    "ollama": frozenset({Deviation.HTTP_ONLY, Deviation.PARENT_IGNORED}),
    # Proxies in the manner of Codex.
    "codex": frozenset({Deviation.ERRORS_CODEX}),
    # Proxies that take upgrades and carry nothing.
    "proxy": frozenset({Deviation.SOCKETS, Deviation.SOCKETS_CUT}),
    # Proxies that carry all but large messages.
    "proxy-limit": frozenset({Deviation.SOCKETS, Deviation.SOCKETS_LIMITED}),
}
"""The deviations of each known server, by its name."""


def combined(names: Iterable[str]) -> Quirks:
    """The deviations of several servers in one.

    Raises:
        ValueError: a name is unknown, or two servers contradict each other.
    """
    if isinstance(names, str):
        raise ValueError(f"quirks must be a list of names, not a string; use [{names!r}]")
    given = tuple(dict.fromkeys(names))
    for name in given:
        if name not in QUIRKS:
            raise ValueError(f"unknown quirk {name!r}; use one of {', '.join(QUIRKS)}")
    for one, other in combinations(given, 2):
        _check(one, other)
    return Quirks(frozenset().union(*(QUIRKS[name] for name in given)), given)


def _check(one: str, other: str) -> None:
    for alternatives in ALTERNATIVES:
        mine, theirs = alternatives & QUIRKS[one], alternatives & QUIRKS[other]
        if mine and theirs and mine != theirs:
            (first,), (second,) = mine, theirs
            raise ValueError(
                f"the quirks {one!r} ({first.value}) and {other!r} ({second.value}) contradict each other;"
                " use one of them"
            )
