"""Who may listen where, and who may connect."""

from urllib.parse import quote, urlsplit

import pytest

from tollkeeper.core.errors import GateError
from tollkeeper.gate.access import check_listener, is_loopback, new_credential


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
