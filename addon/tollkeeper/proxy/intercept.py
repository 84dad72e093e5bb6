"""Which connections are opened: the rule of CONNECT target, SNI and plain host, as pure functions.

Tested rule: a connection is ours when the CONNECT target *or* the SNI is an AI host. Testing only one of the two lets a client
reach a provider unmetered, silently (docs/gate.md).
"""

from collections.abc import Callable
from enum import Enum

type IsAi = Callable[[str], bool]


ONLY_H2 = ((b"h2",), (b"grpc-exp", b"h2"))
"""The ALPN offers of clients that cannot speak HTTP/1.1: those of gRPC, today's and the older ones."""


class Passage(Enum):
    """What to do with a connection."""

    OPEN = "open"
    OPEN_H2 = "open-h2"
    TUNNEL = "tunnel"


def on_tls(
    is_ai: IsAi,
    sni: str | None,
    target: str | None,
    alpn: tuple[bytes, ...],
    *,
    enforce: bool,
    speaks_grpc: IsAi = lambda _: False,
) -> Passage:
    """What to do with a TLS ClientHello: ``target`` is the CONNECT host, or an IP in transparent mode.

    A client that offers only HTTP/2 is opened as such where the host is known to serve gRPC that we read. Elsewhere it cannot be read: it
    is tunnelled, unmetered, while observing; under enforce it is opened, which makes its handshake fail, since a tunnel would spend past
    every budget.
    """
    names = [name for name in (sni, target) if name is not None]
    if not any(is_ai(name) for name in names):
        return Passage.TUNNEL
    if alpn in ONLY_H2:
        if any(speaks_grpc(name) for name in names):
            return Passage.OPEN_H2
        return Passage.OPEN if enforce else Passage.TUNNEL
    return Passage.OPEN


def misdirected(sni: str | None, host: str, host_headers: list[str]) -> str | None:
    """Why a request inside an opened connection is refused (421), or None: one name everywhere, else policy and bytes may part.

    ``host_headers`` are all ``Host`` values. mitmproxy's ``pretty_host`` follows the client's own ``Host``, so it is never used.
    """
    if len(host_headers) > 1:
        return f"{len(host_headers)} Host headers"
    named = _bare(host_headers[0]) if host_headers else host.lower()
    if named != host.lower():
        return f"Host {named[:255]!r} differs from the connection's {host!r}"
    if sni is not None and sni.lower() != host.lower():
        return f"SNI {sni[:255]!r} differs from the connection's {host!r}"
    return None


def _bare(authority: str) -> str:
    authority = authority.strip().lower()
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0].rstrip(".")
