"""Which hosts are AI providers: the table of ``hosts.toml``, asked once per connection."""

import ipaddress
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from tollkeeper.core.errors import ConfigError

MAX_HOST_CHARS = 253
"""RFC 1035, section 2.3.4."""

CACHED_HOSTS = 4096
"""Names remembered per table; a browser behind the proxy asks for thousands of others, and each must stay cheap."""

_TABLE = Path(__file__).with_name("hosts.toml")
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*", re.ASCII)
_PROVIDER = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
_SET = re.compile(r"\{(\w+)\}")
_LABELS = r"[^.]+(?:\.[^.]+)*"


UNLISTED = "this host is not opened: add it as a host of your own (docs/gate.md)"
"""The reason of a name that is a provider's, but stands in no list of names to open."""


@dataclass(frozen=True, slots=True)
class KnownHost:
    """What a host name is: whose, and whether its connections are opened (else they are tunnelled and counted).

    ``grpc``: it serves gRPC that we read, so that a client which speaks nothing but HTTP/2 is opened too.
    """

    provider: str
    intercept: bool
    grpc: bool = False
    reason: str = ""
    """Why it is recognised and never opened; empty for an opened one."""


class HostTable:
    """Answers whose host a name is. Immutable; a lookup is a dictionary access once a name has been seen."""

    def __init__(self, entries: Iterable[tuple[str, KnownHost]]) -> None:
        """``entries``: (pattern without sets, what it is); where two cover a name the more exact one wins, then the opened one."""
        exact: dict[str, KnownHost] = {}
        subtrees: dict[str, KnownHost] = {}
        anywhere: list[tuple[re.Pattern[str], KnownHost]] = []
        for pattern, known in entries:
            rest = pattern.removeprefix("*.")
            if "*" in rest:
                if known.intercept:
                    raise ConfigError(
                        f"host pattern {pattern!r}: only a leading '*.' can stand in `hosts`, else no certificate could be narrow"
                    )
                labels = (_LABELS if label == "*" else re.escape(label) for label in pattern.split("."))
                anywhere.append((re.compile(r"\.".join(labels)), known))
                continue
            where = exact if rest == pattern else subtrees
            if rest not in where or (known.intercept and not where[rest].intercept):
                where[rest] = known
        self._exact = MappingProxyType(exact)
        self._subtrees = MappingProxyType(subtrees)
        self._anywhere = tuple(anywhere)
        self._cached = lru_cache(maxsize=CACHED_HOSTS)(self._look_up)

    @classmethod
    def load(cls, extra: Mapping[str, str] | None = None) -> "HostTable":
        """The table that ships with us, plus ``extra`` (host pattern → provider)."""
        table = cls(_read(_TABLE.read_text(encoding="utf-8")))
        return table.with_extra(extra) if extra else table

    def with_extra(self, extra: Mapping[str, str]) -> "HostTable":
        """A table with hosts of one's own added, which win over the shipped ones: full names or ``*.`` names. Raises ``ConfigError``."""
        added = [(_checked_extra(pattern, provider), KnownHost(provider, intercept=True)) for pattern, provider in extra.items()]
        return HostTable([*added, *self._entries()])

    def find(self, host: str) -> KnownHost | None:
        """What ``host`` is (any case, with or without port and final dot); None for other hosts and for IP addresses."""
        return self._cached(host)

    def provider_of(self, host: str) -> str | None:
        """The provider's name, whether its connections are opened or not."""
        known = self._cached(host)
        return known.provider if known else None

    def intercepts(self, host: str) -> bool:
        """Whether connections to this host are opened: exactly the names our certificate authority may sign for."""
        known = self._cached(host)
        return known is not None and known.intercept

    def speaks_grpc(self, host: str) -> bool:
        """Whether this host serves gRPC that we read."""
        known = self._cached(host)
        return known is not None and known.grpc

    def providers(self) -> tuple[str, ...]:
        """The names of all providers, in the order of the table."""
        return tuple(dict.fromkeys(known.provider for _, known in self._entries()))

    def permitted_names(self) -> tuple[str, ...]:
        """The DNS subtrees that cover every opened host: what the CA may sign for (RFC 5280, section 4.2.1.10), sorted.

        A subtree covers the name and all below it, so a name under another permitted one is left out.
        """
        names = {name for table in (self._exact, self._subtrees) for name, known in table.items() if known.intercept}
        return tuple(sorted(name for name in names if not any(parent in names for parent in _parents(name))))

    def _look_up(self, host: str) -> KnownHost | None:
        name = bare_name(host)
        if name is None:
            return None
        if known := self._exact.get(name):
            return known
        for parent in _parents(name):
            if known := self._subtrees.get(parent):
                return known
        return next((known for pattern, known in self._anywhere if pattern.fullmatch(name)), None)

    def _entries(self) -> Iterator[tuple[str, KnownHost]]:
        yield from self._exact.items()
        for name, known in self._subtrees.items():
            yield f"*.{name}", known
        for pattern, known in self._anywhere:
            yield pattern.pattern.replace(_LABELS, "*").replace("\\", ""), known


