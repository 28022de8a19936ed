from __future__ import annotations

import ssl
from typing import Any

import httpx2
import pytest

import trunkline
import trunkline.openai

MADE = [
    trunkline.openai.async_http_client,
    trunkline.openai.http_client,
    trunkline.openai.AsyncTransport,
    trunkline.openai.Transport,
]


@pytest.mark.parametrize("make", MADE, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "options",
    [
        {"lanes": "yes"},
        {"key": "a key"},
        {"tenancy": []},
        {"limits": 8},
        {"deadlines": 5},
        {"hooks": print},
        {"ssl_context": "no"},
        {"proxy": "nowhere"},
        {"log_content": 1},
        {"world": 1},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_wrong_option_is_named(make: Any, options: dict[str, Any]) -> None:
    with pytest.raises(trunkline.ConfigurationError) as caught:
        make(**options)
    assert caught.value.argument == next(iter(options))


def test_all_options_are_taken() -> None:
    client = trunkline.openai.http_client(
        lanes=True,
        key=lambda headers, fields: None,
        tenancy="tenant",
        limits=trunkline.PoolLimits(),
        deadlines=trunkline.Deadlines(),
        hooks=trunkline.Hooks(),
        ssl_context=ssl.create_default_context(),
        proxy="",
        log_content=True,
        world=trunkline.World(),
    )
    assert isinstance(client, httpx2.Client)
    client.close()


def test_the_client_has_the_timeout_that_the_sdk_replaces_by_its_own() -> None:
    assert trunkline.openai.http_client().timeout == httpx2.Client().timeout
    assert trunkline.openai.async_http_client().timeout == httpx2.AsyncClient().timeout
