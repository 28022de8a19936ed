"""The client: credentials, one pool of sockets, and the conversations over it."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, Unpack

from ._decisions.placement import Owner
from ._decisions.request import Request
from ._network.credentials import ApiKey, Credentials
from ._network.dialler import Dialler
from ._network.endpoint import Endpoint, check_proxy
from ._network.http import HttpTransport
from ._network.pool import Pool
from ._network.transports import Transport, Transports
from ._network.wakeups import Wakeups
from ._network.world import World
from ._observe.hooks import Hooks
from ._observe.metrics import PoolCounters, PoolMetrics, PoolState
from ._protocol.fields import ENCRYPTED_REASONING, Fields, check_calls
from ._protocol.history import History
from ._protocol.items import ItemInput, TurnInput, items_of, user_message
from ._turns.turn import Turn, TurnSettings, check_turn
from .arguments import check_count, check_flag, check_kind, check_number, refuse
from .conversation import Conversation
from .errors import ConfigurationError, WrongEventLoop
from .options import Deadlines, Policy, PoolLimits
from .request_fields import RequestFields, with_extra
from .stream import ResponseStream
from .text_format import TextFormat, with_format
from .tools import Tool, Toolbox

DEFAULT_BASE_URL = "https://api.openai.com/v1"


class Client:
    """Conversations over few warm WebSockets to one endpoint, with one credential.

    A client belongs to the event loop in which it is first used. Use it as ``async with``, or `close` it.

    Args:
        api_key: the key, or a function that returns it, called at each dial and awaited if it is async; by
            default OPENAI_API_KEY.
        base_url: such as ``https://api.openai.com/v1``; by default OPENAI_BASE_URL.
        organization: the ``OpenAI-Organization`` header.
        project: the ``OpenAI-Project`` header.
        headers: further headers of the upgrade request; an ``Authorization`` or ``api-key`` given here
            takes the place of ``api_key``.
        lanes: whether the endpoint knows ``stream_id``; by default only ``api.openai.com`` is taken to.
        deadlines: how long turns wait.
        policy: how often they are asked again.
        limits: bounds of the pool.
        hooks: functions to be called when turns begin and end.
        max_buffered_events: how many events of one stream may wait for its reader.
        replay_actions: also ask again, after a failure, when hosted tools act (``mcp``).
        transport: ``auto`` goes over WebSocket, and over HTTP as long as WebSocket cannot be had.
        ping_interval_s: an idle socket is pinged after so many seconds, and dropped when it does not answer.
        ssl_context: for certificates of one's own; by default they are verified as usual.
        proxy: a proxy's URL; by default the environment decides; empty for none.
        log_content: where the logger ``trunkline.wire`` is at DEBUG, it shows what is said too.

    Raises:
        ConfigurationError: something is missing or wrong; the message says what to give.
    """

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
        replay_actions: bool = False,
        transport: Literal["auto", "websocket", "http"] = "auto",
        ping_interval_s: float = 20.0,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        log_content: bool = False,
        world: World | None = None,
    ) -> None:
        check_turn(deadlines, policy)
        check_kind(
            limits,
            "limits",
            PoolLimits,
            "give trunkline.PoolLimits(max_connections=8), for example",
            optional=True,
        )
        check_kind(hooks, "hooks", Hooks, "give trunkline.Hooks(turn_finished=…)", optional=True)
        check_flag(lanes, "lanes", optional=True)
        check_count(max_buffered_events, "max_buffered_events")
        check_flag(replay_actions, "replay_actions")
        check_number(ping_interval_s, "ping_interval_s", above=0, finite=True)
        check_kind(ssl_context, "ssl_context", ssl.SSLContext, "give an ssl.SSLContext", optional=True)
        check_proxy(proxy)
        check_flag(log_content, "log_content")
        mode = _mode(transport)
        if base_url == "":
            refuse(
                "base_url",
                base_url,
                "give a URL such as https://api.openai.com/v1, or None for OPENAI_BASE_URL",
            )
        self._limits = limits or PoolLimits()
        self._endpoint = Endpoint.of(
            base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL, lanes=lanes
        )
        self._credentials = Credentials(api_key, organization, project, headers or {})
        self._settings = TurnSettings(
            deadlines=deadlines or Deadlines(),
            policy=policy or Policy(),
            max_buffered_events=max_buffered_events,
            replay_actions=replay_actions,
            hooks=hooks or Hooks(),
            log_content=log_content,
        )
        world, wakeups, self._counters = world or World(), Wakeups(), PoolCounters()
        dialler = Dialler(
            self._credentials,
            wakeups,
            world,
            ssl_context=ssl_context,
            ping_interval_s=ping_interval_s,
            proxy=proxy,
        )
        pool = Pool(
            dialler,
            named_lanes=self._endpoint.lanes,
            limits=self._limits,
            connect_s=self._settings.deadlines.connect,
            counters=self._counters,
            world=world,
            log_content=log_content,
        )
        http = HttpTransport(
            self._endpoint.http_url,
            self._credentials.headers,
            connect_s=self._settings.deadlines.connect,
            ssl_context=ssl_context,
            proxy=proxy,
            log_content=log_content,
        )
        self._transports = Transports(
            pool,
            http,
            mode,
            counters=self._counters,
            wakeups=wakeups,
            world=world,
        )
        self._pool = pool
        self._keyed: OrderedDict[Hashable, _Keyed] = OrderedDict()
        self._fields: Fields | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def metrics(self) -> PoolMetrics:
        """The counts of this client at this moment."""
        return self._counters.snapshot()

    def state(self) -> PoolState:
        """What the connections do at this moment: sockets, lanes, turns in flight."""
        return self._transports.state()

    @property
    def url(self) -> str:
        """Where responses are created, such as ``https://api.openai.com/v1/responses``."""
        return self._endpoint.http_url

    @property
    def deadlines(self) -> Deadlines:
        """How long turns wait that are not told otherwise."""
        return self._settings.deadlines

    @property
    def connections(self) -> int:
        """How many connections are open or being dialled."""
        return len(self._pool.connections)

    def conversation(
        self,
        *,
        model: str,
        instructions: str | None = None,
        tools: Sequence[Tool] | None = None,
        items: Sequence[ItemInput] = (),
        extra_fields: Mapping[str, Any] | None = None,
        **fields: Unpack[RequestFields],
    ) -> Conversation:
        """A conversation that keeps its own history.

        Args:
            model: the model's name.
            instructions: sent with each turn.
            tools: Python functions, which ``run`` executes, and tool definitions as the API documents them.
            items: a history to begin with, as ``Conversation.items`` gave it.
            extra_fields: fields that `RequestFields` does not know, for each turn.
            fields: further fields of the Responses API, for each turn.

        Raises:
            ConfigurationError: something given is wrong.
        """
        toolbox = Toolbox.of(tools or ())
        values = {
            "model": model,
            "instructions": instructions,
            "tools": toolbox.definitions or None,
            **fields,
        }
        values = with_extra(values, extra_fields)
        history = History.of(items_of(items, "items"))
        return Conversation(self._turn, self._shared_fields(values), toolbox, history)

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
        """One turn of a history that is kept elsewhere: give all of it; the wire carries what is new.

        Args:
            model: the model's name.
            input: the whole history and the new items.
            key: whose history it is. Turns of one key are chained; without a key nothing is. As many keys
                are remembered as ``PoolLimits.max_keys`` says.
            tools: Python functions (not executed here) and tool definitions.
            deadlines: how long this turn waits, instead of the client's.
            policy: how often this turn is asked again, instead of the client's.
            text_format: as for `Conversation.send`.
            instructions: sent with this turn.
            extra_fields: fields that `RequestFields` does not know.
            fields: further fields of the Responses API.

        Raises:
            ConfigurationError: something given is wrong; nothing was sent.
        """
        check_turn(deadlines, policy)
        check_kind(key, "key", Hashable, "give a string or another hashable value", optional=True)
        form = TextFormat.of(text_format) if text_format is not None else None
        given = {
            "model": model,
            "instructions": instructions,
            **fields,
            "tools": Toolbox.of(tools).definitions or None if tools is not None else None,
        }
        values = with_format(with_extra(given, extra_fields), None, form)
        whole = _as_items(input)
        known = self._known(key) if key is not None else _Keyed()
        if known.fields is None:
            known.fields = self._shared_fields(values)
        else:
            known.fields = known.fields.following(values)
        known.history = known.history.following(whole)
        check_calls(known.history, known.fields)
        owner = known.owner if key is not None else None
        turn = self._turn(known.fields, known.history, owner, deadlines=deadlines, policy=policy)
        return ResponseStream(turn, text_format=form)

    def forget(self, key: Hashable) -> None:
        """Forget what is known of a key. Its next turn is sent in full."""
        self._keyed.pop(key, None)

    async def warm(self, *, model: str, connections: int = 1) -> None:
        """Have sockets ready before they are needed.

        Args:
            model: the model's name; gateways see it at the upgrade.
            connections: how many.

        Raises:
            NetworkError: one of them could not be made.
            DeadlineExceeded: one of them was not made in time.
        """
        check_kind(model, "model", str, "give the name of a model")
        check_count(connections, "connections")
        self._check_loop()
        failure = await self._pool.warm(self._endpoint.websocket_url_for(model), connections)
        if failure is not None:
            raise failure.exception()

    async def close(self, within_s: float = 5.0) -> None:
        """End every turn and close every socket. Streams that are open end with an error.

        Args:
            within_s: sockets that take longer are dropped, in seconds.

        Raises:
            WrongEventLoop: this is not the client's event loop.
        """
        check_number(within_s, "within_s")
        if self._loop is not None and not self._loop.is_running():
            self._transports.end()
            return
        self._check_loop()
        await self._transports.close(within_s)

    async def __aenter__(self) -> Self:
        self._check_loop()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _turn(
        self,
        fields: Fields,
        asked: History,
        owner: Owner | None,
        *,
        generate: bool = True,
        deadlines: Deadlines | None = None,
        policy: Policy | None = None,
    ) -> Turn:
        self._check_loop()
        if not self._transports.keeps_responses:
            fields = fields.including(ENCRYPTED_REASONING)
        url = self._endpoint.websocket_url_for(fields.model)
        settings = self._settings.varied(deadlines, policy)
        return Turn(self._transports, Request(url, fields, asked, owner, generate), settings)

    def _shared_fields(self, values: Mapping[str, Any]) -> Fields:
        """The fields of a new conversation or key. Those of one application share what is equal in them."""
        known = self._fields
        self._fields = known.following(values) if known is not None else Fields.of(values)
        return self._fields

    def _known(self, key: Hashable) -> _Keyed:
        known = self._keyed.setdefault(key, _Keyed())
        self._keyed.move_to_end(key)
        if len(self._keyed) > self._limits.max_keys:
            self._keyed.popitem(last=False)
        return known

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._transports.begin()
        elif self._loop is not loop:
            raise WrongEventLoop("this client belongs to another event loop; create one client for each loop")

    def __repr__(self) -> str:
        return f"<Client of {self._endpoint.host}: {self.connections} connections>"  # never the key


class _Keyed:
    """What is known of the history behind a key."""

    __slots__ = ("fields", "history", "owner")

    def __init__(self) -> None:
        self.owner = Owner()
        self.history = History()
        self.fields: Fields | None = None


def _mode(transport: str) -> Transport:
    try:
        return Transport(transport)
    except ValueError:
        raise ConfigurationError(
            f"transport must be 'auto', 'websocket' or 'http', not {transport!r}", argument="transport"
        ) from None


def _as_items(value: TurnInput) -> Sequence[ItemInput]:
    if isinstance(value, str):
        return [user_message(value)]
    return [value] if isinstance(value, Mapping) else value
