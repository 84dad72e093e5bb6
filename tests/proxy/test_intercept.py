"""Which connections are opened, and that one name must stand everywhere."""

import pytest

from tollkeeper.proxy.intercept import Passage, misdirected, on_tls

AI = "api.anthropic.com"


def is_ai(host: str) -> bool:
    return host == AI


@pytest.mark.parametrize(
    ("sni", "target", "expected"),
    [
        (AI, AI, Passage.OPEN),
        (AI, "203.0.113.7", Passage.OPEN),
        ("example.org", AI, Passage.OPEN),
        (None, AI, Passage.OPEN),
        ("example.org", "example.org", Passage.TUNNEL),
        (None, "203.0.113.7", Passage.TUNNEL),
        (None, None, Passage.TUNNEL),
    ],
)
def test_a_connection_is_opened_when_either_name_is_an_ai_host(sni: str | None, target: str | None, expected: Passage) -> None:
    assert on_tls(is_ai, sni, target, (b"http/1.1",), enforce=True) is expected


def test_a_client_that_speaks_only_http2_is_tunnelled_while_observing_and_opened_under_enforce() -> None:
    assert on_tls(is_ai, AI, AI, (b"h2",), enforce=False) is Passage.TUNNEL
    assert on_tls(is_ai, AI, AI, (b"h2",), enforce=True) is Passage.OPEN


def test_the_same_name_in_sni_host_and_target_is_fine_in_any_case_and_with_a_port() -> None:
    assert misdirected("API.anthropic.com", AI, ["Api.Anthropic.com:443"]) is None


@pytest.mark.parametrize(
    ("sni", "hosts", "named"),
    [
        (AI, ["evil.test"], "evil.test"),
        ("other.test", [AI], "other.test"),
        (AI, [AI, "evil.test"], "2 Host headers"),
    ],
)
def test_two_names_in_one_request_are_refused_and_the_stranger_is_named(sni: str, hosts: list[str], named: str) -> None:
    reason = misdirected(sni, AI, hosts)
    assert reason is not None
    assert named in reason
