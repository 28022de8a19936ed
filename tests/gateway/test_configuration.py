from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trunkline.errors import ConfigurationError
from trunkline.gateway.configuration import of, read

HASH = "ab" * 32
TENANT = {"keys_sha256": [HASH]}
SHARED = {"openai": {"api_key_env": "KEY"}}
VALKEY = {"valkey": "redis://valkey:6379"}


def mistakes(source: dict[str, Any], **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        of(source, environ)
    return str(raised.value).splitlines()


def test_without_a_file_the_gateway_is_a_sidecar() -> None:
    found = of({}, {"OPENAI_BASE_URL": "http://127.0.0.1:8787/v1"})
    assert (found.listen.host, found.listen.port) == ("127.0.0.1", 8787)
    assert found.upstreams["openai"].base_url == "https://api.openai.com/v1"
    assert not found.tenants
    assert not found.keys


def test_the_environment_replaces_settings() -> None:
    found = of({"listen": {"port": 1}}, {"TRUNKLINE_PORT": "99", "TRUNKLINE_NOTICE_S": "0.5"})
    assert found.listen.port == 99
    assert found.drain.notice_s == 0.5


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trunkline.toml"
    path.write_text(f'[upstream.openai]\napi_key_env = "KEY"\n[tenant.voice]\nkeys_sha256 = ["{HASH}"]\n')
    found = read(None, {"TRUNKLINE_CONFIG": str(path), "KEY": " sk-secret\n"})
    assert found.keys == {"openai": "sk-secret"}
    assert "sk-secret" not in repr(found)


@pytest.mark.parametrize("content", [None, "listen = [", b"\xff"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: str | bytes | None) -> None:
    path = tmp_path / "trunkline.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError, match=r"trunkline.toml cannot be read: "):
        read(path, {})


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"lisen": {}}, "lisen is no setting; use listen, admin, upstream, tenant, drain, bounds or shared"),
        ({"listen": {"prot": 1}}, "listen.prot is no setting; use host, port, uds"),
        ({"listen": {"port": "x"}}, "listen.port: expected int, got str"),
        ({"listen": {"port": 70000}}, "listen.port: expected int <= 65535"),
        ({"listen": 3}, "listen: expected object, got int"),
        ({"tenant": 3}, "tenant is no table; write [tenant.NAME]"),
        ({"listen": {"host": "0.0.0.0"}}, "listen.host is '0.0.0.0' without a tenant"),
        ({"listen": {"tls_key": "k"}}, "listen.tls_certificate and listen.tls_key go together"),
        ({"upstream": {"a": {}, "b": {}}}, "several upstreams need tenants"),
        ({"upstream": {"a": {"base_url": "ftp://x"}}}, "upstream.a.base_url 'ftp://x' has the scheme 'ftp'"),
        ({"upstream": {"a": {"base_url": "http://localhost:8787/v1"}}}, "is the gateway itself"),
        ({"upstream": SHARED}, "upstream.openai.api_key_env without a tenant needs listen.uds"),
        ({"upstream": {"openai": {"api_key_env": "NONE"}}}, "names NONE, which is not set"),
        ({"tenant": {"a": TENANT}}, "upstream.openai.api_key_env is missing"),
        ({"upstream": SHARED, "tenant": {"a": {"keys_sha256": ["x"]}}}, "no SHA-256 hash in hexadecimal"),
        ({"upstream": SHARED, "tenant": {"a": {"keys_sha256": []}}}, "tenant.a.keys_sha256 is empty"),
        ({"upstream": SHARED, "tenant": {"a": TENANT, "b": TENANT}}, "has a key of another tenant"),
        ({"upstream": SHARED, "tenant": {"a": {**TENANT, "upstream": "b"}}}, "'b', which is not defined"),
        (
            {
                "upstream": SHARED,
                "tenant": {"a": {**TENANT, "allow_store": True}, "b": {"keys_sha256": ["cd" * 32]}},
            },
            "tenant.a.allow_store needs an upstream of its own",
        ),
        ({"upstream": SHARED, "tenant": {"a": {**TENANT, "turns_in_flight": 0}}}, "turns_in_flight"),
        (
            {"upstream": SHARED, "tenant": {"a": {**TENANT, "sockets": "shared"}}},
            "tenant.a.sockets is 'shared', which is not supported: counters and limits belong to the sockets "
            "of a tenant; remove it, or give callers that should share sockets one tenant",
        ),
        ({"shared": {}}, 'shared.valkey is missing; give the URL of Valkey, such as "redis://valkey:6379"'),
        ({"shared": 3}, "shared: expected object, got int"),
        ({"shared": {"valkey": 3}}, "shared.valkey: expected str, got int"),
        ({"shared": {**VALKEY, "valky": "x"}}, "shared.valky is no setting; use valkey, when_down, replicas"),
        ({"shared": {**VALKEY, "when_down": "panic"}}, "shared.when_down: invalid enum value 'panic'"),
        ({"shared": {**VALKEY, "replicas": 0}}, "shared.replicas: expected int >= 1"),
        ({"shared": {**VALKEY, "lease_s": 0.1}}, "shared.lease_s: expected float >= 1"),
    ],
)
def test_each_mistake_is_one_sentence(source: dict[str, Any], sentence: str) -> None:
    found = mistakes(source, KEY="sk-secret")
    assert any(sentence in each for each in found), found
    assert "sk-secret" not in "".join(found)


