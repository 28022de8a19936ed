"""Reliability of stored responses and of parents.

The service may answer ``store: true`` to an organisation with zero data retention and store nothing. If it
does not find a recent response that it reported as stored, responses of the credential count as not stored
for `DISTRUST_S` seconds.

Other servers may refuse every ``previous_response_id``, or ignore it in silence. A turn whose parent was
refused is sent again in full; if that is answered, the parent was the reason, and no parent is named for
`DISTRUST_S` seconds: the next refusal may have had another reason. A server that ignores parents is never
given one again.
"""

from __future__ import annotations

import math

FRESH_S = 600.0
"""The age in seconds up to which a missing response counts: an older one may have been deleted."""
DISTRUST_S = 3600.0


class Retention:
    """Whether stored responses and parents of one endpoint and credential can be relied on.

    Attributes:
        is_clear: nothing was recorded, so that the answer to each question is yes.
    """

    def __init__(self) -> None:
        self.is_clear: bool = True
        self._distrusted_until: float | None = None
        self._unchained_until: float | None = None
        self._unstored_until: float | None = None
        self._lost_reasoning = False

    def is_trusted(self, now: float) -> bool:
        """Whether responses reported as stored can be relied on."""
        return self._distrusted_until is None or now >= self._distrusted_until

    def not_found(self, kept_at: float, now: float) -> None:
        """Record that the service did not find a response that it reported as stored.

        Args:
            kept_at: the time at which the response ended.
            now: the current time, on the same clock.
        """
        if now - kept_at < FRESH_S:
            self.is_clear = False
            self._distrusted_until = now + DISTRUST_S

    def looks_up(self, now: float) -> bool:
        """Whether the service finds items of earlier responses by their ids."""
        return self.is_trusted(now) and (self._unstored_until is None or now >= self._unstored_until)

    def loses_reasoning(self, now: float) -> bool:
        """Whether the service loses the reasoning of responses, unless requests bring it back."""
        return not self.is_trusted(now) or (self._lost_reasoning and not self.looks_up(now))

    def not_stored(self, now: float, *, lost_reasoning: bool) -> None:
        """Record that the service did not store a response, although the request allowed it.

        Args:
            now: the time.
            lost_reasoning: the response has reasoning without encrypted content.
        """
        self.is_clear = False
        self._unstored_until = now + DISTRUST_S
        self._lost_reasoning = self._lost_reasoning or lost_reasoning

    def may_chain(self, now: float) -> bool:
        """Whether requests may name a parent."""
        return self._unchained_until is None or now >= self._unchained_until

    def parent_ignored(self) -> None:
        """Record that a response was made without the parent that its request named."""
        self.is_clear = False
        self._unchained_until = math.inf

    def parent_refused(self, now: float) -> None:
        """Record that a request was refused with its parent, and answered without it."""
        self.is_clear = False
        if self.may_chain(now):
            self._unchained_until = now + DISTRUST_S
