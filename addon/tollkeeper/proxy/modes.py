"""The ways traffic reaches this proxy: as a proxy that clients name, as a base URL, or caught on its way (transparent).

Base URLs need no CA: ``http://127.0.0.1:8877/openai/v1`` stands for ``https://api.openai.com/v1``. The first part of the path is a short
name from ``BASES``, or an AI host's full name.
"""

import ipaddress
from collections.abc import Callable, Sequence
from enum import StrEnum

from tollkeeper.core.errors import ConfigError, GateError

type IsAi = Callable[[str], bool]


class Mode(StrEnum):
    """What the listeners accept. Base URLs are answered in every mode."""

    REGULAR = "regular"
    TRANSPARENT = "transparent"
    """A second listener takes connections that packet rules redirect to it; the first one stays an ordinary proxy."""
    REVERSE = "reverse"
    """Base URLs only: nothing else passes."""


BASES = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "gemini": "generativelanguage.googleapis.com",
    "openrouter": "openrouter.ai",
    "xai": "api.x.ai",
    "mistral": "api.mistral.ai",
    "cohere": "api.cohere.com",
    "deepseek": "api.deepseek.com",
    "groq": "api.groq.com",
    "perplexity": "api.perplexity.ai",
    "together": "api.together.xyz",
    "fireworks": "api.fireworks.ai",
    "cerebras": "api.cerebras.ai",
    "github-models": "models.github.ai",
}
"""Short names for base URLs."""

BOTH_LOOPBACKS = ("127.0.0.1", "::1")


def based(target: str, is_ai: IsAi) -> tuple[str, str] | None:
    """(host, path) that a base-URL target stands for; None when its first part names no AI host."""
    if not target.startswith("/") or target.startswith("//"):
        return None
    first, slash, rest = target[1:].partition("/")
    name, question, query = first.partition("?")
    host = BASES.get(name.lower(), name.lower())
    if "." not in host or ":" in host or not is_ai(host):
        return None
    return host, f"/{rest}" if slash else f"/{question}{query}"


def is_foreign_page(origins: Sequence[str]) -> bool:
    """Whether a web page of another site sends this: its ``Origin`` headers (RFC 6454) name a site that is not on this machine.

    Browsers let any page send a plain POST to a loopback address, unread, and the call would count as its reader's. Applications
    with schemes of their own (``app://``, ``vscode-file://``, extensions) are installed, not visited.
    """
    for origin in origins:
        scheme, _, rest = origin.strip().lower().partition("://")
        if scheme == "null":
            return True
        if scheme in {"http", "https"}:
            host = rest.removeprefix("[").partition("]")[0] if rest.startswith("[") else rest.partition(":")[0]
            if host != "localhost" and not host.endswith(".localhost") and not _is_loopback_address(host):
                return True
    return False


def _is_loopback_address(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listeners(mode: Mode, port: int, transparent_hosts: tuple[str, ...], transparent_port: int) -> list[str]:
    """mitmproxy's specs of the listeners, the ordinary one first. Raises ``GateError`` where a port is wanted twice."""
    if mode is not Mode.TRANSPARENT:
        return ["regular"]
    if transparent_port == port:
        raise GateError(f"port {port} is wanted for both listeners: choose another with --transparent-port")
    return ["regular", *(f"transparent@{host}:{transparent_port}" for host in transparent_hosts)]


def transparent_addresses(named: tuple[str, ...], *, has_ipv6: bool) -> tuple[str, ...]:
    """Where the transparent listener listens: as named, else both loopback addresses (redirected traffic of this host arrives there).

    Raises ``ConfigError`` for what is no address: packet rules redirect to addresses, not names.
    """
    from .egress import as_ip

    for address in named:
        if as_ip(address) is None:
            raise ConfigError(f"--transparent-host {address[:64]!r} is no IP address")
    chosen = named or BOTH_LOOPBACKS
    return tuple(address for address in chosen if ":" not in address or has_ipv6)
