"""URLs and headers, from what people write in settings."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline._network.endpoint import Endpoint
from trunkline.errors import ConfigurationError

SECRET = "sk-secret-0123456789"


@pytest.mark.parametrize(
    ("base_url", "websocket_url"),
    [
        ("https://api.openai.com/v1", "wss://api.openai.com/v1/responses"),
        ("https://api.openai.com/v1/", "wss://api.openai.com/v1/responses"),
        ("wss://api.openai.com/v1/responses", "wss://api.openai.com/v1/responses"),
        ("wss://api.x.ai/v1/responses/", "wss://api.x.ai/v1/responses"),
        ("HTTPS://api.x.ai/v1", "wss://api.x.ai/v1/responses"),
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/responses"),
        ("ws://[::1]:8000/", "ws://[::1]:8000/responses"),
        (
            "https://r.openai.azure.com/openai/v1?api-version=1",
            "wss://r.openai.azure.com/openai/v1/responses?api-version=1",
        ),
        ("https://gateway.example/my-responses", "wss://gateway.example/my-responses/responses"),
    ],
)
def test_the_websocket_url_follows_from_the_base_url(base_url: str, websocket_url: str) -> None:
    assert Endpoint.of(base_url).websocket_url == websocket_url


@pytest.mark.parametrize(
    ("base_url", "http_url"),
    [
        ("https://api.openai.com/v1/", "https://api.openai.com/v1/responses"),
        ("wss://gateway.example/v1?a=b", "https://gateway.example/v1/responses?a=b"),
        ("ws://127.0.0.1:8000/v1/responses", "http://127.0.0.1:8000/v1/responses"),
    ],
)
def test_the_http_url_is_the_same_resource(base_url: str, http_url: str) -> None:
    assert Endpoint.of(base_url).http_url == http_url


def test_lanes_are_for_the_endpoint_that_is_known_to_have_them_unless_told() -> None:
    openai, gateway = "https://API.openai.com:443/v1", "https://api.openai.com.example/v1"
    assert Endpoint.of(openai).lanes
    assert Endpoint.of(openai).host == "api.openai.com"
    assert not Endpoint.of(gateway).lanes
    assert not Endpoint.of(openai, lanes=False).lanes
    assert Endpoint.of(gateway, lanes=True).lanes


@pytest.mark.parametrize(
    ("base_url", "model", "url"),
    [
        ("https://api.openai.com/v1", "gpt-6-astra", "wss://api.openai.com/v1/responses"),
        ("https://gateway.example/v1", "gpt-6-astra", "wss://gateway.example/v1/responses?model=gpt-6-astra"),
        ("https://g.example/v1?team=a%20b", "m", "wss://g.example/v1/responses?team=a%20b&model=m"),
        ("https://g.example/v1?model=pinned", "m", "wss://g.example/v1/responses?model=pinned"),
        ("https://g.example/v1", "a/b&c=d", "wss://g.example/v1/responses?model=a%2Fb%26c%3Dd"),
    ],
)
def test_gateways_see_the_model_in_the_url(base_url: str, model: str, url: str) -> None:
    assert Endpoint.of(base_url).websocket_url_for(model) == url


@pytest.mark.parametrize(
    ("base_url", "shown", "remedy"),
    [
        ("api.openai.com/v1", "api.openai.com/v1", "write https://api.openai.com/v1"),
        ("localhost:8000/v1", "localhost:8000/v1", "write https://localhost:8000/v1"),
        ("", "", "https://"),
        ("ftp://example.org/v1", "ftp://example.org/v1", "use https, http, wss or ws"),
        ("https:///v1", "https:///v1", "https://HOST"),
        ("https://:443/v1", "https://:443/v1", "https://HOST"),
        ("https://example.org:port/v1", "https://example.org:port/v1", "https://HOST"),
        ("https://example.org:0/v1", "https://example.org:0/v1", "https://HOST"),
        ("https://[::1/v1", "https://[::1/v1", "https://HOST"),
        ("https://example.org/v1#part", "https://example.org/v1", "remove the #"),
        ("https://example.org/v1#", "https://example.org/v1", "remove the #"),
        ("https://example.org/v1 ", "https://example.org/v1 ", "remove it"),
        ("https://example.org/v1\n", r"https://example.org/v1\n", "remove it"),
        (f"https://user:{SECRET}@example.org/v1", "https://example.org/v1", "api_key"),
        (f"https://{SECRET}@example.org/v1", "https://example.org/v1", "api_key"),
        (f"example.org/v1?key={SECRET}", "example.org/v1", "write https://example.org/v1"),
        (f"ftp://{SECRET}@example.org/v1?key={SECRET}", "ftp://example.org/v1", "use https"),
    ],
)
def test_a_base_url_that_cannot_be_dialled_is_named_with_its_remedy(
    base_url: str, shown: str, remedy: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Endpoint.of(base_url)
    message = str(raised.value)
    assert f"'{shown}'" in message
    assert remedy in message
    assert SECRET not in message
    assert raised.value.argument == "base_url"


hosts = st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z]{2,5}){1,2}", fullmatch=True)
paths = st.lists(st.sampled_from(["v1", "openai", "responses", "a-b", "%20"]), max_size=4)
queries = st.sampled_from(["", "a=b", "a=b&c=%26", "model"])


@given(
    st.sampled_from(["http", "https", "ws", "wss"]), hosts, paths, st.booleans(), queries, st.text(min_size=1)
)
def test_every_base_url_leads_to_one_resource(
    scheme: str, host: str, path: list[str], slash: bool, query: str, model: str
) -> None:
    base_url = (
        f"{scheme}://{host}"
        + "".join(f"/{part}" for part in path)
        + "/" * slash
        + ("?" + query) * bool(query)
    )
    endpoint = Endpoint.of(base_url)
    parts = urlsplit(endpoint.websocket_url)
    assert parts.scheme == ("wss" if scheme in ("https", "wss") else "ws")
    assert parts.path.endswith("/responses")
    assert parts.path.count("/responses") == max(1, path.count("responses"), path[:-1].count("responses") + 1)
    assert parts.query == query
    assert urlsplit(endpoint.http_url)[1:] == parts[1:]
    assert Endpoint.of(endpoint.websocket_url) == Endpoint.of(endpoint.http_url) == endpoint
    url = urlsplit(endpoint.websocket_url_for(model))
    assert url[:3] == parts[:3]
    assert url.query.startswith(query)
    if query != "model":
        assert parse_qs(url.query)["model"] == [model]


@pytest.mark.parametrize(
    ("base_url", "repeats"),
    [
        ("https://api.x.ai/v1", True),
        ("https://eu-west-1.api.x.ai/v1", True),
        ("https://api.openai.com/v1", False),
        ("https://notapi.x.ai/v1", False),
        ("http://127.0.0.1:8000", False),
    ],
)
def test_xai_is_known_to_give_all_responses_of_a_connection_one_id(base_url: str, repeats: bool) -> None:
    assert Endpoint.of(base_url).repeats_ids is repeats
