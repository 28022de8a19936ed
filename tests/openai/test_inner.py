from __future__ import annotations

import httpx
import httpx2
import pytest

from trunkline.openai.inner import InnerTransports


def made(proxy: str | None = None) -> InnerTransports:
    return InnerTransports(httpx2, "AsyncHTTPTransport", None, {"proxy": proxy})


def test_there_is_one_transport_for_each_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    monkeypatch.setenv("NO_PROXY", "direct.example")
    transports = made()
    one = transports.for_url("https://api.openai.com/v1/models")
    assert isinstance(one, httpx2.AsyncHTTPTransport)
    assert transports.for_url("https://other.example/") is one
    assert transports.for_url("https://direct.example/") is not one
    assert len(transports.taken()) == 2
    assert transports.taken() == []


def test_a_proxy_of_the_caller_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:1")
    transports = made("http://mine:2")
    assert transports.for_url("https://a/") is transports.for_url("http://b/")
    without = made("")
    assert without.for_url("https://a/") is without.for_url("https://direct.example/")


def test_a_proxy_without_a_scheme_is_one_of_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy:1")
    assert made().for_url("https://a/") is not None


def test_transports_are_those_of_the_library() -> None:
    found = InnerTransports(httpx, "HTTPTransport", None, {"proxy": ""}).for_url("https://a/")
    assert isinstance(found, httpx.HTTPTransport)


def test_the_transport_of_the_caller_is_the_only_one() -> None:
    given = httpx2.AsyncHTTPTransport()
    transports = InnerTransports(httpx2, "AsyncHTTPTransport", given, {})
    assert transports.for_url("https://a/") is given
    assert transports.taken() == [given]
