from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline._decisions.placement import Owner
from trunkline._network.gateways import KEY_HEADER, Gateways, hashed_key, name_of

URL = "http://gateway.example/v1/responses"
HEADERS = {"Authorization": "Bearer sk-a"}


@pytest.mark.parametrize(
    ("url", "is_same"),
    [
        ("ws://gateway.example/v1/responses?model=a", True),
        ("http://gateway.example:80/other", True),
        ("https://gateway.example/v1/responses", False),
        ("http://gateway.example:8080/v1/responses", False),
        ("http://other.example/v1/responses", False),
    ],
)
def test_a_gateway_is_known_by_scheme_host_and_port(url: str, is_same: bool) -> None:
    gateways = Gateways()
    assert not gateways.has(URL)
    gateways.note(URL, {"server": "other"})
    assert not gateways.has(URL)
    gateways.note(URL, {"X-Trunkline-Gateway": "1"})
    assert gateways.has(url) is is_same


def test_a_request_without_owner_or_credential_has_no_key() -> None:
    gateways = Gateways()
    gateways.add(URL)
    owner = Owner()
    assert gateways.of_request(URL, HEADERS, None) == {}
    assert gateways.of_request(URL, {}, owner) == {}
    assert gateways.of_request(URL, HEADERS, owner).keys() == {KEY_HEADER}


def test_the_credential_is_the_key_of_the_hash() -> None:
    found = {
        hashed_key(b"name", headers)
        for headers in (HEADERS, {"authorization": "Bearer sk-b"}, {"api-key": "sk-b"}, {"API-Key": "sk-b"})
    }
    assert len(found) == 3
    assert hashed_key(b"name", {"cookie": "a"}) is None


KEYS = st.recursive(
    st.text() | st.binary() | st.integers() | st.uuids(), lambda each: st.tuples(each, each) | st.tuples(each)
)


@given(KEYS, KEYS)
def test_keys_have_equal_names_if_they_are_equal(one: object, other: object) -> None:
    assert (name_of(one) == name_of(other)) is (one == other)


def test_a_key_of_another_type_has_no_name() -> None:
    assert name_of(None) is name_of(object()) is name_of(("a", object())) is None
    assert name_of(UUID(int=1)) is not None
