"""The LLM for LiveKit's sessions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import httpx2
from livekit.agents import llm
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
from trunkline import Client, Deadlines

from .access import Access
from .options import Options, ServiceTier, Verbosity, lowest_effort
from .stream import LLMStream

ApiKey: TypeAlias = str | Callable[[], Awaitable[str]]

_OPENAI_HOST = "api.openai.com"


class LLM(llm.LLM[Any]):
    """OpenAI's Responses API over trunkline, for LiveKit's sessions.

    The parameters are those of ``livekit.plugins.openai.responses.LLM``, with these differences:

    Args:
        api_key: the key, or an async function that returns it, called for each new connection.
        base_url: by default ``OPENAI_BASE_URL``; ``/responses`` is appended if missing.
        client: a `trunkline.Client` to share; its credentials, URL and transport are used, and it is not
            closed with this LLM. By default the LLM creates its own client.
        use_websocket: if false, use HTTP only; if true, fall back to HTTP while WebSocket is unavailable.
        timeout: ``connect`` bounds connecting, ``read`` the time between two events. By default the
            ``conn_options`` of each request bound connecting and the first event.

    Raises:
        ValueError: the API key is missing, or an argument is invalid.
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
    ) -> None:
        super().__init__()
        if client is not None and not isinstance(client, Client):
            raise TypeError("client must be a trunkline.Client: from livekit.plugins.trunkline import Client")
        self._options = Options(
            model=str(model),
            user=user,
            temperature=temperature,
            parallel_tool_calls=parallel_tool_calls,
            reasoning=_reasoning(str(model), reasoning),
            tool_choice=tool_choice,
            store=store,
            metadata=metadata,
            service_tier=service_tier,
            verbosity=verbosity,
            max_output_tokens=max_output_tokens,
            prompt_cache_options=prompt_cache_options,
        )
        make = _maker(api_key, base_url, use_websocket, timeout)
        used = client if client is not None else make()
        self._access = Access(
            used,
            remake=make if client is None else None,
            breakpoints=self._sends_breakpoints(prompt_cache_breakpoints, used.url),
            connect_s=timeout.connect if timeout is not None else None,
        )
        self._use_websocket = use_websocket

    @property
    def model(self) -> str:
        """The model's name."""
        return self._options.model

    @property
    def provider(self) -> str:
        """The endpoint's host, with its port if the URL has one."""
        return urlsplit(self._access.url).netloc

    @property
    def client(self) -> Client:
        """The `trunkline.Client` in use. This LLM's own one is replaced once its event loop is closed."""
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
            conn_options: ``timeout`` bounds connecting and the first event; the rest sets LiveKit's retries.
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

    async def aclose(self) -> None:
        """Forget all conversations; close the client unless it is shared."""
        await super().aclose()
        await self._access.close()

    async def _prewarm_impl(self) -> None:
        if self._use_websocket:
            await self.client.warm(model=self.model)

    def _sends_breakpoints(self, setting: bool | Literal["auto"], url: str) -> bool:
        if isinstance(setting, bool):
            return setting
        host = (urlsplit(url).hostname or "").rstrip(".")
        return host == _OPENAI_HOST and supports_prompt_cache_breakpoints(self.model)


def _maker(
    api_key: NotGivenOr[ApiKey],
    base_url: NotGivenOr[str],
    use_websocket: bool,
    timeout: httpx2.Timeout | None,
) -> Callable[[], Client]:
    """Return a function that creates the LLM's own client."""
    deadlines = Deadlines()
    if timeout is not None:
        deadlines = replace(deadlines, connect=timeout.connect, between_events=timeout.read)

    key: ApiKey | None = None if isinstance(api_key, NotGiven) else api_key

    def make() -> Client:
        return Client(
            api_key=key,
            base_url=base_url if is_given(base_url) else None,
            transport="auto" if use_websocket else "http",
            deadlines=deadlines,
        )

    return make


def _reasoning(model: str, given: NotGivenOr[Reasoning]) -> NotGivenOr[Reasoning]:
    if not is_given(given):
        return lowest_effort(model) or NOT_GIVEN
    return Reasoning.model_validate(given) if isinstance(given, dict) else given
