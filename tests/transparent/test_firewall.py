"""The packet rules as text; what they do is proved in namespaces (test_around.py, test_lock.py)."""

from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.cli.transparent import command
from tollkeeper.core.errors import ConfigError
from tollkeeper.gate.firewall import Place, Rules, checked, iptables, iptables_jumps, nft, nft_down, resolvers, subordinate_ids
from tollkeeper.proxy.egress import METADATA

OWNER = Rules(place=Place.OWNER, port=8878, proxy_uid=990, uids=(1001,), lock=True, allow=("tcp:22",))
BRIDGE = Rules(place=Place.INTERFACE, port=8878, proxy_uid=990, interfaces=("docker0",), explicit_port=8877, lock=True)


@pytest.mark.parametrize("rules", [OWNER, BRIDGE])
def test_rules_replace_the_whole_table_in_one_transaction(rules: Rules) -> None:
    text = nft(rules)
    assert text.startswith("table inet tollkeeper\ndelete table inet tollkeeper\n")
    assert text.count("{") == text.count("}")
    assert nft_down() == "table inet tollkeeper\ndelete table inet tollkeeper\n"


@pytest.mark.parametrize("rules", [OWNER, BRIDGE])
@pytest.mark.parametrize("ipv6", [False, True])
def test_iptables_rules_fill_chains_of_our_own_only(rules: Rules, ipv6: bool) -> None:
    text = iptables(rules, ipv6=ipv6)
    assert all(line.startswith(("*", ":TOLLKEEPER_", "-A TOLLKEEPER_", "COMMIT")) for line in text.splitlines())
    assert {f":{ours} - [0:0]" for _, _, ours in iptables_jumps(rules)} <= set(text.splitlines())


def test_a_lock_ends_in_a_refusal_for_whom_it_holds_and_nobody_else() -> None:
    lines = [line.strip() for line in nft(OWNER).splitlines()]
    closing = [line for line in lines if "admin-prohibited" in line]
    assert closing == ["meta skuid { 1001 } reject with icmpx admin-prohibited"]
    assert "meta skuid { 1001 } tcp dport 22 accept" in lines


def test_without_a_lock_the_metadata_service_and_other_ports_are_left_alone() -> None:
    text = nft(Rules(place=Place.OWNER, port=8878, proxy_uid=990))
    for address in METADATA:
        assert f"daddr {address} accept" in text or address.is_link_local
    assert "ip daddr 169.254.0.0/16 accept" in text
    assert "admin-prohibited" not in text


def test_a_lock_holds_the_ids_that_a_user_can_take_by_himself() -> None:
    rules = replace(OWNER, ranges=((100_000, 165_535),))
    assert "meta skuid { 1001, 100000-165535 } reject with icmpx admin-prohibited" in nft(rules)
    assert "-m owner --uid-owner 100000-165535 -j REJECT" in iptables(rules, ipv6=False)


def test_subordinate_ids_are_read_by_name_and_by_number() -> None:
    text = "# comment\nrunner:100000:65536\n1001:300000:10\nada:165536:65536\nrunner:bad:1\nrunner:5:0\nrunner:1:2:3\n"
    assert subordinate_ids(text, ["runner", "1001"]) == ((100_000, 165_535), (300_000, 300_009))
    assert subordinate_ids(text, ["eve"]) == ()


def test_a_lock_lets_the_named_resolvers_answer_and_no_other_host_on_their_port() -> None:
    rules = replace(OWNER, dns=("10.0.0.2", "fd00::2"))
    text = nft(rules)
    assert "meta skuid { 1001 } ip daddr 10.0.0.2 udp dport 53 accept" in text
    assert "meta skuid { 1001 } ip6 daddr fd00::2 tcp dport 53 accept" in text
    assert "} udp dport 53" not in text
    assert "-d 10.0.0.2 -p tcp --dport 53 -j RETURN" in iptables(rules, ipv6=False)
    assert "10.0.0.2" not in iptables(rules, ipv6=True)
    assert "dport 53" not in nft(replace(OWNER, dns=()))


def test_resolvers_are_those_of_resolv_conf_that_are_elsewhere() -> None:
    named = ("127.0.0.53", "10.0.0.2 # x", "fe80::1%eth0", "x", "10.0.0.2", "")
    text = "search a\n" + "".join(f"nameserver {one}\n" for one in named)
    assert resolvers(text) == ("10.0.0.2", "fe80::1")


@given(st.text(max_size=20))
def test_no_interface_name_gets_into_the_rules_unless_it_is_one(name: str) -> None:
    rules = Rules(place=Place.INTERFACE, port=8878, proxy_uid=1, interfaces=(name,))
    try:
        text = nft(rules)
    except ConfigError:
        return
    assert name.replace("_", "").replace(".", "").replace(":", "").replace("@", "").replace("-", "").isalnum() or not set(
        name
    ) - set("_.:@-")
    assert f'iifname {{ "{name}" }}' in text


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (Rules(place=Place.INTERFACE, port=1, proxy_uid=1), "--interface"),
        (Rules(place=Place.OWNER, port=1, proxy_uid=5, uids=(5,)), "sent to itself"),
        (Rules(place=Place.OWNER, port=0, proxy_uid=5), "port 0"),
        (Rules(place=Place.OWNER, port=1, proxy_uid=5, ranges=((1, 9),)), "sent to itself"),
        (Rules(place=Place.OWNER, port=1, proxy_uid=5, ranges=((9, 7),)), "no range"),
        (Rules(place=Place.OWNER, port=1, proxy_uid=5, ranges=((0, 2),)), "no range"),
        (Rules(place=Place.OWNER, port=1, proxy_uid=5, dns=("1.1.1.1; accept",)), "no address of a resolver"),
        (Rules(place=Place.OWNER, port=1, proxy_uid=5, allow=("22",)), "tcp:22"),
        (Rules(place=Place.OWNER, port=1, proxy_uid=5, allow=("tcp:22; drop",)), "allows nothing"),
        (Rules(place=Place.OWNER, port=1, proxy_uid=-1), "user id"),
    ],
)
def test_what_cannot_be_a_rule_is_refused_in_words(rules: Rules, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        checked(rules)


def test_print_shows_the_rules_and_changes_nothing() -> None:
    done = CliRunner().invoke(command, ["up", "--proxy-user", "990", "--user", "1001", "--lock", "--dns", "any", "--print"])
    assert done.exit_code == 0
    assert done.stdout == nft(Rules(place=Place.OWNER, port=8878, proxy_uid=990, uids=(1001,), lock=True))
