"""Proxies from environments: the variables, their precedence, and the entries of NO_PROXY."""

from __future__ import annotations

import urllib.request
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline._network.environment import is_exempt, proxy_in, proxy_of

ONE, OTHER = "http://one:3128", "socks5://other:1080"

NAMED = [
    # entry, and the servers that it names
    ("*", "example.org:443"),
    ("other.org,*", "example.org:443"),
    ("example.org", "example.org:443"),
    ("example.org", "api.example.org:443"),
    (".example.org", "api.example.org:443"),
    (".example.org", "example.org:443"),
    ("*.example.org", "api.example.org:443"),
    ("Example.ORG.", "api.EXAMPLE.org:443"),
    ("example.org", "example.org.:443"),
    ("example.org:443", "example.org:443"),
    (".example.org:8443", "api.example.org:8443"),
    ("example.org:", "example.org:443"),
    ("other.org, example.org", "example.org:443"),
    ("other.org example.org", "example.org:443"),
    (",, ,example.org,", "example.org:443"),
    ("localhost", "localhost:8080"),
    ("127.0.0.1", "127.0.0.1:8080"),
    ("127.0.0.1:8080", "127.0.0.1:8080"),
    ("127.0.0.0/8", "127.1.2.3:80"),
    ("10.1.2.3/8", "10.200.0.1:80"),
    ("10.0.0.0/255.0.0.0", "10.200.0.1:80"),
    ("0.0.0.0/0", "8.8.8.8:80"),
    ("::1", "[::1]:8080"),
    ("[::1]", "[::1]:8080"),
    ("[::1]:8080", "[::1]:8080"),
    ("0:0:0:0:0:0:0:1", "[::1]:8080"),
    ("::1", "[0:0:0:0:0:0:0:1]:8080"),
    ("localhost,::1", "[::1]:8080"),
    ("FD00::/8", "[fd12::1]:80"),
    ("[fd00::]/8", "[fd12::1]:80"),
    ("[fd00::/8]", "[fd12::1]:80"),
    ("[fd00::]/8:80", "[fd12::1]:80"),
    ("::/0", "[2001:db8::1]:80"),
    ("fe80::1", "[fe80::1%25eth0]:80"),
    ("fe80::1%eth0", "[fe80::1]:80"),
    ("10.0.0.0/8", "[::ffff:10.1.1.1]:80"),
    ("::ffff:10.1.1.1", "[::ffff:10.1.1.1]:80"),
]
NOT_NAMED = [
    ("", "example.org:443"),
    ("example.org", "notexample.org:443"),
    ("example.org", "example.org.evil.net:443"),
    ("api.example.org", "example.org:443"),
    ("example.org:80", "example.org:443"),
    ("example.org:x", "example.org:443"),
    (".", "example.org:443"),
    ("*.", "example.org:443"),
    ("ex*mple.org", "example.org:443"),
    ("localhost", "127.0.0.1:80"),
    ("127.0.0.1", "localhost:80"),
    ("127.0.0.0/8", "localhost:80"),
    ("0.0.1", "127.0.0.1:80"),
    ("10.0.0.0/8", "11.0.0.1:80"),
    ("10.0.0.0/33", "10.0.0.0:80"),
    ("127.0.0.1:81", "127.0.0.1:80"),
    ("[::1]:81", "[::1]:80"),
    ("[::1", "[::1]:80"),
    ("[]", "[::1]:80"),
    ("::2", "[::1]:80"),
    ("fd00::/8", "[fe80::1]:80"),
    ("0.0.0.0/0", "[2001:db8::1]:80"),
    ("::/0", "8.8.8.8:80"),
]


@pytest.mark.parametrize(("no_proxy", "server"), NAMED)
@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_a_server_that_no_proxy_names_has_no_proxy(no_proxy: str, server: str, scheme: str) -> None:
    assert proxy_in({"ALL_PROXY": ONE, "NO_PROXY": no_proxy}, f"{scheme}://{server}/v1") is None


@pytest.mark.parametrize(("no_proxy", "server"), NOT_NAMED)
@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_a_server_that_no_proxy_does_not_name_has_one(no_proxy: str, server: str, scheme: str) -> None:
    assert proxy_in({"ALL_PROXY": ONE, "NO_PROXY": no_proxy}, f"{scheme}://{server}/v1") == ONE


