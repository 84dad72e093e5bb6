"""Who may connect: loopback only, unless every client must show a credential."""

import ipaddress
import secrets

from tollkeeper.core.errors import GateError


def check_listener(host: str, *, authenticated: bool) -> None:
    """Raises ``GateError`` when listening on ``host`` would let anyone on the network spend through this proxy."""
    if authenticated or is_loopback(host):
        return
    raise GateError(
        f"listening on {host[:255] or 'every address'!s} would let anyone who reaches this machine spend with its proxy: "
        "listen on 127.0.0.1, or require a login from every client"
    )


def is_loopback(host: str) -> bool:
    """Whether a listen address is reachable from this machine only: ``localhost``, 127.0.0.0/8, ::1. Other names are public."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback


def new_credential(label: str = "run") -> tuple[str, str]:
    """A fresh proxy login: ``label`` and a random tag as the user, 192 random bits as the secret, both of URL-safe characters."""
    return f"{label}-{secrets.token_hex(4)}", secrets.token_urlsafe(24)
