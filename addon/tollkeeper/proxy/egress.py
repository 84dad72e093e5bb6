"""What may leave through this proxy besides opened connections to AI hosts, and to which addresses: rules as pure functions.

Two states. *Open* (a laptop): everything that is no AI host is relayed as it comes. *Strict* (a CI sidecar, whose job may try to go
round it): a connection goes where its name says, by the proxy's own DNS, or nowhere.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from tollkeeper.core.errors import ConfigError
from tollkeeper.gate.host_patterns import covers, fault_of
from tollkeeper.policy.model import EgressRules, Others, Policy

type IsAi = Callable[[str], bool]
type Ip = ipaddress.IPv4Address | ipaddress.IPv6Address

ECH_EXTENSION = 0xFE0D
"""encrypted_client_hello (RFC 9849, section 5): the name that counts is hidden inside, so the visible one proves nothing."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052: an IPv4 address in other clothes; Python calls it global."""
COMPATIBLE = ipaddress.ip_network("::/96")
"""RFC 4291 2.5.5.1, deprecated: the same; the first of them are no IPv4 hosts but ``::`` and ``::1``."""
NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "fec0::/10", "64:ff9b:1::/48", "5f00::/16", "3fff::/20")))
"""Of IANA's registries of special-purpose addresses, and RFC 3879 (site-local), what Python 3.12.1 calls global."""
_METADATA = (
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "100.100.100.200",
    "168.63.129.16",
)  # fmt: skip
METADATA = frozenset(map(ipaddress.ip_address, _METADATA))
"""Where clouds hand out credentials: AWS (instances, ECS, EKS), Google Cloud, Azure, Alibaba."""

METADATA_NAMES = dict.fromkeys(
    ("metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"), _METADATA[0]
)

