"""The doctor's checks of a trunkline gateway: whether it takes work, and how it sends turns upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ..._network.gateways import GATEWAY_MARK
from ...errors import ConnectFailed
from .findings import Found, Verdict

if TYPE_CHECKING:
    import httpx2

GATEWAY: Final = "gateway"
UPSTREAM: Final = "gateway, upstream"
_DRAINING: Final = (
    "The gateway ends after its running answers: wait for its successor, or check why it was stopped."
)
_NO_SOCKET: Final = (
    "The gateway sends turns over HTTP: check base_url in [upstream.NAME], and that the service speaks"
    " WebSocket."
)
_NO_LANES: Final = (
    "The gateway opens a socket for each turn that runs: if its upstream has lanes, set lanes = true in"
    " [upstream.NAME]."
)
_MODES: Final = {"delta": "the new items", "full": "the whole context"}


def is_gateway(headers: Mapping[str, str]) -> bool:
    """Whether the headers of an answer are those of a gateway."""
    return GATEWAY_MARK in headers


async def readiness(url: str) -> Found:
    """Report whether a gateway takes work.

    Args:
        url: its URL for responses.

    Raises:
        ConnectFailed: it was not reached.
    """
    place = urlsplit(url)
    above = place.path.removesuffix("/responses").removesuffix("/v1")
    ready = place._replace(path=f"{above}/readyz", query="", fragment="").geturl()
    answer = await _sent("GET", ready, {})
    if answer.status_code == 200 and is_gateway(answer.headers):
        return Found("a trunkline gateway; /readyz: it takes work")
    if answer.status_code == 503:
        return Found("a trunkline gateway; /readyz: it is shutting down", _DRAINING, Verdict.WARNING)
    return Found(
        f"a trunkline gateway, but /readyz has HTTP status {answer.status_code}",
        "A proxy in front of the gateway does not pass /readyz on, or it is mounted at another path.",
        Verdict.WARNING,
    )


async def upstream(url: str, headers: Mapping[str, str], request: Mapping[str, object]) -> Found:
    """Report how a gateway sends a turn upstream.

    Args:
        url: its URL for responses.
        headers: the headers with the key.
        request: a short request.

    Raises:
        ConnectFailed: it was not reached.
    """
    answer = await _sent("POST", url, headers, request)
    transport = answer.headers.get("x-trunkline-transport")
    if transport is None and answer.status_code >= 400:
        return Found(f"a turn was refused with HTTP status {answer.status_code}", verdict=Verdict.WARNING)
    if transport != "websocket":
        return Found("a turn went upstream over HTTP", _NO_SOCKET, Verdict.WARNING)
    sent = _MODES.get(answer.headers.get("x-trunkline-mode", ""), "a turn")
    lane = answer.headers.get("x-trunkline-lane")
    if lane is None:
        return Found(f"{sent} went upstream over a WebSocket, without a lane", _NO_LANES)
    return Found(f"{sent} went upstream on lane {lane} of a WebSocket that turns share")


async def _sent(
    method: str, url: str, headers: Mapping[str, str], request: Mapping[str, object] | None = None
) -> httpx2.Response:
    import httpx2  # imported here, so that the command starts quickly

    try:
        async with httpx2.AsyncClient(timeout=None) as client:
            return await client.request(method, url, headers=dict(headers), json=request)
    except httpx2.TransportError as error:
        raise ConnectFailed(f"the gateway was not reached over HTTP: {type(error).__name__}") from error
