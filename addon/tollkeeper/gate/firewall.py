"""Packet rules that send connections to the proxy and close every other way out, as text for nftables or iptables. Pure.

Two places to stand: ``OWNER`` catches what processes of this host (or of one network namespace) send, told apart by user id;
``INTERFACE`` catches what comes in by an interface: a container network's bridge, a namespace's veth.
Redirected connections end at a local port, so a proxy that is gone means a refused connection, never an open road.
"""

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
METADATA_V4, METADATA_V6 = "169.254.0.0/16", "fd00:ec2::254"
"""Where clouds serve a machine its credentials. Never caught: the proxy would ask in its own name. With ``lock`` it is refused."""

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
    but the proxy's. ``interfaces``: for ``INTERFACE``. ``lock``: everything that is neither caught nor DNS nor in ``allow`` (``tcp:22``) is
    refused. ``explicit_port``: the proxy's other listener, reachable from the interfaces.
    """

    place: Place
    port: int
    proxy_uid: int
    uids: tuple[int, ...] = ()
    interfaces: tuple[str, ...] = ()
    catch: tuple[int, ...] = CATCH_PORTS
    lock: bool = False
    allow: tuple[str, ...] = ()
    explicit_port: int = 0


def checked(rules: Rules) -> Rules:
    """``rules`` as they are. Raises ``ConfigError`` naming what cannot be put into a packet filter."""
    if rules.place is Place.INTERFACE and not rules.interfaces:
        raise ConfigError("no interface is named: add --interface NAME, for example docker0 (`ip -br link` lists them)")
    if rules.place is Place.OWNER and rules.proxy_uid in rules.uids:
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
    for uid in (rules.proxy_uid, *rules.uids):
        if not 0 <= uid < 2**32 - 1:
            raise ConfigError(f"user id {uid} is none")
    return rules


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


def _nft_allowed(rules: Rules, who: str) -> list[str]:
    words = [word.split(":") for word in rules.allow]
    return [f"{who} {protocol} dport {port} accept" for protocol, port in words]


def _chain(name: str, hook: str, lines: Iterable[str]) -> list[str]:
    kind, priority = ("nat", "-100") if name == "caught" else ("filter", "0")
    head = f"  chain {name} {{ type {kind} hook {hook} priority {priority}; policy accept;"
    return [head, *(f"    {line}" for line in lines), "  }"]


def _nft_metadata(verdict: str) -> list[str]:
    return [f"ip daddr {METADATA_V4} {verdict}", f"ip6 daddr {METADATA_V6} {verdict}"]


def _nft_owner(rules: Rules) -> list[str]:
    # A packet without a socket has no owner and matches neither form: the kernel's own resets and ICMP go their way.
    who = f"meta skuid {_ports(rules.uids)}" if rules.uids else f"meta skuid != {rules.proxy_uid}"
    caught = ['oifname "lo" return', *_nft_metadata("return"), f"{who} tcp dport {_ports(rules.catch)} redirect to :{rules.port}"]
    # `oifname` still names the old interface of a packet that was redirected, hence the connection's own mark.
    closed = ['oifname "lo" accept', "ct status dnat accept"]
    closed += [] if rules.lock else _nft_metadata("accept")
    closed.append(f"{who} udp dport {_ports(QUIC_PORTS)} reject")
    # Were the redirection ever missing, nothing may leave for these ports all the same.
    closed.append(f"{who} tcp dport {_ports(rules.catch)} reject with tcp reset")
    if rules.lock:
        closed += [
            f"{who} ct state established,related accept",
            f"{who} udp dport {DNS_PORT} accept",
            f"{who} tcp dport {DNS_PORT} accept",
        ]
        closed += _nft_allowed(rules, who)
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
        dns = [f"{who} udp dport {DNS_PORT} accept", f"{who} tcp dport {DNS_PORT} accept"]
        passing += [f"{who} ct state established,related accept", *dns, *_nft_allowed(rules, who)]
        passing.append(f"{who} reject with icmpx admin-prohibited")
        arriving += [f"{who} ct state established,related accept", *dns, f"{who} meta l4proto {{ icmp, ipv6-icmp }} accept"]
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
        whos = [f"-m owner --uid-owner {uid}" for uid in rules.uids] or [f"-m owner ! --uid-owner {rules.proxy_uid}"]
    else:
        whos = [f"-i {name}" for name in rules.interfaces]
    catch = f"-p tcp -m multiport --dports {','.join(map(str, rules.catch))}"
    first = ["-o lo -j RETURN"] if rules.place is Place.OWNER else []
    metadata = f"-d {METADATA_V6 if ipv6 else METADATA_V4} -j RETURN"
    nat = [*first, metadata, *(f"{who} {catch} -j REDIRECT --to-ports {rules.port}" for who in whos)]
    unreachable, prohibited = (
        ("icmp6-port-unreachable", "icmp6-adm-prohibited") if ipv6 else ("icmp-port-unreachable", "icmp-admin-prohibited")
    )
    quic = f"-p udp -m multiport --dports {','.join(map(str, QUIC_PORTS))} -j REJECT --reject-with {unreachable}"
    refused = [rule for who in whos for rule in (f"{who} {quic}", f"{who} {catch} -j REJECT --reject-with tcp-reset")]
    refused = refused if rules.lock else [metadata, *refused]
    closed = _iptables_closed(rules, whos, prohibited) if rules.lock else []
    chains: dict[str, dict[str, list[str]]] = {"nat": {f"{CHAIN}_NAT": nat}, "filter": {}}
    if rules.place is Place.OWNER:
        chains["filter"][f"{CHAIN}_OUT"] = ["-o lo -j RETURN", "-m conntrack --ctstate DNAT -j RETURN", *refused, *closed]
    else:
        chains["filter"][f"{CHAIN}_FWD"] = [*refused, *closed]
        chains["filter"][f"{CHAIN}_IN"] = _iptables_arriving(rules, whos, prohibited, "ipv6-icmp" if ipv6 else "icmp")
    lines = []
    for table, found in chains.items():
        lines += [f"*{table}", *(f":{name} - [0:0]" for name in found)]
        lines += [f"-A {name} {rule}" for name, listed in found.items() for rule in listed]
        lines.append("COMMIT")
    return "\n".join((*lines, ""))


def _iptables_closed(rules: Rules, whos: list[str], prohibited: str) -> list[str]:
    lines = []
    for who in whos:
        lines.append(f"{who} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN")
        lines += [f"{who} -p {protocol} --dport {DNS_PORT} -j RETURN" for protocol in ("udp", "tcp")]
        lines += [f"{who} -p {protocol} --dport {port} -j RETURN" for protocol, port in (word.split(":") for word in rules.allow)]
        lines.append(f"{who} -j REJECT --reject-with {prohibited}")
    return lines


def _iptables_arriving(rules: Rules, whos: list[str], prohibited: str, icmp: str) -> list[str]:
    lines = ["-m conntrack --ctstate DNAT -j RETURN"]
    lines += [f"{who} -p tcp --dport {rules.port} -j REJECT --reject-with tcp-reset" for who in whos]
    if not rules.lock:
        return lines
    for who in whos:
        lines.append(f"{who} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN")
        lines += [f"{who} -p {protocol} --dport {DNS_PORT} -j RETURN" for protocol in ("udp", "tcp")]
        lines.append(f"{who} -p {icmp} -j RETURN")
        if rules.explicit_port:
            lines.append(f"{who} -p tcp --dport {rules.explicit_port} -j RETURN")
        lines.append(f"{who} -j REJECT --reject-with {prohibited}")
    return lines