_REQUEST_LINE = re.compile(rb"[A-Z]{1,16} [!-~]{1,8192} HTTP/1\.[01]\r?\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """The rules of one proxy.

    ``allow``: hosts (``pypi.org``, ``*.github.com``, ``*.example.com:8443``) let through under ``REFUSE``. ``internal``: hosts that may
    have private addresses.
    """

    strict: bool = False
    others: Others = Others.TUNNEL
    allow: tuple[str, ...] = ()
    internal: tuple[str, ...] = ()

    def connect(self, is_ai: IsAi, host: str, port: int) -> str | None:
        """Why a CONNECT, or a plain request, to ``host``:``port`` is refused; None when it may go on."""
        if is_ai(host):
            return f"AI hosts are reached on port 443 only, not {port}" if self.strict and port != 443 else None
        name = _as_resolved(host)
        spelled = as_ip(name) or _number(name)
        if self.strict and spelled is not None and not self.lists(host, port):
            return f"{host[:64]} is an address, not a name: nothing could be said about whose it is"
        known = METADATA_NAMES.get(name) or spelled
        # Looked at again where it is dialled; behind another proxy it is not dialled here.
        return (self.address(host, str(known)) if known else None) or self._other(host, port)

    def hello(
        self, is_ai: IsAi, sni: str | None, target: str | None, port: int, extensions: frozenset[int] = frozenset()
    ) -> str | None:
        """Why a TLS connection is refused at its first message. ``target``: the CONNECT host, or the address dialled (transparent)."""
        named = target if target is not None and as_ip(target) is None else None
        if self.strict:
            if sni is None:
                return "it names no host (no SNI)"
            if named is not None and named.lower().rstrip(".") != sni.lower().rstrip("."):
                return f"it was asked for as {named[:255]} and says {sni[:255]} (SNI)"
            name = _as_resolved(sni)
            if as_ip(name) is not None or _number(name) is not None:
                return "it names an address instead of a host (SNI)"
            if (known := METADATA_NAMES.get(name)) and (reason := self.address(sni, known)):
                return reason
            if (is_ai(sni) or (named is not None and is_ai(named))) and port != 443:
                return f"AI hosts are reached on port 443 only, not {port}"
            # Some clients always offer it, with nothing inside (GREASE); to an AI host it does no harm: there it ends at us.
            if ECH_EXTENSION in extensions and not self.lists(sni, port) and not is_ai(sni):
                return "its real name may be encrypted (ECH)"
        if any(name is not None and is_ai(name) for name in (sni, named)):
            return None
        host = sni or target
        return self._other(host, port) if host is not None else None

    def plain(self, is_ai: IsAi, host: str | None, target: str, port: int) -> str | None:
        """Why bytes that are no TLS are refused. ``host``: their HTTP Host; ``target``: the CONNECT host or the address dialled."""
        if host is not None and is_ai(host):
            return f"{host[:255]} is called without TLS: its key would travel in the open, and nothing would meter it"
        if is_ai(target):
            return None
        return self._other(host or target, port)

    def _other(self, host: str, port: int) -> str | None:
        if self.others is Others.TUNNEL or self.lists(host, port):
            return None
        return f"{host[:255]} is no AI host and not on the list of allowed hosts"

    def lists(self, host: str, port: int) -> bool:
        """Whether ``host`` is on the list."""
        return any(covers(pattern, host, port) for pattern in self.allow)

    def address(self, host: str, ip: str) -> str | None:
        """Why ``host`` must not be reached at the address its name gave; None when it may.

        A name that leads to a metadata service is never followed; a strict egress follows only to public addresses, so that no name, and no
        change of a name between two look-ups, leads into the network the proxy stands in.
        """
        found = as_ip(ip)
        if found is None:
            return f"{ip[:64]} is no address"
        if any(covers(pattern, host, 0) for pattern in self.internal):
            return None
        plain = unwrapped(found)
        if plain in METADATA:
            return f"{host[:255]} leads to {plain}, a cloud's metadata service"
        if not self.strict:
            return None
        if not plain.is_global or plain.is_multicast or plain.is_reserved or any(plain in each for each in NOT_PUBLIC):
            return f"{host[:255]} leads to {plain}, which is no public address; list it with --internal-host if it is yours"
        return None


OPEN = Egress()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a start said of these rules; ``others`` is None where it said nothing."""

    strict: bool = False
    others: Others | None = None
    allow: tuple[str, ...] = ()
    internal: tuple[str, ...] = ()

    def under(self, policy: Policy) -> Egress:
        """The rules in force: the policy's ``[egress]``, where it enforces, and what the start said, which is stricter or later."""
        written = policy.egress if policy.enforces else EgressRules()
        return Egress(
            strict=self.strict or written.strict,
            others=self.others or written.others,
            allow=(*self.allow, *written.allow),
            internal=(*self.internal, *written.internal),
        )


def as_ip(text: str) -> Ip | None:
    """The address a text spells, with or without brackets and scope; None for names."""
    try:
        return ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _as_resolved(host: str) -> str:
    """A host as resolvers and other proxies read it: percent signs undone, IDNA's own letters for its look-alikes, no final dot."""
    text = unquote(host) if "%" in host and ":" not in host else host
    if not text.isascii():
        try:
            text = text.encode("idna").decode()
        except UnicodeError:
            return text
    return text.lower().rstrip(".")


_PART = re.compile(r"0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*")


def _number(host: str) -> ipaddress.IPv4Address | None:
    """The address that a host of one to four numbers stands for in C (POSIX ``inet_addr``), and so in getaddrinfo, curl and most proxies.

    The last number fills all that is left: ``169.254.43518``, ``0xa9fea9fe``, ``0251.0376.0251.0376`` and ``2852039166`` are one.
    """
    parts = host.split(".")
    if len(parts) > 4 or not all(map(_PART.fullmatch, parts)):
        return None
    *front, last = (int(part, 16 if part.startswith("0x") else 8 if part.startswith("0") else 10) for part in parts)
    if any(number > 0xFF for number in front) or last >= 256 ** (4 - len(front)):
        return None
    return ipaddress.IPv4Address(int.from_bytes(bytes(front).ljust(4, b"\0")) + last)


def unwrapped(ip: Ip) -> Ip:
    """The IPv4 address inside an IPv6 one (mapped, compatible, 6to4, Teredo, NAT64), else the address itself."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return ip.ipv4_mapped
        if ip.sixtofour is not None:
            return ip.sixtofour
        if ip.teredo is not None:
            return ip.teredo[1]
        if ip in NAT64 or (ip in COMPATIBLE and int(ip) > 0xFFFF):
            return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip


def checked_patterns(patterns: tuple[str, ...], option: str) -> tuple[str, ...]:
    """The patterns as they are. Raises ``ConfigError`` for one that is none."""
    for pattern in patterns:
        if fault := fault_of(pattern):
            raise ConfigError(f"{option} {fault}")
    return patterns


def is_http1(data: bytes) -> bool:
    """Whether bytes begin with a request line of HTTP/1 that is there in full."""
    return _REQUEST_LINE.match(data) is not None


def host_of_plain(data: bytes) -> str | None:
    """The Host that plain HTTP/1 names, without its port; empty when the request is HTTP without one; None when it is not HTTP/1."""
    line, _, rest = data[:16_384].partition(b"\n")
    words = line.split(b" ")
    if len(words) < 2 or not words[0].isalpha() or len(words[0]) > 16:
        return None
    absolute = words[1].lower()
    if absolute.startswith(b"http://"):
        return bare_host(absolute[7:].split(b"/", 1)[0])
    for field in rest.split(b"\n"):
        name, colon, value = field.partition(b":")
        if colon and name.strip().lower() == b"host":
            return bare_host(value)
    return ""


def bare_host(authority: bytes) -> str:
    """The host of an authority, in small letters, without user, port and final dot."""
    text = authority.strip().decode("latin-1").lower().rpartition("@")[2]
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")
