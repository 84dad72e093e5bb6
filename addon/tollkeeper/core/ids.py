"""Identifiers: ULIDs, sortable by time, 26 characters (https://github.com/ulid/spec)."""

import secrets

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id(at: int) -> str:
    """A fresh ULID for the moment ``at`` (UTC microseconds)."""
    value = ((at // 1000) & (2**48 - 1)) << 80 | secrets.randbits(80)
    return "".join(_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))
