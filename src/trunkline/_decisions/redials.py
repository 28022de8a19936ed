"""The wait before a server that could not be reached is dialled again."""

from __future__ import annotations

from typing import Final

_FIRST_S: Final = 0.25
_LONGEST_S: Final = 1.0


def redial_s(refusals: int, jitter: float) -> float:
    """The time from a failed dial to the next one, in seconds.

    The wait is short, because a restarting server is back within seconds, and bounded below, because all
    clients of such a server dial again.

    Args:
        refusals: the number of dials in a row that have failed, from 1.
        jitter: a random number from 0 to 1.
    """
    longest = min(_LONGEST_S, _FIRST_S * 2.0 ** min(refusals - 1, 8))
    return longest * (0.5 + jitter / 2)
