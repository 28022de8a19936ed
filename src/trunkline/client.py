"""The client: one endpoint, one credential, and the connections that all its turns share."""

from __future__ import annotations

import os
import ssl
from collections.abc import Hashable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from ._network.assembly import PING_INTERVAL_S, assembled
from ._network.credentials import ApiKey, Credentials
from ._network.endpoint import Endpoint, check_proxy, server_of
from ._network.loop_affinity import LoopAffinity
from ._network.transports import Transport
from ._network.world import World
from ._observe.client_view import ClientView
from ._observe.hooks import Hooks, call_hook
from ._observe.metrics import PoolMetrics, PoolState
from ._protocol.fields import Fields, brings_context, check_calls
from ._protocol.history import History
from ._protocol.items import Item, ItemInput, TurnInput, items_of, user_message
from ._turns.factory import TurnFactory
from ._turns.settings import TurnSettings, check_turn
from .arguments import check_count, check_flag, check_kind, check_number, refuse
from .conversation import Conversation
from .errors import ConfigurationError
from .instructions import InstructionsPlacement, leading_message, placement_of
from .keyed import KeyedHistories, KeyedHistory
from .options import Deadlines, Policy, PoolLimits
from .request_fields import RequestFields, with_extra
from .saved import endpoint_of, restored_conversation, restored_key, saved_key
from .stream import ResponseStream
from .text_format import TextFormat, with_format
from .tools import Tool, Toolbox
from .tracebacks import discreet

DEFAULT_BASE_URL = "https://api.openai.com/v1"


