"""The emulator, in the caller's event loop or in a thread of its own."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlencode

from ._models.behaviour import Expectation
from ._models.context import Item
from ._models.models import Model
from ._service.records import ConnectionRecord, RequestRecord, ResponseRecord
from ._service.service import Service, Settings
from ._wire.frame_log import FrameLog, FrameRecord
from ._wire.origins import Origins
from .faults.faults import Faults
from .loop_thread import LoopThread
from .pace import Pace
from .quirks.catalogue import combined
from .quirks.quirks import Quirks

if TYPE_CHECKING:
    from ._wire.server import Server

_logger = logging.getLogger("trunkline.emulator")


class Emulator:
    """A Responses API server on loopback: HTTP, server-sent events and WebSocket on one port.

    Use it as an async context manager, or call `start` and `stop`; `run_in_thread` serves synchronous code.

    Args:
        host: the address to listen on; other machines cannot reach the default.
        port: the port to listen on; 0 selects a free one.
        api_key: the accepted bearer token; None accepts any.
        zdr: zero data retention: no response is stored, even with ``store=true``. The ``store`` of
            responses is false then; with ``"silent"`` it repeats the request's.
        first_token_s: seconds from the start of a response to its first output.
        tokens_per_second: the pace of further output; None: as fast as possible.
        clock: returns seconds; measures the age of connections.
        history: maximum number of recorded requests, responses and connections, and of stored
            responses; the oldest are dropped.
        frames: maximum number of WebSocket messages recorded in `frames`.
        faults: the faults to apply.
        default_model: the deterministic model for unknown names.
        context_window: maximum number of input tokens of a model.
        steers_cut_words: whether a steer ends a message at its next word; else the item is completed first.
        quirks: names of other servers whose deviations from the protocol are emulated, such as ``"xai"``.
        allowed_origins: origins of web pages that may use the server, such as ``"http://localhost:3000"``;
            ``"*"`` allows any. Pages of other origins are refused.

    Raises:
        ValueError: a name in `quirks` is unknown, two servers contradict each other, or an origin is not one.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        api_key: str | None = "sk-emulator",
        zdr: bool | Literal["silent"] = False,
        first_token_s: float = 0.0,
        tokens_per_second: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        history: int = 100_000,
        frames: int = 0,
        faults: Faults | None = None,
        default_model: str | None = None,
        context_window: int = 1_000_000,
        steers_cut_words: bool = True,
        quirks: Iterable[str] = (),
        allowed_origins: Iterable[str] = (),
    ) -> None:
        self.api_key = api_key
        self.pace: Pace = Pace(first_token_s, tokens_per_second)
        self.clock = clock
        self.handshakes = 0
        self.on_request: list[Callable[[RequestRecord], None]] = []
        self.faults: Faults = faults or Faults()
        self.origins: Origins = Origins(allowed_origins, host)
        self.log: FrameLog = FrameLog(frames)
        self.service: Service = Service(
            Settings(
                zdr=bool(zdr),
                shows_zdr=zdr != "silent",
                history=history,
                stored=history,
                default_model=default_model,
                context_window=context_window,
                steers_cut_words=steers_cut_words,
                quirks=combined(quirks),
            )
        )
        self._connections: deque[ConnectionRecord] = deque(maxlen=history)
        self._host = host
        self._port = port
        self._requests_for_responses = 0
        self._server: Server | None = None

    @property
    def base_url(self) -> str:
        """The base URL for clients, ``http://127.0.0.1:PORT/v1``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/v1"

    @property
    def live_url(self) -> str:
        """The URL of the live page, which shows requests, lanes and effective contexts. It has the key."""
        page = self.base_url.removesuffix("v1")
        return f"{page}#{urlencode({'key': self.api_key or 'any'})}"

    @property
    def quirks(self) -> Quirks:
        """The deviations from the protocol; empty without the argument `quirks`."""
        return self.service.settings.quirks

    @property
    def responses(self) -> Mapping[str, ResponseRecord]:
        """All responses by id, in order of creation."""
        return self.service.responses

    @property
    def requests(self) -> list[RequestRecord]:
        """All frames and HTTP requests, refused ones too, in order of arrival."""
        return list(self.service.requests)

    @property
    def frames(self) -> list[FrameRecord]:
        """The messages on all sockets, in order; empty unless `frames` was given."""
        return list(self.log.frames)

    @property
    def connections(self) -> list[ConnectionRecord]:
        """All WebSocket connections, in order of opening."""
        return list(self._connections)

    @property
    def live_connections(self) -> list[ConnectionRecord]:
        """The open WebSocket connections."""
        return [connection for connection in self._connections if connection.open]

    def effective_context(self, response_id: str) -> list[Item]:
        """All items in the model's context for this response."""
        return self.service.responses[response_id].effective_context

    def expect(
        self,
        contains: str | re.Pattern[str] | None = None,
        *,
        model: str | None = None,
        times: int | None = 1,
    ) -> Expectation:
        """Prepare a reply for requests whose new input contains a text, or matches a pattern.

        Chain its steps: ``emulator.expect("weather").calls("get_weather", city="Oslo")``.
        A ``with`` statement raises `AssertionError` unless it was used `times` times (None: at least once).
        """
        return self.service.behaviour.expect(contains, model=model, times=times)

    @property
    def unmet_expectations(self) -> list[Expectation]:
        """The prepared replies that were not used as often as they should."""
        return self.service.behaviour.unmet

    def add_model(self, name: str, model: Model) -> None:
        """Use a function from a prompt to steps as the model of this name."""
        self.service.behaviour.add_model(name, model)

    def run_in_thread(self) -> ThreadedEmulator:
        """Return a synchronous context manager that runs this emulator in a thread of its own."""
        return ThreadedEmulator(self)

    async def start(self) -> None:
        """Listen. On return, `base_url` has the port."""
        # Imported here, so that loading the pytest plugin does not import a web server.
        from ._wire.server import Server

        self._server = Server(self)
        self._port = await self._server.start(self._host, self._port)

    async def stop(self) -> None:
        """Close every socket and stop listening, within a second."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop()

    async def drop_connections(self, code: int | None = None) -> None:
        """Close all sockets, with a close code or without a close frame (None)."""
        if self._server is not None:
            self._server.drop_sockets(code)

    def forget(self, response_id: str | None = None) -> None:
        """Remove one lane's latest response, or all lanes' (None), from the caches; stored responses stay."""
        if self._server is not None:
            self._server.forget(response_id)

    def delete(self, response_id: str) -> None:
        """Remove a response from the cache of its lane and from the store."""
        self.forget(response_id)
        self.service.store.delete(response_id)

    def notify(self, request: RequestRecord) -> None:
        """Report an accepted or refused request to the observers in `on_request`.

        An exception of an observer is logged to ``trunkline.emulator`` and changes nothing else.
        """
        for callback in list(self.on_request):
            try:
                callback(request)
            except Exception:
                _logger.exception("a callback in Emulator.on_request raised an exception")

    def count_request(self) -> int:
        """Return the number of the next request for a response, from 1."""
        self._requests_for_responses += 1
        return self._requests_for_responses

    def opened(self, record: ConnectionRecord) -> None:
        """Store the record of a new connection."""
        self._connections.append(record)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


class ThreadedEmulator:
    """A running emulator whose event loop lives in another thread.

    Attributes of `Emulator` can be read here. Methods that act on connections run in the thread's event
    loop and block until they are done.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._thread = LoopThread("trunkline emulator")

    def start(self) -> None:
        """Listen. On return, `base_url` has the port."""
        self._thread.start()
        self._thread.run(self.emulator.start())

    def stop(self) -> None:
        """Close every socket, stop listening and end the thread."""
        self._thread.run(self.emulator.stop())
        self._thread.stop()

    def drop_connections(self, code: int | None = None) -> None:
        """Close all sockets, as `Emulator.drop_connections` does."""
        self._thread.run(self.emulator.drop_connections(code))

    def forget(self, response_id: str | None = None) -> None:
        """Empty the caches of lanes, as `Emulator.forget` does."""
        self._thread.call(lambda: self.emulator.forget(response_id))

    def delete(self, response_id: str) -> None:
        """Remove a response from cache and store, as `Emulator.delete` does."""
        self._thread.call(lambda: self.emulator.delete(response_id))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.emulator, name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
