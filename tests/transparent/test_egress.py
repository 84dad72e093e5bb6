"""What may leave besides AI traffic: the rules, without a proxy."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.core.errors import ConfigError
from tollkeeper.proxy.egress import (
    ECH_EXTENSION,
    METADATA,
    OPEN,
    Egress,
    Others,
    checked_patterns,
    covers,
    host_of_plain,
    is_http1,
    unwrapped,
)

AI = frozenset({"api.openai.com", "api.anthropic.com"})
STRICT = Egress(strict=True)
LISTED = Egress(strict=True, others=Others.REFUSE, allow=("pypi.org", "*.github.com", "git.example:8443"))


def is_ai(host: str) -> bool:
    return host.lower().rstrip(".") in AI


@pytest.mark.parametrize(
    ("egress", "host", "port", "passes"),
    [
        (OPEN, "api.openai.com", 8443, True), (OPEN, "10.0.0.1", 22, True), (OPEN, "pypi.org", 443, True),
        (STRICT, "api.openai.com", 443, True), (STRICT, "api.openai.com", 8443, False), (STRICT, "API.OpenAI.com", 80, False),
        (STRICT, "20.0.0.1", 443, False), (STRICT, "[2600::1]", 443, False), (STRICT, "pypi.org", 443, True),
        (LISTED, "pypi.org", 443, True), (LISTED, "PyPI.org.", 443, True), (LISTED, "pypi.org", 22, False),
        (LISTED, "a.pypi.org", 443, False),
        (LISTED, "api.github.com", 443, True), (LISTED, "github.com", 443, False), (LISTED, "evilgithub.com", 443, False),
        (LISTED, "git.example", 8443, True), (LISTED, "git.example", 443, False), (LISTED, "elsewhere.example", 443, False),
    ],
)  # fmt: skip
def test_a_tunnel_is_opened_or_refused_by_host_and_port(egress: Egress, host: str, port: int, passes: bool) -> None:
    assert (egress.connect(is_ai, host, port) is None) is passes


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "metadata.google.internal",
        "Metadata.Google.Internal.",
        "instance-data",
    ],
)
def test_no_request_for_a_metadata_service_is_handed_on_to_a_companys_proxy_which_would_ask_in_its_own_name(host: str) -> None:
    assert "metadata" in (OPEN.connect(is_ai, host, 80) or "")
    assert Egress(internal=(host.strip("[]").rstrip("."),)).connect(is_ai, host, 80) is None


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "169.254.169.254.", "2852039166", "2852039166.", "0xa9fea9fe", "0XA9FEA9FE", "0251.0376.0251.0376",
        "025177524776", "169.254.43518", "169.16689662", "0xa9.0xfe.0xa9.0xfe", "0xa9.254.0251.254", "00000251.254.169.254",
        "169%2e254%2E169.254", "1%36%39.254.169.254", "\uff11\uff16\uff19.254.169.254", "169\u3002254\u3002169\u3002254",
        "\xb969.254.169.254", "[::ffff:169.254.169.254]", "::ffff:a9fe:a9fe", "[::a9fe:a9fe]", "::169.254.169.254",
        "[64:ff9b::a9fe:a9fe]", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::", "fd00:ec2::254", "[FD00:EC2:0::254]", "fd00:ec2::23",
        "169.254.170.23", "metadata.google.internal.", "metadata%2egoogle.internal", "\uff4detadata.google.internal",
    ],
)  # fmt: skip
@pytest.mark.parametrize("egress", [OPEN, STRICT], ids=["open", "strict"])
def test_a_metadata_service_is_known_however_its_address_is_spelled(egress: Egress, host: str) -> None:
    assert egress.connect(is_ai, host, 80) is not None


@pytest.mark.parametrize(
    "host",
    [
        "2852039166.example", "0x", "09.1.1.1", "1.2.3.4.5", "256.1.1.1", "1.1.1.256", "4294967296", "a.1", "1..2", ".", "", "xn--", "%",
        "%zz",
    ],
)  # fmt: skip
def test_a_name_that_only_looks_like_numbers_stays_a_name(host: str) -> None:
    assert STRICT.connect(is_ai, host, 443) is None


@given(st.ip_addresses(v=4), st.integers(1, 4), st.lists(st.sampled_from(["%d", "%#x", "0%o"]), min_size=4, max_size=4))
def test_an_address_of_numbers_is_read_as_the_c_library_reads_it(ip: object, count: int, styles: list[str]) -> None:
    raw = bytes(map(int, str(ip).split(".")))
    numbers = [*raw[: count - 1], int.from_bytes(raw[count - 1 :])]
    text = ".".join(style % number for style, number in zip(styles, numbers, strict=False))
    assert socket.inet_aton(text) == raw
    assert STRICT.connect(is_ai, text, 443) is not None, "an address"
    assert (OPEN.connect(is_ai, text, 443) is None) == (ipaddress.ip_address(raw) not in METADATA)


@pytest.mark.parametrize(
    ("egress", "sni", "target", "passes"),
    [
        (OPEN, None, "20.0.0.1", True), (OPEN, "x.example", "20.0.0.1", True), (OPEN, "x.example", "y.example", True),
        (STRICT, None, "20.0.0.1", False), (STRICT, None, "x.example", False), (STRICT, "x.example", "20.0.0.1", True),
        (STRICT, "x.example", "y.example", False), (STRICT, "X.example", "x.example.", True), (STRICT, "20.0.0.1", "20.0.0.1", False),
        (STRICT, "335544321", "20.0.0.1", False), (STRICT, "20.1.", "20.0.0.1", False),
        (STRICT, "api.openai.com", "20.0.0.1", True), (STRICT, "api.openai.com", "x.example", False),
        (LISTED, "x.example", "20.0.0.1", False), (LISTED, "pypi.org", "20.0.0.1", True), (LISTED, "api.openai.com", "20.0.0.1", True),
    ],
)  # fmt: skip
def test_a_tls_connection_is_refused_when_its_name_says_nothing_or_two_things(
    egress: Egress, sni: str | None, target: str, passes: bool
) -> None:
    assert (egress.hello(is_ai, sni, target, 443) is None) is passes


@pytest.mark.parametrize("sni", ["metadata.google.internal", "Metadata.Goog", "instance-data.ec2.internal"])
def test_no_hello_leads_to_a_metadata_service_by_its_name_under_strict_rules(sni: str) -> None:
    assert "metadata" in (STRICT.hello(is_ai, sni, "20.0.0.1", 443) or "")


def test_an_encrypted_hello_passes_only_to_hosts_on_the_list() -> None:
    ech = frozenset({0, ECH_EXTENSION})
    assert "ECH" in str(STRICT.hello(is_ai, "x.example", "20.0.0.1", 443, ech))
    assert LISTED.hello(is_ai, "pypi.org", "20.0.0.1", 443, ech) is None
    assert OPEN.hello(is_ai, "x.example", "20.0.0.1", 443, ech) is None
    assert STRICT.hello(is_ai, "api.openai.com", "20.0.0.1", 443, ech) is None, "it ends at us, whatever is inside"


@pytest.mark.parametrize("sni", ["api.openai.com", "API.openai.com"])
def test_ai_hosts_are_reached_on_443_only_under_strict_rules(sni: str) -> None:
    assert "443" in str(STRICT.hello(is_ai, sni, "20.0.0.1", 8443))


@pytest.mark.parametrize(
    ("ip", "passes"),

       [
        ("20.10.0.10", True), ("2600:1f00::1", True), ("10.0.0.1", False), ("192.168.1.1", False), ("172.31.9.9", False),
        ("127.0.0.1", False),
        ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False), ("255.255.255.255", False), ("169.254.1.1", False), ("::1", False),
        ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:10.0.0.1", False), ("64:ff9b::a00:1", False), ("2002:a00:1::", False),
        ("64:ff9b::140a:a", True), ("ff02::1", False),
        ("fec0::1", False), ("192.0.0.192", False), ("64:ff9b:1::a00:1", False), ("::a00:1", False), ("5f00::1", False), ("3fff::1", False),
        ("::", False), ("::140a:a", True), ("no address", False),
    ],
)  # fmt: skip
def test_a_strict_egress_dials_public_addresses_only(ip: str, passes: bool) -> None:
    assert (STRICT.address("x.example", ip) is None) is passes


@pytest.mark.parametrize(
    "ip", ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "64:ff9b::a9fe:a9fe", "::a9fe:a9fe"]
)
def test_no_name_leads_to_a_metadata_service_under_any_rules(ip: str) -> None:
    assert "metadata" in str(OPEN.address("api.openai.com", ip))


def test_an_own_host_may_be_private() -> None:
    assert Egress(strict=True, internal=("llm.corp",)).address("llm.corp", "10.0.0.1") is None
    assert OPEN.address("llm.corp", "10.0.0.1") is None


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_all_its_clothes(ip: object) -> None:
    bare = str(ip)
    mapped = f"::ffff:{bare}"
    assert (STRICT.address("x", bare) is None) == (STRICT.address("x", mapped) is None)
    assert str(unwrapped(__import__("ipaddress").ip_address(mapped))) == bare


@pytest.mark.parametrize("pattern", ["*", "*.com", "com*", "", "*.*.com", "a/b", "*."])
def test_a_pattern_that_covers_too_much_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="is no host"):
        checked_patterns((pattern,), "--allow-host")


@given(st.text(alphabet="abc.*:", max_size=12), st.text(alphabet="abc.", max_size=12))
def test_a_pattern_never_covers_a_host_that_does_not_end_with_it(pattern: str, host: str) -> None:
    if covers(pattern, host, 443):
        assert host.rstrip(".").endswith(pattern.partition(":")[0].removeprefix("*").lower()) or pattern.count(":") > 1


@pytest.mark.parametrize(
    ("data",
    "host"),

       [
        (b"GET / HTTP/1.1\r\nHost: A.example:80\r\n\r\n", "a.example"),
        (b"GET http://b.example/x HTTP/1.1\r\nHost: a\r\n\r\n", "b.example"),
        (b"GET / HTTP/1.1\r\nX: y\r\nhOsT:a.example.\r\n\r\n", "a.example"), (b"GET / HTTP/1.0\r\n\r\n", ""), (b"\x16\x03\x01", None),
        (b"SSH-2.0-x\r\n", None), (b"GET http://u:p@c.example/ HTTP/1.1\r\n\r\n", "c.example"),
        (b"GET / HTTP/1.1\nHost: [::1]:80\n\n", "::1"),
    ],
)  # fmt: skip
def test_the_host_of_plain_http_is_found(data: bytes, host: str | None) -> None:
    assert host_of_plain(data) == host


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader_of_plain_http(data: bytes) -> None:
    assert host_of_plain(data) is None or isinstance(host_of_plain(data), str)
    assert is_http1(data) in {True, False}
