"""Who asks: a key that is given, or asked for, and the headers that it becomes."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable

from ..arguments import check_headers, refuse
from ..errors import ConfigurationError
from .endpoint import auth_headers

ApiKey = str | Callable[[], str | Awaitable[str]]


class Credentials:
    """Who asks, as headers."""

    def __init__(
        self,
        api_key: ApiKey | None,
        organization: str | None,
        project: str | None,
        headers: Mapping[str, str],
    ) -> None:
        check_headers(headers)
        if api_key is not None and not callable(api_key) and not (isinstance(api_key, str) and api_key):
            refuse("api_key", api_key, "give a key, a function that returns one, or None for OPENAI_API_KEY")
        given = {name.lower() for name in headers}
        self._api_key = api_key or os.environ.get("OPENAI_API_KEY")
        if not self._api_key and given.isdisjoint({"authorization", "api-key"}):
            raise ConfigurationError(
                "api_key is missing; pass it to Client, or set OPENAI_API_KEY", argument="api_key"
            )
        self._organization = organization or os.environ.get("OPENAI_ORG_ID")
        self._project = project or os.environ.get("OPENAI_PROJECT_ID")
        self._headers = dict(headers)
        self._headers_with(None if callable(self._api_key) else self._api_key)  # what is wrong shows at once

    @property
    def may_change(self) -> bool:
        """Whether asking again may give another key."""
        return callable(self._api_key)

    async def headers(self) -> dict[str, str]:
        """The headers that say who asks; asks for the key anew."""
        key = self._api_key
        if callable(key):
            given = key()
            key = await given if isawaitable(given) else given
        return self._headers_with(key)

    def _headers_with(self, key: str | None) -> dict[str, str]:
        return auth_headers(
            api_key=key,
            organization=self._organization,
            project=self._project,
            headers=self._headers,
        )

    def __repr__(self) -> str:
        return "<credentials>"