def bare_name(host: str) -> str | None:
    """``host`` in lower case without port and final dot; None when it is no DNS name (an address, too long, odd characters)."""
    if len(host) > MAX_HOST_CHARS + 7:  # the longest name, a dot and a port
        return None
    name, _, port = host.lower().partition(":")
    if port and not port.isdecimal():  # also every IPv6 address
        return None
    name = name.removesuffix(".")
    if len(name) > MAX_HOST_CHARS or not _NAME.fullmatch(name) or name.rpartition(".")[2].isdecimal():
        return None  # a last label of digits is an IPv4 address in one of its spellings (WHATWG URL, host parsing)
    return name


def _parents(name: str) -> Iterator[str]:
    """``b.c`` and ``c`` for ``a.b.c``: the most exact first."""
    while "." in name:
        name = name.partition(".")[2]
        yield name


def _read(text: str) -> Iterator[tuple[str, KnownHost]]:
    """The entries of a host table document. Raises ``ConfigError`` for an unknown set."""
    document = tomllib.loads(text)
    sets: dict[str, list[str]] = document.get("sets", {})
    for provider in document["provider"]:
        for key, intercept in (("hosts", True), ("seen", False)):
            for pattern in provider.get(key, ()):
                for name in _expand(pattern, sets):
                    reason = "" if intercept else provider.get("reason", UNLISTED)
                    yield name, KnownHost(provider["name"], intercept, grpc=provider.get("grpc", False), reason=reason)


def _expand(pattern: str, sets: Mapping[str, list[str]]) -> Iterator[str]:
    found = _SET.search(pattern)
    if found is None:
        yield pattern
        return
    words = sets.get(found[1])
    if not words:
        raise ConfigError(f"host pattern {pattern!r}: there is no set {found[1]!r}; sets: {', '.join(sorted(sets)) or 'none'}")
    for word in words:
        yield from _expand(pattern.replace(found[0], word), sets)


def _checked_extra(pattern: str, provider: str) -> str:
    """The pattern in lower case. Raises ``ConfigError`` when no certificate can name it, or it covers a whole top level."""
    rest = pattern.lower().removeprefix("*.")
    if _is_address(rest):
        raise ConfigError(
            f"extra host {pattern!r} is an IP address, which our certificate authority never signs for: give the host a DNS name"
        )
    if bare_name(rest) != rest:
        raise ConfigError(
            f"extra host {pattern[:MAX_HOST_CHARS]!r} is not a host name: write it as 'llm.example.com' or '*.llm.example.com'"
        )
    if rest != pattern.lower() and "." not in rest:
        raise ConfigError(f"extra host {pattern!r} covers a whole top-level domain: name at least two levels after '*.'")
    if not _PROVIDER.fullmatch(provider):
        raise ConfigError(f"extra host {pattern!r}: provider {provider[:64]!r} must be lower-case letters, digits and '-'")
    return pattern.lower()


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True
