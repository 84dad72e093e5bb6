"""Who may listen where, and who may connect."""

import base64
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.errors import GateError
from tollkeeper.gate.access import MAX_HEADER_CHARS, check_credential, check_listener, is_loopback, new_credential


def basic(user: str, secret: str, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]", "::ffff:127.0.0.1"])
def test_loopback_needs_no_login(host: str) -> None:
    check_listener(host, authenticated=False)
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "", "192.168.1.4", "10.0.0.1", "::ffff:10.0.0.1", "example.com", "localhost.evil.com", "127.0.0.1.nip.io"],
)
def test_any_other_address_needs_a_login(host: str) -> None:
    with pytest.raises(GateError, match=r"127\.0\.0\.1"):
        check_listener(host, authenticated=False)
    check_listener(host, authenticated=True)
    assert not is_loopback(host)


def test_a_fresh_credential_is_new_every_time_and_fits_a_url_unquoted() -> None:
    user, secret = new_credential()
    assert (user, secret) != new_credential()
    assert len(secret) == 32
    assert quote(user, safe="") == user
    assert quote(secret, safe="") == secret
    parts = urlsplit(f"http://{user}:{secret}@127.0.0.1:8877")
    assert (parts.username, parts.password) == (user, secret)


def test_the_right_login_proves_its_user() -> None:
    credentials = dict([new_credential(), new_credential()])
    for user, secret in credentials.items():
        assert check_credential(basic(user, secret), credentials) == user
        assert check_credential(basic(user, secret, "basic"), credentials) == user


def test_a_secret_may_hold_colons_and_letters_beyond_ascii() -> None:
    assert check_credential(basic("ada", "a:b:ü"), {"ada": "a:b:ü"}) == "ada"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + base64.b64encode(b"ada").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        basic("ada", "wrong"),
        basic("ada", ""),
        basic("eve", "right"),
        basic("eve", ""),
        basic("", ""),
        basic("ada", "right", "Bearer"),
        basic("ada", "right ") + " ",
        "Basic " + "A" * (MAX_HEADER_CHARS + 1),
    ],
)
def test_anything_else_proves_nobody(header: str | None) -> None:
    assert check_credential(header, {"ada": "right"}) is None


def test_a_user_with_an_empty_secret_is_nobody() -> None:
    assert check_credential(basic("ada", ""), {"ada": ""}) is None


@given(st.text(max_size=200))
def test_no_header_crashes_the_check(header: str) -> None:
    assert check_credential(header, {"ada": "right"}) is None
    assert check_credential(f"Basic {header}", {"ada": "right"}) is None
