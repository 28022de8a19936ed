"""The LLM for LiveKit's sessions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx2
from livekit.agents import llm
from livekit.agents import metrics as livekit_metrics
from livekit.agents.inference.llm import PromptCacheOptions, supports_prompt_cache_breakpoints
from livekit.agents.llm import ChatContext, Tool, ToolChoice
from livekit.agents.types import (
    DEFAULT_API_CONNECT_OPTIONS,
    NOT_GIVEN,
    APIConnectOptions,
    NotGiven,
    NotGivenOr,
)
from livekit.agents.utils import is_given
from openai.types import Reasoning
from openai.types.shared_params import ResponsesModel
from trunkline import Client, ConfigurationError

from .access import Access, ClientSource, GivenClient, OwnClient
from .clients import ApiKey, ClientSettings
from .metrics import with_facts
from .options import Options, ServiceTier, Truncation, Verbosity, lowest_effort
from .stream import LLMStream, stream_of_metrics

_OPENAI_HOST = "api.openai.com"


class LLM(llm.LLM[Any]):
    """OpenAI's Responses API over trunkline, for LiveKit's sessions.

    The parameters are those of ``livekit.plugins.openai.responses.LLM``, with these differences:

    Args:
        api_key: the key, or an async function that returns it, called for each new connection.
        base_url: by default ``OPENAI_BASE_URL``; ``/responses`` is appended if missing.
        client: a `trunkline.Client` to share; its credentials, URL and transport are used, and it is not
            closed with this LLM. By default the LLM creates a client, which LLMs of the same event loop
            with the same key, URL, transport, time-outs and headers share.
        use_websocket: if false, use HTTP only; if true, fall back to HTTP while WebSocket is unavailable.
        timeout: ``connect`` bounds connecting, ``read`` the time between two events. By default the
            ``conn_options`` of each request bound connecting and the first output.
        extra_headers: further headers of upgrades and HTTP requests.
        lanes: whether the service answers several requests on one connection (``stream_id``). By default
            only ``api.openai.com`` does.
        strict_tool_schema: true sends strict schemas of Python functions, false sends ``strict: false``.
            By default the definitions are those of the openai plugin, without ``strict``.
        safety_identifier: a hash that identifies the end user, for each request.
        top_p: nucleus sampling, for each request.
        truncation: ``auto`` drops items from the middle of a context that is too long, for each request.
        prompt_cache_key: groups requests that share a prefix in the prompt cache, for each request. Give
            each session an LLM and a key of its own: the LLMs share connections.

    Raises:
        ValueError: the API key is missing, an argument is invalid, or does not go with ``client``.
    """

    def __init__(
        self,
        *,
        model: str | ResponsesModel = "gpt-4.1",
        api_key: NotGivenOr[ApiKey] = NOT_GIVEN,
        base_url: NotGivenOr[str] = NOT_GIVEN,
        client: Client | None = None,
        use_websocket: bool = True,
        user: NotGivenOr[str] = NOT_GIVEN,
        temperature: NotGivenOr[float] = NOT_GIVEN,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        reasoning: NotGivenOr[Reasoning] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice | Literal["auto", "required", "none"]] = NOT_GIVEN,
        store: NotGivenOr[bool] = NOT_GIVEN,
        metadata: NotGivenOr[dict[str, str]] = NOT_GIVEN,
        service_tier: NotGivenOr[ServiceTier] = NOT_GIVEN,
        verbosity: NotGivenOr[Verbosity] = NOT_GIVEN,
        max_output_tokens: NotGivenOr[int] = NOT_GIVEN,
        timeout: httpx2.Timeout | None = None,
        prompt_cache_options: NotGivenOr[PromptCacheOptions] = NOT_GIVEN,
        prompt_cache_breakpoints: bool | Literal["auto"] = "auto",
        extra_headers: NotGivenOr[Mapping[str, str]] = NOT_GIVEN,
        lanes: NotGivenOr[bool] = NOT_GIVEN,
        strict_tool_schema: NotGivenOr[bool] = NOT_GIVEN,
        safety_identifier: NotGivenOr[str] = NOT_GIVEN,
        top_p: NotGivenOr[float] = NOT_GIVEN,
        truncation: NotGivenOr[Truncation] = NOT_GIVEN,
        prompt_cache_key: NotGivenOr[str] = NOT_GIVEN,
    ) -> None:
        super().__init__()
        if client is not None and not isinstance(client, Client):
            raise TypeError("client must be a trunkline.Client: from livekit.plugins.trunkline import Client")
        self._options = Options(
            model=str(model),
            user=user,
            safety_identifier=safety_identifier,
            temperature=temperature,
            top_p=top_p,
            parallel_tool_calls=parallel_tool_calls,
            reasoning=_reasoning(str(model), reasoning),
            tool_choice=tool_choice,
            store=store,
            metadata=metadata,
            service_tier=service_tier,
            verbosity=verbosity,
            max_output_tokens=max_output_tokens,
            truncation=truncation,
            prompt_cache_key=prompt_cache_key,
            prompt_cache_options=prompt_cache_options,
        )
        source: ClientSource
        if client is not None:
            for name, given in (("extra_headers", extra_headers), ("lanes", lanes)):
                if is_given(given):
                    raise ValueError(f"{name} cannot be given with client; give it to the trunkline.Client")
            source = GivenClient(client)
        else:
            try:
                source = OwnClient(
                    ClientSettings.of(
                        api_key=None if isinstance(api_key, NotGiven) else api_key,
                        base_url=base_url if is_given(base_url) else None,
                        headers=extra_headers if is_given(extra_headers) else {},
                        use_websocket=use_websocket,
                        lanes=lanes if is_given(lanes) else None,
                        timeout=timeout,
                    )
                )
            except ConfigurationError as error:
                del api_key, base_url, extra_headers  # error reporters show local variables
                raise error.with_traceback(None)  # noqa: B904 - the same exception
        self._provider = urlsplit(source.url).netloc
        self._access = Access(
            source,
            breakpoints=self._sends_breakpoints(prompt_cache_breakpoints, source.url),
            connect_s=timeout.connect if timeout is not None else None,
            strict=strict_tool_schema if is_given(strict_tool_schema) else None,
        )

    @property
    def model(self) -> str:
        """The model's name."""
        return self._options.model

    @property
    def provider(self) -> str:
        """The endpoint's host, with its port if the URL has one."""
        return self._provider

    @property
    def client(self) -> Client:
        """The `trunkline.Client` in use: the one that was given, or one of the running event loop."""
        return self._access.client

    def chat(
        self,
        *,
        chat_ctx: ChatContext,
        tools: list[Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[ToolChoice] = NOT_GIVEN,
        response_format: NotGivenOr[type | dict[str, Any]] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> LLMStream:
        """Request an answer to a chat context. Items that the service already has are not sent again.

        Args:
            chat_ctx: the whole context.
            tools: the tools that the model may call.
            conn_options: ``timeout`` bounds connecting, and the time from the request to the first output;
                the rest sets LiveKit's retries.
            parallel_tool_calls: overrides the LLM's setting.
            tool_choice: overrides the LLM's setting.
            response_format: a Pydantic model, or a response format of chat completions.
            extra_kwargs: further fields of the Responses API.

        Raises:
            ValueError: ``extra_kwargs`` contains a name that is not a request field.
        """
        fields = self._options.fields(
            parallel_tool_calls=parallel_tool_calls,
            tool_choice=tool_choice,
            response_format=response_format,
            extra_kwargs=extra_kwargs,
        )
        return LLMStream(
            self,
            self._access,
            chat_ctx=chat_ctx,
            tools=tools or [],
            conn_options=conn_options,
            fields=fields,
        )

    def emit(self, event: Any, *args: Any) -> None:
        """Emit an event. LiveKit's metrics of a request become `LLMMetrics`, with the facts of trunkline."""
        stream = stream_of_metrics.get()
        if event == "metrics_collected" and stream is not None:
            args = tuple(_with_facts(each, stream) for each in args)
        super().emit(event, *args)

    async def aclose(self) -> None:
        """Let answers end for up to 2 s, forget all conversations, close the client unless others use it.

        LiveKit does not call it by itself: ``ctx.add_shutdown_callback(llm.aclose)``.
        """
        await super().aclose()
        await self._access.close()

    async def _prewarm_impl(self) -> None:
        await self.client.warm(model=self.model)

    def _sends_breakpoints(self, setting: bool | Literal["auto"], url: str) -> bool:
        if isinstance(setting, bool):
            return setting
        host = (urlsplit(url).hostname or "").rstrip(".")
        return host == _OPENAI_HOST and supports_prompt_cache_breakpoints(self.model)


def _with_facts(metrics: Any, stream: LLMStream) -> Any:
    turn = stream.turn
    if type(metrics) is not livekit_metrics.LLMMetrics or turn is None:
        return metrics
    return with_facts(metrics, turn)


def _reasoning(model: str, given: NotGivenOr[Reasoning]) -> NotGivenOr[Reasoning]:
    if not is_given(given):
        return lowest_effort(model) or NOT_GIVEN
    return Reasoning.model_validate(given) if isinstance(given, dict) else given
