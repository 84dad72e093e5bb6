"""Who may connect: loopback only, unless every client must show a credential."""

import base64
import binascii
import hmac
import ipaddress
import secrets
from collections.abc import Mapping

from tollkeeper.core.errors import GateError

MAX_HEADER_CHARS = 8192
"""A longer Proxy-Authorization is refused unread; real ones carry at most a 2 KB token."""


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


def check_credential(header: str | None, credentials: Mapping[str, str]) -> str | None:
    """The user a ``Proxy-Authorization`` value proves, or None. ``credentials`` maps user to secret.

    Basic only (RFC 7617): what every client sends for ``http://user:secret@host``. An unknown user takes as long as a wrong secret.
    """
    if header is None or len(header) > MAX_HEADER_CHARS:
        return None
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, ValueError):
        return None
    expected = credentials.get(user, "")
    matches = hmac.compare_digest(secret.encode(), expected.encode())
    return user if matches and colon and expected else None
