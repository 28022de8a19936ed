"""Headers that authenticate requests, from a static or callable API key."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable

from ..arguments import check_headers, refuse
from ..errors import ConfigurationError, ConnectFailed
from ..tracebacks import of_application

ApiKey = str | Callable[[], str | Awaitable[str]]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # the name of a header (RFC 9110, 5.6.2)


class Credentials:
    """The API key, organization, project and headers of one client.

    Args:
        api_key: a key, or a function that returns one, which may be async; ``None`` for ``OPENAI_API_KEY``.
        organization: the organization; ``None`` for ``OPENAI_ORG_ID``.
        project: the project; ``None`` for ``OPENAI_PROJECT_ID``.
        headers: further headers, as for `auth_headers`.

    Raises:
        ConfigurationError: the key is missing, or a name or value is not valid in a header.
    """

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
        # Invalid values raise here and not at the first dial.
        self._headers_with(None if callable(self._api_key) else self._api_key)

    @classmethod
    def exactly(cls, headers: Mapping[str, str]) -> Credentials:
        """Credentials that are these headers alone: no key and nothing of the environment is added."""
        check_headers(headers)
        made = cls.__new__(cls)
        made._api_key = made._organization = made._project = None
        made._headers = dict(headers)
        made._headers_with(None)
        return made

    @property
    def may_change(self) -> bool:
        """Whether the next call of `headers` may return another key."""
        return callable(self._api_key)

    async def headers(self) -> dict[str, str]:
        """The headers of one request. A callable key is called each time.

        Raises:
            ConnectFailed: the function of the key raised, which is the cause, or returned no valid key.
        """
        key = self._api_key
        if not callable(key):
            return self._headers_with(key)
        try:
            given = key()
            key = await given if isawaitable(given) else given
        except Exception as error:
            problem = f"the api_key function raised {type(error).__name__}; nothing was sent"
            raise ConnectFailed(problem) from of_application(error)
        try:
            return self._headers_with(key)
        except ConfigurationError as error:
            problem = f"the api_key function returned a key that cannot be sent: {error}"
            raise ConnectFailed(problem) from None

    def _headers_with(self, key: str | None) -> dict[str, str]:
        return auth_headers(
            api_key=key,
            organization=self._organization,
            project=self._project,
            headers=self._headers,
        )

    def __repr__(self) -> str:
        return "<credentials>"


def auth_headers(
    *,
    api_key: str | None = None,
    organization: str | None = None,
    project: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Headers that authenticate a request, for the upgrade and for HTTP.

    Args:
        api_key: sent as ``Authorization: Bearer …``, unless ``headers`` hold that or ``api-key``.
        organization: sent as ``OpenAI-Organization``.
        project: sent as ``OpenAI-Project``.
        headers: further headers. They replace headers of the same name; case is ignored.

    Raises:
        ConfigurationError: a name or value is not valid in a header. The message does not show the value.
    """
    given = dict(headers or {})
    lower = {name.lower() for name in given if isinstance(name, str)}
    ours = [
        ("OpenAI-Organization", "organization", organization, ""),
        ("OpenAI-Project", "project", project, ""),
    ]
    if "api-key" not in lower:
        ours.insert(0, ("Authorization", "api_key", api_key, "Bearer "))
    result: dict[str, str] = {}
    for name, argument, value, prefix in ours:
        if value is not None and name.lower() not in lower:
            _check_value(value, argument, argument)
            result[name] = prefix + value
    for name, value in given.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"{name!a} is not a valid header name", argument="headers")
        _check_value(value, f"the header {name}", "headers")
        result[name] = value
    return result


def _check_value(value: object, what: str, argument: str) -> None:
    # Messages do not show the value: it may be a key.
    if not isinstance(value, str):
        raise ConfigurationError(f"{what} must be a string, not {type(value).__name__}", argument=argument)
    if argument != "headers" and not value.strip():
        raise ConfigurationError(f"{what} is empty", argument=argument)
    if not value.isascii():
        raise ConfigurationError(f"{what} contains characters other than ASCII", argument=argument)
    if not value.isprintable():
        raise ConfigurationError(
            f"{what} contains a control character, such as a line break; remove it", argument=argument
        )


__all__ = ["ApiKey", "Credentials", "auth_headers"]
