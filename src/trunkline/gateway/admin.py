"""The listener for operators: metrics for Prometheus, and a page for people. Loopback by default."""

from __future__ import annotations

import secrets
from dataclasses import asdict
from importlib.resources import files
from typing import Any, Final

from .._face.outcome import Answer
from .._protocol.json import encode
from .app import Gateway
from .asgi import Receive, Scope, Send, path_of, send_whole
from .measures import NAMELESS
from .refusal import Refused

_POLICY: Final = (
    "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PLACE_OF_NONCE: Final = b"NONCE"
_SAFE: Final = (("x-content-type-options", "nosniff"), ("cache-control", "no-store"))


class AdminPages:
    """An ASGI application about a gateway.

    Args:
        gateway: the gateway.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            await send_whole(send, self._answer(scope))

    def _answer(self, scope: Scope) -> Answer:
        path = path_of(scope)
        if scope["method"] not in ("GET", "HEAD"):
            return Refused(405, "only GET is served").answer()
        if path == "/metrics":
            kind = "text/plain; version=0.0.4; charset=utf-8"
            return Answer(200, (("content-type", kind), *_SAFE), self._gateway.measures.text())
        if path == "/state":
            return Answer(200, (("content-type", "application/json"), *_SAFE), encode(self._state()))
        if path == "/":
            return _page()
        return Refused(404, f"{path} is not served; served are /, /metrics and /state").answer()

    def _state(self) -> dict[str, Any]:
        gateway = self._gateway
        tenants = []
        for name, caller in gateway.callers.items():
            state, metrics = caller.door.state(), caller.door.metrics
            tenants.append(
                {
                    "name": name or NAMELESS,
                    "sockets": state.sockets,
                    "lanes": state.lanes,
                    "in_flight": state.in_flight,
                    "running": caller.allowance.running,
                    "turns": metrics.turns,
                    "abandoned_output_tokens": metrics.abandoned_usage.get("output_tokens", 0),
                    **asdict(gateway.measures.summary(name)),
                }
            )
        return {"stage": gateway.life.stage.name.lower(), "running": gateway.life.running, "tenants": tenants}


def _page() -> Answer:
    """The page, whose own script and style alone may run."""
    nonce = secrets.token_urlsafe(16)
    content = files(__package__).joinpath("page.html").read_bytes()
    headers = (
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", _POLICY.format(nonce)),
        *_SAFE,
    )
    return Answer(200, headers, content.replace(_PLACE_OF_NONCE, nonce.encode()))


__all__ = ["AdminPages"]
