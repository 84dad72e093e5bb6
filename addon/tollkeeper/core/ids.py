"""Identifiers: ULIDs, sortable by time, 26 characters (https://github.com/ulid/spec)."""

import secrets

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_SHIFTS = tuple(range(120, -1, -10))


def new_id(at: int) -> str:
    """A fresh ULID for the moment ``at`` (UTC microseconds)."""
    value = ((at // 1000) & (2**48 - 1)) << 80 | secrets.randbits(80)
    return "".join([_PAIRS[(value >> shift) & 1023] for shift in _SHIFTS])