@pytest.mark.parametrize(
    ("scheme", "environment", "proxy"),
    [
        ("http", {}, None),
        ("http", {"HTTP_PROXY": ONE}, ONE),
        ("http", {"http_proxy": ONE}, ONE),
        ("http", {"HTTPS_PROXY": ONE}, None),
        ("https", {"HTTPS_PROXY": ONE}, ONE),
        ("https", {"https_proxy": ONE}, ONE),
        ("https", {"HTTP_PROXY": ONE}, None),
        ("http", {"ALL_PROXY": OTHER}, OTHER),
        ("https", {"all_proxy": OTHER}, OTHER),
        ("https", {"HTTPS_PROXY": ONE, "ALL_PROXY": OTHER}, ONE),
        ("https", {"HTTPS_PROXY": "", "ALL_PROXY": OTHER}, OTHER),
        ("https", {"HTTPS_PROXY": f" {ONE} "}, ONE),
        ("https", {"https_proxy": ONE, "HTTPS_PROXY": OTHER}, ONE),
        ("https", {"https_proxy": "", "HTTPS_PROXY": OTHER}, None),
        ("https", {"HTTPS_PROXY": ONE, "NO_PROXY": "*"}, None),
        ("https", {"HTTPS_PROXY": ONE, "no_proxy": "", "NO_PROXY": "*"}, ONE),
        # A request header named "Proxy" becomes HTTP_PROXY in a CGI program.
        ("http", {"HTTP_PROXY": ONE, "REQUEST_METHOD": "GET"}, None),
        ("http", {"http_proxy": ONE, "REQUEST_METHOD": "GET"}, ONE),
        ("https", {"HTTPS_PROXY": ONE, "REQUEST_METHOD": "GET"}, ONE),
    ],
)
def test_the_variable_of_the_scheme_precedes_all_proxy(
    scheme: str, environment: dict[str, str], proxy: str | None
) -> None:
    assert proxy_in(environment, f"{scheme}://example.org") == proxy
    assert proxy_in(environment, f"{scheme.replace('http', 'ws')}://example.org") == proxy


PORTS = st.integers(1, 65535)
LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=8)
NAMES = st.lists(LABELS, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "org"]))
ADDRESSES = st.ip_addresses()


@given(NAMES, PORTS, st.lists(LABELS, max_size=2), st.sampled_from(["", ".", "*."]))
def test_a_name_covers_its_subdomains_and_no_other_name(
    name: str, port: int, labels: list[str], prefix: str
) -> None:
    host = ".".join([*labels, name])
    assert is_exempt(host, port, f"{prefix}{name}")
    assert is_exempt(host, port, f"x.invalid,{prefix}{name}:{port}")
    assert not is_exempt(host, port, f"{prefix}{name}:{port % 65535 + 1}")
    assert not is_exempt(f"{host}.net", port, f"{prefix}{name}")
    assert not is_exempt(host, port, f"y{name}")


@given(ADDRESSES, ADDRESSES, PORTS, st.integers(0, 128))
def test_addresses_and_networks_are_compared_as_numbers(
    address: object, other: object, port: int, prefix: int
) -> None:
    one, two = ip_address(str(address)), ip_address(str(other))
    bracketed = f"[{one.exploded}]" if one.version == 6 else str(one)
    assert is_exempt(str(one), port, one.exploded)
    assert is_exempt(str(one), port, f"{bracketed}:{port}")
    assert not is_exempt(str(one), port, f"{bracketed}:{port % 65535 + 1}")
    network = ip_network(f"{one}/{min(prefix, one.max_prefixlen)}", strict=False)
    assert is_exempt(str(one), port, str(network))
    if two.version == one.version:
        assert is_exempt(str(two), port, str(network)) == (two in network)


@given(st.text(), NAMES | ADDRESSES.map(str), PORTS)
def test_any_text_is_a_value_of_no_proxy(no_proxy: str, host: str, port: int) -> None:
    assert is_exempt(host, port, no_proxy) in (True, False)
    assert is_exempt(host, port, f"{no_proxy},*")


@pytest.mark.usefixtures("no_proxy")
def test_settings_of_the_system_apply_if_no_variable_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and Windows."""
    monkeypatch.setattr(urllib.request, "getproxies", lambda: {"https": ONE, "socks": OTHER})
    monkeypatch.setattr(urllib.request, "proxy_bypass", lambda host: host == "intranet")
    assert proxy_of("wss://example.org") == proxy_of("https://example.org") == ONE
    assert proxy_of("https://intranet/v1") is None
    assert proxy_of("http://example.org") is None
    monkeypatch.setenv("HTTPS_PROXY", OTHER)
    assert proxy_of("https://intranet/v1") == OTHER