class Client:
    """Many conversations with one Responses API over few WebSockets.

    A client belongs to the event loop in which it is first used. Use it as ``async with``, or `close` it;
    `drain` lets running turns end before.

    Args:
        api_key: the API key, or a function, sync or async, that returns it; the function is called for each
            dial and each HTTP request. Default: the environment variable OPENAI_API_KEY.
        base_url: the URL of the API, without ``/responses``. Default: the environment variable
            OPENAI_BASE_URL, or ``https://api.openai.com/v1``.
        organization: the ``OpenAI-Organization`` header.
        project: the ``OpenAI-Project`` header.
        headers: further headers of upgrade and HTTP requests. An ``Authorization`` or ``api-key`` header
            replaces ``api_key``.
        lanes: whether the service supports several responses per socket (``stream_id``). Default: only for
            the host ``api.openai.com``.
        deadlines: the time limits of turns.
        policy: the bounds of retries within a turn.
        limits: the bounds of the connection pool.
        hooks: functions called when the client is made, and when turns begin and end.
        max_buffered_events: the number of unread events of one stream above which it fails with
            `SlowConsumer`.
        max_buffered_bytes: the size of its unread events above which a stream fails with `SlowConsumer`.
        replay_actions: also repeat failed requests that may have acted, though an action may happen twice:
            those with a ``conversation``, a ``prompt``, or a hosted tool that may change something, such as
            ``mcp``, ``code_interpreter``, ``shell``, ``computer``, and each unknown one.
        transport: ``websocket``, ``http``, or ``auto``: WebSocket, and HTTP while WebSocket is unavailable.
        ping_interval_s: the interval of PINGs on an idle socket, in seconds; a socket that does not answer
            within ``limits.dead_after_s - limits.ping_after_s`` is closed. At most that time and this
            interval together pass until a dead idle socket is found.
        ssl_context: a custom TLS context. Default: ``ssl.create_default_context()``, which reads
            SSL_CERT_FILE and SSL_CERT_DIR.
        proxy: the URL of a proxy, or an empty string for none. Default: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY
            and NO_PROXY of the environment.
        log_content: the logger ``trunkline.wire`` shows content at level DEBUG.
        world: clock, chance and network, for tests.

    Raises:
        ConfigurationError: an argument is wrong or missing.
    """

    @discreet
    def __init__(
        self,
        *,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
        lanes: bool | None = None,
        deadlines: Deadlines | None = None,
        policy: Policy | None = None,
        limits: PoolLimits | None = None,
        hooks: Hooks | None = None,
        max_buffered_events: int = 65_536,
        max_buffered_bytes: int = 2**24,
        replay_actions: bool = False,
        transport: Literal["auto", "websocket", "http"] = "auto",
        ping_interval_s: float = PING_INTERVAL_S,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        log_content: bool = False,
        world: World | None = None,
    ) -> None:
        limits_remedy = "give trunkline.PoolLimits(max_connections=8), for example"
        check_turn(deadlines, policy)
        check_kind(limits, "limits", PoolLimits, limits_remedy, optional=True)
        check_kind(hooks, "hooks", Hooks, "give trunkline.Hooks(turn_finished=…)", optional=True)
        check_flag(lanes, "lanes", optional=True)
        check_count(max_buffered_events, "max_buffered_events")
        check_count(max_buffered_bytes, "max_buffered_bytes")
        check_flag(replay_actions, "replay_actions")
        check_number(ping_interval_s, "ping_interval_s", above=0, finite=True)
        check_kind(ssl_context, "ssl_context", ssl.SSLContext, "give an ssl.SSLContext", optional=True)
        check_proxy(proxy)
        check_flag(log_content, "log_content")
        check_kind(world, "world", World, "give a trunkline.World", optional=True)
        settings = TurnSettings(
            deadlines=deadlines or Deadlines(),
            policy=policy or Policy(),
            max_buffered_events=max_buffered_events,
            max_buffered_bytes=max_buffered_bytes,
            replay_actions=replay_actions,
            hooks=hooks or Hooks(),
            log_content=log_content,
        )
        limits = limits or PoolLimits()
        self._endpoint = Endpoint.of(_url_or_default(base_url), lanes=lanes)
        self._transports = assembled(
            self._endpoint,
            Credentials(api_key, organization, project, headers or {}),
            _mode_of(transport),
            limits=limits,
            connect_s=settings.deadlines.connect,
            ping_interval_s=ping_interval_s,
            ssl_context=ssl_context,
            proxy=proxy,
            log_content=log_content,
            world=world or World(),
        )
        self._loop = LoopAffinity(self._transports.begin)
        self._turns = TurnFactory(self._transports, self._endpoint, settings, self._loop)
        self._keyed = KeyedHistories(limits, self._transports.world.clock)
        self._fields: Fields | None = None  # those made last, for `_shared`
        self._lead: tuple[str, Item] | None = None  # the one made last, for `_leading`
        if settings.hooks.client_made is not None:
            address, port = server_of(self._endpoint.http_url)
            view = ClientView(address, port, self._transports.counters, self._transports)
            call_hook("client_made", settings.hooks.client_made, view)

    @property
    def metrics(self) -> PoolMetrics:
        """The counters of this client: a copy."""
        return self._transports.counters.snapshot()

    def state(self) -> PoolState:
        """The sockets, lanes and running turns at this moment."""
        return self._transports.state()

    @property
    def url(self) -> str:
        """The URL of HTTP requests, such as ``https://api.openai.com/v1/responses``."""
        return self._endpoint.http_url

    @property
    def deadlines(self) -> Deadlines:
        """The time limits of turns without deadlines of their own."""
        return self._turns.settings.deadlines

    @property
    def connections(self) -> int:
        """The number of connections that are open or being dialled."""
        return len(self._transports.pool.connections)

    @discreet
    def conversation(
        self,
        *,
        model: str | None = None,
        instructions: str | None = None,
        tools: Sequence[Tool] | None = None,
        items: Sequence[ItemInput] = (),
        saved: Mapping[str, Any] | None = None,
        instructions_placement: InstructionsPlacement | None = None,
        extra_fields: Mapping[str, Any] | None = None,
        **fields: Unpack[RequestFields],
    ) -> Conversation:
        """A conversation, which keeps its own history.

        Args:
            model: the name of the model. Required, unless ``saved`` is given.
            instructions: the instructions of each turn.
            tools: Python functions, which ``run`` executes, and tool definitions as the API documents them.
            items: the initial history, such as the ``items`` of an earlier conversation.
            saved: what `Conversation.save` returned, also in another process. The conversation continues with
                its history and settings; other arguments override the settings. Give Python functions again
                as ``tools``: only their definitions are saved.
            instructions_placement: ``message``: the instructions are a ``developer`` message at the beginning
                of the context, which a chain of deltas sends once. ``field``: they are sent with each
                request. ``auto``, the default: a message with ``api.openai.com``, else a field.
            extra_fields: request fields that `RequestFields` does not have, for each turn.
            fields: further request fields, for each turn.

        Raises:
            ConfigurationError: an argument is wrong, or ``saved`` is damaged or of a newer version.
        """
        own, history, owner = dict[str, Any](), items_of(items, "items"), None
        placement = instructions_placement or "auto"
        if saved is not None:
            if history:
                raise ConfigurationError(
                    "items and saved cannot be combined, because saved has its own items; give one of them",
                    argument="items",
                )
            restored = restored_conversation(saved)
            own, history = restored.fields, items_of(restored.items, "saved.items")
            placement = instructions_placement or restored.instructions_placement
            owner = restored.owner(endpoint_of(self._endpoint.http_url))
        toolbox = Toolbox.of((own.get("tools") if tools is None else tools) or ())
        named = {"model": model, "instructions": instructions, "tools": None, **fields}
        given = with_extra(named, extra_fields)
        values = {
            **own,
            **{name: value for name, value in given.items() if value is not None},
            "tools": toolbox.definitions or None,
        }
        is_message = placement_of(placement, is_openai=self._endpoint.is_openai) == "message"
        lead = None
        text = values.get("instructions")
        if is_message and isinstance(text, str) and text and not brings_context(values):
            lead = self._leading(text)
            values["instructions"] = None
            history = [lead, *history]
        fields_of_all = self._shared(values)
        return Conversation(
            self._turns, fields_of_all, toolbox, History.of(history), owner, placement=placement, lead=lead
        )

    @discreet
    def stream(
        self,
        *,
        model: str,
        input: TurnInput,  # noqa: A002 - the name of the Responses API
        key: Hashable | None = None,
        tools: Sequence[Tool] | None = None,
        deadlines: Deadlines | None = None,
        policy: Policy | None = None,
        text_format: type | None = None,
        instructions: str | None = None,
        extra_fields: Mapping[str, Any] | None = None,
        **fields: Unpack[RequestFields],
    ) -> ResponseStream:
        """One turn of a history that the application keeps.

        The whole history is given; only the items that are new since the previous turn of the same key are
        sent, if the service still has the rest.

        Args:
            model: the name of the model.
            input: the whole history, the new items included.
            key: identifies the history across turns. Turns without a key are sent in full. The number of
                keys remembered is ``PoolLimits.max_keys``.
            tools: Python functions, which are not executed here, and tool definitions.
            deadlines: the time limits of this turn, instead of the client's.
            policy: the bounds of retries of this turn, instead of the client's.
            text_format: as for `Conversation.send`.
            instructions: the instructions of this turn.
            extra_fields: request fields that `RequestFields` does not have.
            fields: further request fields.

        Raises:
            ConfigurationError: an argument is wrong; nothing was sent.
            WrongEventLoop: the client belongs to another event loop.
        """
        check_kind(key, "key", Hashable, "give a string or another hashable value", optional=True)
        form = TextFormat.of(text_format) if text_format is not None else None
        given = {
            "model": model,
            "instructions": instructions,
            **fields,
            "tools": Toolbox.of(tools).definitions or None if tools is not None else None,
        }
        values = with_format(with_extra(given, extra_fields), None, form)
        items = _whole_history(input)
        known = self._keyed.of(key) if key is not None else KeyedHistory()
        known.fields = known.fields.following(values) if known.fields is not None else self._shared(values)
        known.history = known.history.following(items)
        if key is not None:
            self._keyed.count(known)
        check_calls(known.history, known.fields)
        owner = known.owner if key is not None else None
        turn = self._turns.turn(known.fields, known.history, owner, deadlines=deadlines, policy=policy)
        return ResponseStream(turn, text_format=form)

    def save(self, key: Hashable) -> dict[str, Any]:
        """The stored responses of a key as plain JSON, for `restore` in another process.

        The application keeps the history itself. The value has the ids of the latest responses and their
        output, so it needs the same protection as the history.

        Args:
            key: the key of earlier turns. The value of an unknown key has no responses.
        """
        check_kind(key, "key", Hashable, "give a string or another hashable value")
        known = self._keyed.find(key)
        parents = known.owner.baselines if known is not None and self._transports.keeps_responses else ()
        return saved_key(endpoint_of(self._endpoint.http_url), parents)

    @discreet
    def restore(self, key: Hashable, saved: Mapping[str, Any]) -> None:
        """Continue the history of a key from what `save` returned.

        The next turn of the key sends only what is new since, if the service still has the response; else the
        whole history. Responses of another endpoint are ignored.

        Args:
            key: the key of the turns to come.
            saved: what `save` returned.

        Raises:
            ConfigurationError: ``saved`` is something else, damaged, or of a newer version.
        """
        check_kind(key, "key", Hashable, "give a string or another hashable value")
        restored = restored_key(saved).parents(endpoint_of(self._endpoint.http_url))
        baselines = self._keyed.of(key).owner.baselines
        for baseline in restored:
            baselines.commit(baseline)

    def forget(self, key: Hashable) -> None:
        """Forget the history of a key. The next turn of the key is sent in full."""
        self._keyed.forget(key)

    async def warm(self, *, model: str, connections: int = 1) -> None:
        """Open sockets before they are needed. With ``transport="http"``, HTTP connections are opened.

        An HTTP connection is opened by a request for the list of models, which costs no tokens.

        Args:
            model: the name of the model, which gateways read from the URL of the upgrade.
            connections: the number of open connections, at most ``PoolLimits.max_connections``.

        Raises:
            NetworkError: a dial failed.
            DeadlineExceeded: a dial took longer than ``Deadlines.connect``.
            ClientClosed: the client drains, was closed, or belongs to another event loop.
        """
        check_kind(model, "model", str, "give the name of a model")
        check_count(connections, "connections")
        self._loop.check()
        self._transports.check_admits()
        # Not a local variable: the URL may hold a key.
        failure = await self._transports.warm(self._endpoint.websocket_url_for(model), connections)
        if failure is not None:
            raise failure.exception()

    async def drain(self, within_s: float = 30.0) -> None:
        """Take no new turns, let the turns that are running end, and close. For SIGTERM.

        A new turn raises `ClientClosed`; so does the next response of a ``run`` whose tools have been
        called. A running turn may still be repeated after a failure. Turns that run longer than ``within_s``
        end as by `close`, which may also be called meanwhile. Cancelling ends the wait only: the client takes
        no new turns, and is closed by `close`.

        Args:
            within_s: the time limit of the turns, in seconds; the closing handshakes follow.

        Raises:
            WrongEventLoop: the client belongs to another event loop, which is running.
        """
        check_number(within_s, "within_s")
        if not self._loop.is_stopped:
            self._loop.check()
            await self._transports.drain(within_s)
        await self.close()

    async def close(self, within_s: float = 5.0) -> None:
        """Close every socket. Streams that are open fail. Idempotent.

        Cancelling drops the sockets that are still open.

        Args:
            within_s: the time limit of closing handshakes, in seconds; other sockets are dropped then.

        Raises:
            WrongEventLoop: the client belongs to another event loop, which is running.
        """
        check_number(within_s, "within_s")
        if self._loop.is_stopped:
            self._transports.end()
            return
        self._loop.check()
        await self._transports.close(within_s)

    async def __aenter__(self) -> Self:
        self._loop.check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _shared(self, values: Mapping[str, Any]) -> Fields:
        """The fields of a new conversation or key, sharing equal values with the latest ones."""
        known = self._fields
        self._fields = known.following(values) if known is not None else Fields.of(values)
        return self._fields

    def _leading(self, instructions: str) -> Item:
        """The message with these instructions: the latest one, if it has the same, to share its memory."""
        if self._lead is None or self._lead[0] != instructions:
            self._lead = instructions, leading_message(instructions)
        return self._lead[1]

    def __repr__(self) -> str:
        return f"<Client of {self._endpoint.host}: {self.connections} connections>"  # never the key


def _url_or_default(base_url: str | None) -> str:
    if base_url == "":
        remedy = f"give a URL such as {DEFAULT_BASE_URL}, or None for OPENAI_BASE_URL"
        refuse("base_url", base_url, remedy)
    return base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL


def _mode_of(transport: str) -> Transport:
    try:
        return Transport(transport)
    except ValueError:
        raise ConfigurationError(
            f"transport must be 'auto', 'websocket' or 'http', not {transport!r}", argument="transport"
        ) from None


def _whole_history(given: TurnInput) -> Sequence[ItemInput]:
    if isinstance(given, str):
        return [user_message(given)]
    if isinstance(given, Mapping):
        return [given]
    check_kind(given, "input", Sequence, "give a string, an item or a list of items")
    return given


__all__ = ["DEFAULT_BASE_URL", "Client"]
