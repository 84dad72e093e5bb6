"""mitmproxy options that users may not weaken, and the guard that keeps them.

Each closes a trap that was reproduced on mitmproxy 12.2.3 (docs/proxy.md): an eager connection leaves before the budget check,
HTTP/2 loses every stream on a GOAWAY, ``stream_large_bodies`` sends bodies upstream before they can be refused, ``tcp_timeout`` counts
silence while a model thinks, ``upstream_cert`` copies names into the leaf that the constrained CA may not sign.
"""

from typing import Any

from mitmproxy import exceptions
from mitmproxy.options import Options

LOCKED: dict[str, Any] = {
    "connection_strategy": "lazy",
    "http2": False,
    "tcp_timeout": 3600,
    "stream_large_bodies": None,
    "store_streamed_bodies": False,
    "body_size_limit": None,
    "ssl_insecure": False,
    "validate_inbound_headers": True,
    "rawtcp": True,
    "show_ignored_hosts": False,
    "upstream_cert": False,
    "add_upstream_certs_to_client_chain": False,
}


def compromised(options: Options) -> str | None:
    """The name of a set option that signs with a publicly trusted CA's leaked key (mitmproxy 12.3), or None."""
    for name in options.keys():  # noqa: SIM118 — OptManager is no mapping
        if name.startswith("emudhra") and getattr(options, name):
            return str(name)
    return None


def weakened(options: Options) -> str | None:
    """Why these options are refused, or None."""
    if name := compromised(options):
        return f"option {name} signs with a publicly trusted CA's leaked key; Tollkeeper will not run with it"
    for name, value in LOCKED.items():
        if getattr(options, name) != value:
            return f"option {name}={getattr(options, name)!r} would open a hole that {name}={value!r} closes; remove it"
    return None


class OptionsGuard:
    """An addon that undoes any change which would weaken the proxy, saying why."""

    name = "tollkeeper-options"

    def configure(self, updated: set[str]) -> None:
        """Raise ``OptionsError`` (mitmproxy then restores the old values) when a locked option changes."""
        if updated & LOCKED.keys() or any(name.startswith("emudhra") for name in updated):
            from mitmproxy import ctx

            if reason := weakened(ctx.options):
                raise exceptions.OptionsError(reason)
