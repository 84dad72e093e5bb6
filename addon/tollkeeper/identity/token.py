"""A token before anything in it is believed: its size, its shape, its header. All of it costs microseconds."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .answers import Refused, Why

MAX_TOKEN_CHARS = 8192
"""PyJWT needs 94 ms of the event loop for a bad token of 1 MB (measured on 2.15.1); no provider's is longer than 8 KB."""
MAX_KID_CHARS = 256
_SHAPE = re.compile(r"([A-Za-z0-9_-]{2,1024})\.([A-Za-z0-9_-]{2,7168})\.[A-Za-z0-9_-]{2,1400}")
_TYPES = frozenset({"", "jwt", "jose", "at+jwt", "application/at+jwt", "application/jwt"})
"""A log-out or security-event token has another ``typ`` and must not pass for an identity (RFC 8725, 3.11)."""


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says of itself. Good for choosing whom to ask, and for nothing else."""

    algorithm: str
    kid: str
    issuer: str
    subject: str


def looks_like_token(text: str) -> bool:
    """Whether the text has the form of a JWT, of a size that is looked at."""
    return len(text) <= MAX_TOKEN_CHARS and _SHAPE.fullmatch(text) is not None


def peek(text: str) -> Unverified | Refused:
    """The header and the two claims that choose the row, unverified; or why the token is not even looked at."""
    if len(text) > MAX_TOKEN_CHARS:
        return _shape(f"it is longer than {MAX_TOKEN_CHARS} characters")
    match = _SHAPE.fullmatch(text)
    if match is None:
        if text.startswith("oauth:"):
            # https://developers.cloudflare.com/cloudflare-one/access-controls/applications/http-apps/managed-oauth/
            return Refused(
                why=Why.SHAPE,
                reason="this is an opaque token of Access's Managed OAuth, which only Cloudflare can read",
                remedy="send the application token instead (`cloudflared access token`), or set whoami (docs/identity.md)",
            )
        return _shape("it has not the form of a signed token")
    header, claims = _json(match[1]), _json(match[2])
    if header is None or claims is None:
        return _shape("its parts are not JSON objects")
    if {"crit", "b64", "zip", "enc"} & set(header):
        return Refused(why=Why.HEADER, reason="the token asks for extensions that are not supported")
    kind = header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        return Refused(why=Why.HEADER, reason="the token is of another type than an identity or access token")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        return Refused(why=Why.HEADER, reason="the token does not say how it is signed")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_CHARS:
        return Refused(why=Why.HEADER, reason="the token does not name its key")
    issuer, subject = claims.get("iss", ""), claims.get("sub", "")
    return Unverified(
        algorithm=algorithm,
        kid=kid,
        issuer=issuer if isinstance(issuer, str) else "",
        subject=subject if isinstance(subject, str) else "",
    )


def claim_of(text: str, name: str) -> object:
    """A claim of a token that came straight from its issuer, unverified; None when there is none."""
    match = _SHAPE.fullmatch(text) if len(text) <= MAX_TOKEN_CHARS else None
    claims = _json(match[2]) if match is not None else None
    return claims.get(name) if claims is not None else None


def _json(segment: str) -> Mapping[str, Any] | None:
    try:
        value = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _shape(reason: str) -> Refused:
    return Refused(
        why=Why.SHAPE, reason=f"the token cannot be read: {reason}", remedy="send one signed token (JWT) and nothing else"
    )
