"""Packet rules that send connections to the proxy and close every other way out, as text for nftables or iptables. Pure.

Two places to stand: ``OWNER`` catches what processes of this host (or of one network namespace) send, told apart by user id;
``INTERFACE`` catches what comes in by an interface: a container network's bridge, a namespace's veth.
Redirected connections end at a local port, so a proxy that is gone means a refused connection, never an open road.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from tollkeeper.core.errors import ConfigError

TABLE = "tollkeeper"
CHAIN = "TOLLKEEPER"
"""Prefix of our iptables chains: ``TOLLKEEPER_NAT``, ``TOLLKEEPER_OUT``, …"""

CATCH_PORTS = (80, 443)
QUIC_PORTS = (80, 443)
"""UDP ports refused, so that clients fall back from HTTP/3 to TCP. Port 80 because an Alt-Svc may name any port that servers use."""
DNS_PORT = 53
METADATA_V4 = ("169.254.0.0/16", "100.100.100.200", "168.63.129.16")
METADATA_V6 = ("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254")
"""Where clouds serve a machine its credentials. Never caught: the proxy would ask in its own name. With ``lock`` it is refused."""

_REPLIES = "ct state established,related ct direction reply"
"""Answers to whoever asked: a connection that the client itself made before the lock is none, and ends with it."""
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@-]{1,15}")
_ALLOWED = re.compile(r"(tcp|udp):([0-9]{1,5})")


class Place(StrEnum):
    """Where connections are caught."""

    OWNER = "owner"
    INTERFACE = "interface"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What to set up.

    ``port``: the transparent listener's. ``proxy_uid``: whose connections are never caught. ``uids``: whose are; empty means everyone's
    but the proxy's. ``ranges``: (first, last) ids caught besides: those that /etc/subuid gives a user, whose processes take them without
    root. ``interfaces``: for ``INTERFACE``. ``lock``: everything that is neither caught nor DNS nor in ``allow`` (``tcp:22``) is refused.
    ``dns``: the resolvers that may be asked; None for any, which leaves port 53 open to whoever listens on it. ``explicit_port``: the
    proxy's other listener, reachable from the interfaces.
    """

    place: Place
    port: int
    proxy_uid: int
    uids: tuple[int, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()
    dns: tuple[str, ...] | None = None
    interfaces: tuple[str, ...] = ()
    catch: tuple[int, ...] = CATCH_PORTS
    lock: bool = False
    allow: tuple[str, ...] = ()
    explicit_port: int = 0


def checked(rules: Rules) -> Rules:
    """``rules`` as they are. Raises ``ConfigError`` naming what cannot be put into a packet filter."""
    if rules.place is Place.INTERFACE and not rules.interfaces:
        raise ConfigError("no interface is named: add --interface NAME, for example docker0 (`ip -br link` lists them)")
    if rules.place is Place.OWNER and (
        rules.proxy_uid in rules.uids or any(first <= rules.proxy_uid <= last for first, last in rules.ranges)
    ):
        raise ConfigError(
            f"user id {rules.proxy_uid} runs the proxy and is to be caught as well: the proxy would be sent to itself; "
            "run the proxy as a user of its own (--proxy-user NAME)"
        )
    for name in rules.interfaces:
        if not _INTERFACE.fullmatch(name):
            raise ConfigError(f"{name[:40]!r} is no interface name: at most 15 letters, digits and _ . : @ -")
    for port in (rules.port, *rules.catch):
        if not 0 < port < 65_536:
            raise ConfigError(f"port {port} is none: 1 to 65535")
    for word in rules.allow:
        found = _ALLOWED.fullmatch(word)
        if found is None or not 0 < int(found[2]) < 65_536:
            raise ConfigError(f'{word[:40]!r} allows nothing: write it like "tcp:22" or "udp:123"')
    _check_users(rules)
    _check_dns(rules.dns or ())
    return rules


def _check_users(rules: Rules) -> None:
    for uid in (rules.proxy_uid, *rules.uids, *(uid for pair in rules.ranges for uid in pair)):
        if not 0 <= uid < 2**32 - 1:
            raise ConfigError(f"user id {uid} is none")
    for first, last in rules.ranges:
        if first > last or first == 0:
            raise ConfigError(f"user ids {first}-{last} are no range: write the smaller first, and never 0")


def _check_dns(addresses: Iterable[str]) -> None:
    for address in addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise ConfigError(f"{address[:60]!r} is no address of a resolver: write it like 1.1.1.1 or 2606:4700::1111") from None


def nft(rules: Rules) -> str:
    """A script for ``nft -f -``: makes the table anew in one transaction, IPv4 and IPv6 alike."""
    checked(rules)
    body = _nft_owner(rules) if rules.place is Place.OWNER else _nft_interface(rules)
    return "\n".join((f"table inet {TABLE}", f"delete table inet {TABLE}", f"table inet {TABLE} {{", *body, "}", ""))


def nft_down() -> str:
    """A script that removes the table, whether or not it is there."""
    return f"table inet {TABLE}\ndelete table inet {TABLE}\n"


def _ports(ports: Iterable[int]) -> str:
    return f"{{ {', '.join(map(str, ports))} }}"


def subordinate_ids(text: str, names: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """The ranges that a file like /etc/subuid gives to users (names or numbers), as (first, last) (subuid(5))."""
    wanted, found = set(names), []
    for line in text.splitlines():
        parts = line.strip().split(":")
        if len(parts) == 3 and parts[0] in wanted and parts[1].isdecimal() and parts[2].isdecimal() and int(parts[2]):
            found.append((int(parts[1]), int(parts[1]) + int(parts[2]) - 1))
    return tuple(dict.fromkeys(found))


def resolvers(text: str) -> tuple[str, ...]:
    """The name servers of a resolv.conf that are not on this machine itself, whose own questions are not the job's."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                address = ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            if not address.is_loopback:
                found.append(str(address))
    return tuple(dict.fromkeys(found))


def _nft_dns(rules: Rules, who: str) -> list[str]:
    ports = [f"{protocol} dport {DNS_PORT} accept" for protocol in ("udp", "tcp")]
    if rules.dns is None:
        return [f"{who} {port}" for port in ports]
    return [f"{who} {'ip6' if ':' in address else 'ip'} daddr {address} {port}" for address in rules.dns for port in ports]


def _nft_allowed(rules: Rules, who: str) -> list[str]:
    words = [word.split(":") for word in rules.allow]
    return [f"{who} {protocol} dport {port} accept" for protocol, port in words]


def _chain(name: str, hook: str, lines: Iterable[str]) -> list[str]:
    kind, priority = ("nat", "-100") if name == "caught" else ("filter", "0")
    head = f"  chain {name} {{ type {kind} hook {hook} priority {priority}; policy accept;"
    return [head, *(f"    {line}" for line in lines), "  }"]


def _nft_metadata(verdict: str) -> list[str]:
    return [*(f"ip daddr {one} {verdict}" for one in METADATA_V4), *(f"ip6 daddr {one} {verdict}" for one in METADATA_V6)]


def _nft_owner(rules: Rules) -> list[str]:
    # A packet without a socket has no owner and matches neither form: the kernel's own resets and ICMP go their way.
    named = [*map(str, rules.uids), *(f"{first}-{last}" for first, last in rules.ranges)]
    who = f"meta skuid {{ {', '.join(named)} }}" if named else f"meta skuid != {rules.proxy_uid}"
    caught = ['oifname "lo" return', *_nft_metadata("return"), f"{who} tcp dport {_ports(rules.catch)} redirect to :{rules.port}"]
    # `oifname` still names the old interface of a packet that was redirected, hence the connection's own mark.
    closed = ['oifname "lo" accept', "ct status dnat accept"]
    closed += [] if rules.lock else _nft_metadata("accept")
    closed.append(f"{who} udp dport {_ports(QUIC_PORTS)} reject")
    # Were the redirection ever missing, nothing may leave for these ports all the same.
    closed.append(f"{who} tcp dport {_ports(rules.catch)} reject with tcp reset")
    if rules.lock:
        closed += [f"{who} {_REPLIES} accept", *_nft_dns(rules, who), *_nft_allowed(rules, who)]
        closed.append(f"{who} reject with icmpx admin-prohibited")
    return [*_chain("caught", "output", caught), *_chain("closed", "output", closed)]


def _nft_interface(rules: Rules) -> list[str]:
    names = ", ".join(f'"{name}"' for name in rules.interfaces)
    who = f"iifname {{ {names} }}"
    caught = [*_nft_metadata("return"), f"{who} tcp dport {_ports(rules.catch)} redirect to :{rules.port}"]
    passing = [] if rules.lock else _nft_metadata("accept")
    passing += [
        f"{who} udp dport {_ports(QUIC_PORTS)} reject",
        f"{who} tcp dport {_ports(rules.catch)} reject with tcp reset",
    ]
    # Only what was redirected may reach the transparent listener: a connection made to it has no destination.
    arriving = [f"{who} ct status dnat accept", f"{who} tcp dport {rules.port} reject with tcp reset"]
    if rules.lock:
        dns = _nft_dns(rules, who)
        passing += [f"{who} {_REPLIES} accept", *dns, *_nft_allowed(rules, who)]
        passing.append(f"{who} reject with icmpx admin-prohibited")
        arriving += [f"{who} {_REPLIES} accept", *dns, f"{who} meta l4proto {{ icmp, ipv6-icmp }} accept"]
        if rules.explicit_port:
            arriving.append(f"{who} tcp dport {rules.explicit_port} accept")
        arriving.append(f"{who} reject with icmpx admin-prohibited")
    return [
        *_chain("caught", "prerouting", caught),
        *_chain("passing", "forward", passing),
        *_chain("arriving", "input", arriving),
    ]


type Jump = tuple[str, str, str]
"""(table, built-in chain, our chain)."""


def iptables_jumps(rules: Rules) -> tuple[Jump, ...]:
    """Where our chains hang: each must be the first rule of its built-in chain."""
    if rules.place is Place.OWNER:
        return (("nat", "OUTPUT", f"{CHAIN}_NAT"), ("filter", "OUTPUT", f"{CHAIN}_OUT"))
    return (
        ("nat", "PREROUTING", f"{CHAIN}_NAT"),
        ("filter", "FORWARD", f"{CHAIN}_FWD"),
        ("filter", "INPUT", f"{CHAIN}_IN"),
    )


ALL_JUMPS: tuple[Jump, ...] = (
    ("nat", "OUTPUT", f"{CHAIN}_NAT"),
    ("nat", "PREROUTING", f"{CHAIN}_NAT"),
    ("filter", "OUTPUT", f"{CHAIN}_OUT"),
    ("filter", "FORWARD", f"{CHAIN}_FWD"),
    ("filter", "INPUT", f"{CHAIN}_IN"),
)
"""What ``down`` looks for."""


def iptables(rules: Rules, *, ipv6: bool) -> str:
    """Input for ``iptables-restore --noflush`` (or ``ip6tables-restore``): empties and fills our own chains."""
    checked(rules)
    if rules.place is Place.OWNER:
        named = [*map(str, rules.uids), *(f"{first}-{last}" for first, last in rules.ranges)]
        whos = [f"-m owner --uid-owner {uid}" for uid in named] or [f"-m owner ! --uid-owner {rules.proxy_uid}"]
    else:
        whos = [f"-i {name}" for name in rules.interfaces]
    catch = f"-p tcp -m multiport --dports {','.join(map(str, rules.catch))}"
    first = ["-o lo -j RETURN"] if rules.place is Place.OWNER else []
    metadata = [f"-d {one} -j RETURN" for one in (METADATA_V6 if ipv6 else METADATA_V4)]
    nat = [*first, *metadata, *(f"{who} {catch} -j REDIRECT --to-ports {rules.port}" for who in whos)]
    unreachable, prohibited = (
        ("icmp6-port-unreachable", "icmp6-adm-prohibited") if ipv6 else ("icmp-port-unreachable", "icmp-admin-prohibited")
    )
    quic = f"-p udp -m multiport --dports {','.join(map(str, QUIC_PORTS))} -j REJECT --reject-with {unreachable}"
    refused = [rule for who in whos for rule in (f"{who} {quic}", f"{who} {catch} -j REJECT --reject-with tcp-reset")]
    refused = refused if rules.lock else [*metadata, *refused]
    closed = _iptables_closed(rules, whos, prohibited, ipv6=ipv6) if rules.lock else []
    chains: dict[str, dict[str, list[str]]] = {"nat": {f"{CHAIN}_NAT": nat}, "filter": {}}
    if rules.place is Place.OWNER:
        chains["filter"][f"{CHAIN}_OUT"] = ["-o lo -j RETURN", "-m conntrack --ctstate DNAT -j RETURN", *refused, *closed]
    else:
        chains["filter"][f"{CHAIN}_FWD"] = [*refused, *closed]
        chains["filter"][f"{CHAIN}_IN"] = _iptables_arriving(rules, whos, prohibited, ipv6=ipv6)
    lines = []
    for table, found in chains.items():
        lines += [f"*{table}", *(f":{name} - [0:0]" for name in found)]
        lines += [f"-A {name} {rule}" for name, listed in found.items() for rule in listed]
        lines.append("COMMIT")
    return "\n".join((*lines, ""))


def _iptables_dns(rules: Rules, who: str, *, ipv6: bool) -> list[str]:
    ports = [f"-p {protocol} --dport {DNS_PORT} -j RETURN" for protocol in ("udp", "tcp")]
    if rules.dns is None:
        return [f"{who} {port}" for port in ports]
    return [f"{who} -d {address} {port}" for address in rules.dns if (":" in address) is ipv6 for port in ports]


_IPTABLES_REPLIES = "-m conntrack --ctstate ESTABLISHED,RELATED --ctdir REPLY"


def _iptables_closed(rules: Rules, whos: list[str], prohibited: str, *, ipv6: bool) -> list[str]:
    lines = []
    for who in whos:
        lines.append(f"{who} {_IPTABLES_REPLIES} -j RETURN")
        lines += _iptables_dns(rules, who, ipv6=ipv6)
        lines += [f"{who} -p {protocol} --dport {port} -j RETURN" for protocol, port in (word.split(":") for word in rules.allow)]
        lines.append(f"{who} -j REJECT --reject-with {prohibited}")
    return lines


def _iptables_arriving(rules: Rules, whos: list[str], prohibited: str, *, ipv6: bool) -> list[str]:
    lines = ["-m conntrack --ctstate DNAT -j RETURN"]
    lines += [f"{who} -p tcp --dport {rules.port} -j REJECT --reject-with tcp-reset" for who in whos]
    if not rules.lock:
        return lines
    for who in whos:
        lines.append(f"{who} {_IPTABLES_REPLIES} -j RETURN")
        lines += _iptables_dns(rules, who, ipv6=ipv6)
        lines.append(f"{who} -p {'ipv6-icmp' if ipv6 else 'icmp'} -j RETURN")
        if rules.explicit_port:
            lines.append(f"{who} -p tcp --dport {rules.explicit_port} -j RETURN")
        lines.append(f"{who} -j REJECT --reject-with {prohibited}")
    return lines
