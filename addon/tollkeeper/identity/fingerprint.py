"""A provider key told from others without being known: weak, because keys are shared, but there when nothing else is."""

import hmac
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from tollkeeper.core.principal import Assurance, Principal

SALT_BYTES = 32
MAX_KEY_CHARS = 4096
SHOWN_CHARS = 16
CHANNEL = "provider-key"
_KEY_HEADERS = ("x-api-key", "api-key", "x-goog-api-key", "authorization")
_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_ROTATING = ("eyJ", "sk-ant-oat", "ya29.")
"""JWTs and OAuth access tokens: another text every hour, so their fingerprints name nobody."""


def fingerprint(salt: bytes, key: str) -> str:
    """64 bits of a keyed hash: the same key has the same fingerprint on this machine, and another on every other machine."""
    return hmac.digest(salt, key.encode("utf-8", "replace"), "sha256").hex()[:SHOWN_CHARS]


def provider_key(headers: Iterable[tuple[str, str]]) -> str | None:
    """The long-lived key a request carries for its provider, None when there is none or several."""
    found = set()
    for name, value in headers:
        lowered = name.lower()
        if lowered not in _KEY_HEADERS or not 8 <= len(value) <= MAX_KEY_CHARS:
            continue
        if lowered == "authorization":
            match = _BEARER.fullmatch(value.strip())
            if match is None:
                continue
            value = match[1]  # noqa: PLW2901 — the same thing without its label
        found.add(value)
    key = found.pop() if len(found) == 1 else ""
    return key if key and not key.startswith(_ROTATING) else None


def by_key(salt: bytes, headers: Iterable[tuple[str, str]]) -> Principal | None:
    """Whoever holds the provider key of a request. ``claimed``: that the key works is the provider's to say."""
    key = provider_key(headers)
    if key is None:
        return None
    return Principal(subject=f"key:{fingerprint(salt, key)}", issuer="provider-key", channel=CHANNEL, assurance=Assurance.CLAIMED)


def local_salt(path: Path) -> bytes:
    """The salt of this machine, made on first use (0600). A file of another length is replaced: fingerprints then begin anew."""
    try:
        salt = path.read_bytes()
        if len(salt) == SALT_BYTES:
            return salt
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(SALT_BYTES))
    try:
        os.link(temporary, path)  # whoever is first wins: two first starts must agree
    except FileExistsError:
        if path.stat().st_size != SALT_BYTES:
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path.read_bytes()
