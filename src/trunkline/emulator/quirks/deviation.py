"""The single deviations from the protocol, and which of them exclude each other."""

from __future__ import annotations

from enum import Enum


class Deviation(Enum):
    """One way in which a server differs from OpenAI's. The value completes "the server …"."""

    # Sockets as such.
    HTTP_ONLY = "has no WebSocket: an upgrade is answered with 404"
    SOCKETS = "has WebSockets"
    SOCKETS_CUT = "closes each socket at once (1000, 1008, 1011, 1013), and each fifth one stays silent"
    SOCKETS_LIMITED = "closes a socket with 1009 at a message above 1 MiB"
    # Frames from the client.
    LANES = "has lanes"
    LANES_IGNORED = "ignores stream_id"
    OVERFLOW_REFUSED = "refuses requests beyond those in flight with 429"
    STEERS_REFUSED = "refuses a steer with 400, without stream_id"
    CREATES_ONLY = "ignores all frames but creates, and closes with 1008 if the first one is another"
    MODEL_BOUND = "binds a socket to its first model, and closes it with 1011 if it does not know the model"
    WARM_UPS_MADE_UP = "answers a warm-up itself: nothing is remembered"
    # Parents.
    ONE_RESPONSE_ID = "gives all responses of a connection one id"
    PARENT_WITHOUT_INSTRUCTIONS = "refuses instructions with previous_response_id, in a frame without type"
    PARENT_STORED_ONLY = "knows stored parents only, and refuses others in words of its own"
    PARENT_IGNORED = "ignores previous_response_id; responses say null"
    # Errors.
    ERRORS_BARE = "sends error events without code and status"
    ERRORS_CODEX = "sends status_code, headers at the top level, and codes of its own"
    REASON_AFTER_FAILURE = "sends response.failed with nulls, then an error event with the reason"
    WAITS_IN_MS = "names waits in retry-after-ms"
    MODELS_ARE_DEPLOYMENTS = "takes the name of a deployment as model"


ALTERNATIVES: tuple[frozenset[Deviation], ...] = (
    frozenset({Deviation.HTTP_ONLY, Deviation.SOCKETS}),
    frozenset({Deviation.SOCKETS_CUT, Deviation.SOCKETS_LIMITED}),
    frozenset({Deviation.LANES, Deviation.LANES_IGNORED}),
    frozenset({Deviation.ERRORS_BARE, Deviation.ERRORS_CODEX}),
)
"""Deviations of which a server has one at most."""