def test_all_mistakes_are_found_at_once() -> None:
    assert len(mistakes({"listen": {"port": "x"}, "drain": {"within_s": -1}, "more": 1})) == 3


def test_a_wrong_variable_is_named() -> None:
    assert mistakes({}, TRUNKLINE_PORT="many") == ["TRUNKLINE_PORT is 'many'; give a number"]


def test_tenants_with_one_upstream_key_are_remarked() -> None:
    source = {"upstream": SHARED, "tenant": {"a": TENANT, "b": {"keys_sha256": ["cd" * 32]}}}
    assert "tenants a, b share the key of upstream.openai" in of(source, {"KEY": "k"}).remarks[0]
    assert not of({}, {}).remarks


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (
            "sk-secret",
            "has none of the schemes redis, rediss, valkey, valkeys, unix; write redis://host:6379",
        ),
        ("http://:sk-secret@valkey", "has none of the schemes"),
        ("redis://:sk-secret@", "names no server; write redis://host:6379 or unix:///path"),
        ("redis://:sk-secret@valkey:0", "names no server"),
        ("unix://", "names no server"),
        ("redis://:p/sk-secret@valkey:6379", "is no URL with a port from 1 to 65535"),
        ("redis://:sk-secret@valkey:99999", "is no URL with a port"),
        ("redis://[sk-secret", "is no URL with a port"),
        ("redis://p/sk-secret@valkey:6379", "has a path that is no number of a database"),
        ("redis://:p#sk-secret@valkey:6379", "is no URL with a port"),
        ("redis://valkey#sk-secret", "has a path that is no number of a database"),
        ("redis://valkey/zero", "has a path that is no number of a database"),
        ("redis://valkey?sk-secret=1", "has another option than db, ssl_ca_certs, ssl_cert_reqs"),
        ("redis://valkey?password=sk-secret", "has another option than"),
        ("redis://valkey?db=sk-secret", "has an option db that is no number"),
    ],
)
def test_a_wrong_url_of_valkey_is_one_sentence_without_its_password(url: str, sentence: str) -> None:
    (found,) = mistakes({"shared": {"valkey": url}})
    assert found.startswith(f"shared.valkey {sentence}")
    assert "secret" not in found


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://valkey", "redis://valkey:6379"),
        ("valkey://user:sk-secret@valkey:7000/2", "valkey://valkey:7000"),
        ("rediss://:sk%2Dsecret%40@[::1]:7000?ssl_ca_certs=/ca.pem", "rediss://[::1]:7000"),
        ("unix:///run/valkey.sock?db=1&password=sk-secret", "unix:///run/valkey.sock"),
    ],
)
def test_a_url_of_valkey_is_shown_without_its_password(url: str, address: str) -> None:
    found = of({}, {"TRUNKLINE_VALKEY": url}).shared
    assert found is not None
    assert found.valkey == url
    assert found.address == address
    assert "secret" not in f"{found!r} {of({'shared': {'valkey': url}}, {})!r}"


def test_the_extra_for_valkey_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trunkline.gateway.configuration.find_spec", lambda _: None)
    assert mistakes({"shared": VALKEY}) == [
        "shared needs the package valkey: run pip install 'trunkline[gateway-shared]',"
        " or pip install '.[gateway-shared]' in a clone"
    ]


def test_shared_limits_without_an_effect_are_remarked() -> None:
    assert of({"shared": VALKEY}, {}).remarks[0].startswith("shared has no effect: no tenant has")
    source: dict[str, Any] = {"upstream": SHARED, "tenant": {"a": {**TENANT, "turns_in_flight": 5}}}
    alone = of({**source, "shared": VALKEY}, {"KEY": "k"}).remarks
    assert "shared.replicas is 1" in alone[0]
    for table in ({"replicas": 3}, {"when_down": "refuse"}):
        assert not of({**source, "shared": {**VALKEY, **table}}, {"KEY": "k"}).remarks
