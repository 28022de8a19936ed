"""Routes from URLs, proxy settings and the environment."""

from __future__ import annotations

import pytest

from trunkline._network.route import authority, route_to
from trunkline.errors import ConnectFailed

pytestmark = pytest.mark.usefixtures("no_proxy")


@pytest.mark.parametrize(
    ("url", "target", "secure"),
    [
        ("ws://example.org", "example.org:80", False),
        ("wss://example.org/v1/responses?a=b", "example.org:443", True),
        ("WSS://Example.ORG:8443", "example.org:8443", True),
        ("ws://[::1]:8080/x", "[::1]:8080", False),
        ("http://example.org/v1", "example.org:80", False),
        ("https://example.org/v1", "example.org:443", True),
    ],
)
def test_the_straight_way(url: str, target: str, secure: bool) -> None:
    route = route_to(url, None)
    assert str(route) == route.target == target
    assert (route.secure, route.proxy, route.secure_proxy) == (secure, None, False)
    assert authority(route.host, route.port) == target


@pytest.mark.parametrize(
    ("proxy", "normal", "host", "port", "secure"),
    [
        ("proxy.example", "http://proxy.example", "proxy.example", 80, False),
        ("proxy.example:3128", "http://proxy.example:3128", "proxy.example", 3128, False),
        ("http://u:p@proxy.example:3128/", "http://u:p@proxy.example:3128", "proxy.example", 3128, False),
        ("HTTPS://proxy.example", "https://proxy.example", "proxy.example", 443, True),
        ("socks5://proxy.example", "socks5://proxy.example:1080", "proxy.example", 1080, False),
        ("socks5h://u:p@proxy.example", "socks5://u:p@proxy.example:1080", "proxy.example", 1080, False),
        ("socks4://[::1]", "socks4://[::1]:1080", "::1", 1080, False),
        ("socks5://[::1]:9", "socks5://[::1]:9", "::1", 9, False),
    ],
)
def test_proxies_may_be_written_in_many_ways(
    proxy: str, normal: str, host: str, port: int, secure: bool
) -> None:
    route = route_to("ws://example.org", proxy)
    assert (route.proxy, route.host, route.port, route.secure_proxy) == (normal, host, port, secure)
    assert str(route) == f"example.org:80 through the proxy {authority(host, port)}"


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("ftp://u:secret@example.org", None),
        ("ws:///secret", None),
        ("ws://example.org:secret", None),
        ("ws://[secret", None),
        ("ws://example.org", "ftp://u:secret@proxy.example"),
        ("ws://example.org", "http://u:secret@"),
        ("ws://example.org", "http://u@proxy.example:secret"),
        ("ws://example.org", "socks5://"),
    ],
)
def test_what_cannot_be_dialled_is_refused_without_being_quoted(url: str, proxy: str | None) -> None:
    with pytest.raises(ConnectFailed) as raised:
        route_to(url, proxy)
    assert "secret" not in f"{raised.value} {raised.value.__cause__!r}"
