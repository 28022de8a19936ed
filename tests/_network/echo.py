"""WebSocket server of tests that sends each message back."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import picows


class Echo(picows.WSListener):
    """Sends each message back, and ends the connection on a CLOSE."""

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Answer one frame."""
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.send_close(picows.WSCloseCode.OK)
            transport.disconnect()
        else:
            transport.send(picows.WSMsgType.TEXT, frame.get_payload_as_bytes())


@asynccontextmanager
async def echo_server(context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a free port of 127.0.0.1, with TLS if a context is given; yields the port."""
    server = await picows.ws_create_server(lambda request: Echo(), "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
