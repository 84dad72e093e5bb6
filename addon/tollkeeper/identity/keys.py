"""Public keys of an issuer, read from a JWKS (RFC 7517) within limits."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

MAX_KEYS = 64
MAX_KID_CHARS = 256
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
MAX_RSA_EXPONENT = 2**32
"""A key with a huge exponent makes every check of a signature slow."""
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "k"})
_BY_TYPE = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA",),
}


class KeysError(ValueError):
    """Not a usable set of keys; the message says why, without its content."""


@dataclass(frozen=True, slots=True)
class Key:
    """One public key and the algorithms it may verify, by its own ``alg`` or its type."""

    kid: str
    algorithms: tuple[str, ...]
    public: Any


def read_keys(raw: bytes, allowed: Iterable[str]) -> dict[str, Key]:
    """Keys by ``kid``. Raises ``KeysError`` when the text is no JWKS or holds no key that could be used.

    Keys without a ``kid``, for encryption, of other algorithms, too short or too slow are left out; a ``kid`` that stands for two
    keys is too: it names neither.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        raise KeysError("not JSON") from None
    found = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise KeysError("not a JWKS: no list of keys")
    if len(found) > MAX_KEYS:
        raise KeysError(f"{len(found)} keys; {MAX_KEYS} is the most")
    wanted = frozenset(allowed)
    keys: dict[str, Key] = {}
    seen: set[str] = set()
    for entry in found:
        key = _key(entry, wanted)
        if key is not None:
            keys[key.kid] = key
        if isinstance(entry, dict) and isinstance(entry.get("kid"), str) and entry.get("use") != "enc":
            if entry["kid"] in seen:
                keys.pop(entry["kid"], None)
            seen.add(entry["kid"])
    if not keys:
        raise KeysError("no key in it can verify a token of the allowed algorithms")
    return keys


def _key(entry: Any, wanted: frozenset[str]) -> Key | None:
    if not isinstance(entry, dict) or entry.get("use") not in (None, "sig", "jwt-svid") or _PRIVATE & set(entry):
        return None
    operations = entry.get("key_ops")
    if operations is not None and (not isinstance(operations, list) or "verify" not in operations):
        return None
    kid = entry.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID_CHARS:
        return None
    algorithms = _algorithms(entry, wanted)
    if not algorithms:
        return None
    try:
        jwk = jwt.PyJWK(entry, algorithms[0])
    except Exception:  # one odd key must not cost us the others
        return None
    if isinstance(jwk.key, RSAPublicKey):
        numbers = jwk.key.public_numbers()
        if not MIN_RSA_BITS <= jwk.key.key_size <= MAX_RSA_BITS or numbers.e > MAX_RSA_EXPONENT:
            return None
    return Key(kid, algorithms, jwk.key)


def _algorithms(entry: Mapping[str, Any], wanted: frozenset[str]) -> tuple[str, ...]:
    """What the key may verify: its ``alg`` if it has one, else all of its type; only what the row allows."""
    family = entry.get("crv") if entry.get("kty") in {"EC", "OKP"} else entry.get("kty")
    possible = _BY_TYPE.get(family, ()) if isinstance(family, str) else ()
    said = entry.get("alg")
    return tuple(name for name in possible if name in wanted and said in (None, name))
